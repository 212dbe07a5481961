# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo: `python -m tam_ros.demo`.

Starts the tracking node and a camera as two processes, prompts two objects through the node's
services and writes into its folder: `recording.mcap` (images, label images, tracked objects),
`overlay.mp4`, `contact_sheet.png`, `summary.json` and the logs. It needs neither torch nor a
download.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from pathlib import Path

from tqdm import tqdm

from tam_ros.catalogue import UnknownModelError, model
from tam_ros.demo.graph import isolate, node_arguments, require_ros
from tam_ros.demo.processes import ChildProcess, DemoError, raise_on_termination, wait_until
from tam_ros.demo.scene import DemoScene
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.prompting.prompt_text import (
    SYNTAX,
    PromptSpec,
    PromptSpecError,
    check_prompts,
    parse_prompts,
)
from tam_ros.runtime.backends import RUNTIMES

_OUTPUTS = ('recording.mcap', 'overlay.mp4', 'contact_sheet.png', 'summary.json')
_START_TIMEOUT = 180.0  # a slow disk reading a large model
_PROMPT_TIMEOUT = 30.0
_POLL_S = 0.2  # between two checks of the processes
_QUIET_S = 1.5  # the node has caught up when no result arrives for this long


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        prompts = _prompts(options)
        size, frames = _inspect_source(options)
        check_prompts(prompts, size, frames)
        model(options.model)
        require_ros()
        out = Path(options.out).resolve()
        out.mkdir(parents=True, exist_ok=True)
        for name in _OUTPUTS:
            (out / name).unlink(missing_ok=True)
        raise_on_termination()
        isolate(out)
        _run(options, prompts, frames, out)
    except (SourceError, PromptSpecError, UnknownModelError, DemoError, OSError) as error:
        print(f'demo: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\ndemo: interrupted', file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tam_ros.demo',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--video', help='video, image folder or bag to play; default: the drawn clip'
    )
    parser.add_argument('--prompts', help=f'the objects to track: {SYNTAX}')
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument('--out', default='demo_output', help='folder for the results')
    parser.add_argument(
        '--model', default='efficienttam_nano', help='name of a model in the catalogue'
    )
    parser.add_argument('--weights', default='', help="checkpoint file instead of the model's own")
    parser.add_argument('--runtime', default=RUNTIMES[0], choices=RUNTIMES)
    parser.add_argument(
        '--rate', type=float, help="images per second, instead of the clip's own rate"
    )
    parser.add_argument('--frames', type=int, help='stop after this many frames')
    parser.add_argument('--seed', type=int, default=7, help='seed of the drawn clip')
    return parser


def _prompts(options: argparse.Namespace) -> list[PromptSpec]:
    if options.frames is not None and options.frames < 1:
        raise DemoError(f'--frames {options.frames}: must be at least 1')
    if options.rate is not None and not 0 < options.rate <= 200:
        raise DemoError(f'--rate {options.rate:g}: must be above 0 and at most 200')
    if options.prompts:
        return parse_prompts(options.prompts)
    if options.video:
        raise PromptSpecError(
            f'no prompts for {options.video}: give them with '
            f"PROMPTS='...' (make demo) or --prompts: {SYNTAX}"
        )
    return list(DemoScene(options.seed).prompts)


def _inspect_source(options: argparse.Namespace) -> tuple[tuple[int, int], int | None]:
    """Open the source before anything is started; return (height, width) and the frame count."""
    if options.video:
        source = open_source(options.video, options.topic, options.rate)
        size, count = next(iter(source)).rgb.shape[:2], source.count
    else:
        size, count = DemoScene.size, DemoScene.frames
    counts = [number for number in (count, options.frames) if number is not None]
    return size, min(counts, default=None)


def _run(
    options: argparse.Namespace, prompts: list[PromptSpec], frames: int | None, out: Path
) -> None:
    logs = out / 'logs'
    node = ChildProcess('tam_ros.ros.track_node', node_arguments(options), logs / 'node.log')
    camera = ChildProcess('tam_ros.demo.camera', _camera_arguments(options), logs / 'camera.log')
    try:
        arrivals, status = _record(prompts, frames, node, camera, out / 'recording.mcap')
    finally:
        camera.stop()
        node.stop()
    if not arrivals:
        raise DemoError(f'the node tracked no image:\n{node.log_tail()}')
    _report(arrivals, status, prompts, out)


def _record(
    prompts: list[PromptSpec],
    frames: int | None,
    node: ChildProcess,
    camera: ChildProcess,
    bag_path: Path,
) -> tuple[list[tuple[int, int]], dict[str, str]]:
    """Prompt, play and record.

    Returns:
        (stamp, arrival of the result) of each tracked image, nanoseconds, and the values of the
        node's diagnostics entry `model`.
    """
    # rclpy reads the environment of isolate when it is imported.
    from std_srvs.srv import Trigger

    from tam_ros.client import PromptRefusedError, TamClient
    from tam_ros.demo.recorder import Recorder, group_prompts
    from tam_ros.io.bag_writer import BagWriter

    children = [node, camera]
    messages = group_prompts(prompts)
    print(f'demo: starting node and camera (ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]})')
    with TamClient(timeout=_PROMPT_TIMEOUT) as client:
        recorder = Recorder(client.node, [item for item in messages if item[0] > 0])

        def ready() -> bool:
            with contextlib.suppress(TimeoutError):
                client.wait_for_image(timeout=_POLL_S)
                return bool(client.status(timeout=_POLL_S))
            return False

        wait_until(ready, _START_TIMEOUT, children, 'waiting for the node and the camera')
        try:
            first = [client.send_prompt(message) for frame, message in messages if frame == 0]
            for object_id in first:
                client.wait_until_tracked(object_id)
        except (PromptRefusedError, TimeoutError) as error:
            raise DemoError(f'{error}\n{node.log_tail()}') from error
        with BagWriter(bag_path) as bag, tqdm(total=frames, desc='tracking', unit='frame') as bar:
            recorder.open(bag)
            try:
                answer = client.call(Trigger, '/camera/play', Trigger.Request())
                if not answer.success:
                    raise DemoError(f'the camera does not play: {answer.message}')
                recorder.start(from_ns=int(answer.message))
                while camera.exit_status() is None:
                    if prompt := recorder.next_prompt(timeout=_POLL_S):
                        try:
                            client.send_prompt(prompt)
                        except PromptRefusedError as error:
                            tqdm.write(
                                f'demo: prompt of object {prompt.object_id} refused: {error}'
                            )
                    bar.n = recorder.played
                    bar.set_postfix(tracked=len(recorder.arrivals), refresh=True)
                    if node.exit_status() is not None:
                        raise DemoError(f'the node ended early:\n{node.log_tail()}')
                if camera.exit_status() != 0:
                    raise DemoError(f'the camera ended early:\n{camera.log_tail()}')
                with contextlib.suppress(TimeoutError):
                    while True:
                        client.wait_for_image(timeout=_QUIET_S)
            finally:
                recorder.stop()  # before the bag is closed: the client's thread writes to it
        return recorder.arrivals, client.status()['model'].values


def _report(
    arrivals: list[tuple[int, int]], status: dict[str, str], prompts: list[PromptSpec], out: Path
) -> None:
    from tam_ros.demo.report import summarize
    from tam_ros.demo.review import review, write_sheet

    bag, video, sheet, numbers = (out / name for name in _OUTPUTS)
    first, last = arrivals[0][0], arrivals[-1][0]
    # At the rate of the tracked images, so that the video plays in real time.
    rate_hz = (len(arrivals) - 1) / ((last - first) * 1e-9) if last > first else 10.0
    ids = dict.fromkeys(prompt.object_id for prompt in prompts)
    result = review(bag, ids, len(arrivals), video, rate_hz)
    summary = summarize(result, arrivals, status)
    summary.write(numbers)
    title, *notes = summary.lines()
    if summary.j_mean is not None:
        notes.append('white line: the ground truth')
    write_sheet(result.tiles, sheet, title, notes)
    print('\n'.join(['', *summary.lines(), '']))
    for path in (bag, video, sheet, numbers):
        print(path)


def _camera_arguments(options: argparse.Namespace) -> list[str]:
    values = {
        '--video': options.video and str(Path(options.video).resolve()),
        '--topic': options.topic,
        '--rate': options.rate,
        '--frames': options.frames,
        '--seed': options.seed,
    }
    given = ((name, str(value)) for name, value in values.items() if value is not None)
    return ['--wait-for-play', *itertools.chain.from_iterable(given)]


if __name__ == '__main__':
    sys.exit(main())
