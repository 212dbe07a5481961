# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo: `python -m tam_ros.demo`.

Starts the tracking node and a camera as two processes, prompts two objects over the node's topics,
and leaves in its folder: `recording.mcap` (images, label images, tracked objects), `overlay.mp4`,
`contact_sheet.png`, `summary.json` and the logs. Needs no torch and no download.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from tam_ros.catalogue import UnknownModelError, engines_dir, model
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

_OUTPUTS = ('recording.mcap', 'overlay.mp4', 'contact_sheet.png', 'summary.json')
_START_TIMEOUT = 180.0  # a slow disk reading a large model
_PROMPT_TIMEOUT = 30.0
_SHARED_MEMORY = 4 * 70_000_000  # bytes: our three processes with config/fastdds_images.xml
_QUIET_S = 1.5  # without a further answer the node has caught up


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        prompts = _prompts(options)
        size, frames = _look_ahead(options)
        check_prompts(prompts, size, frames)
        model(options.model)
        _require_ros()
        out = Path(options.out).resolve()
        out.mkdir(parents=True, exist_ok=True)
        for name in _OUTPUTS:
            (out / name).unlink(missing_ok=True)
        raise_on_termination()
        _isolate(out)
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
    parser.add_argument('--prompts', help=f'what to follow: {SYNTAX}')
    parser.add_argument('--topic', help='image topic of a bag with several')
    parser.add_argument('--out', default='demo_output', help='folder for the results')
    parser.add_argument('--model', default='efficienttam_nano', help='name in the catalogue')
    parser.add_argument('--weights', default='', help="checkpoint file instead of the model's own")
    parser.add_argument('--runtime', default='onnxruntime', help='onnxruntime or torch')
    parser.add_argument('--rate', type=float, help="images a second instead of the clip's own")
    parser.add_argument('--frames', type=int, help='play only so many')
    parser.add_argument('--seed', type=int, default=7, help='of the drawn clip')
    return parser


def _prompts(options: argparse.Namespace) -> list[PromptSpec]:
    if options.frames is not None and options.frames < 1:
        raise DemoError(f'--frames {options.frames}: at least one is needed')
    if options.rate is not None and not 0 < options.rate <= 200:
        raise DemoError(f'--rate {options.rate:g}: must lie above 0 and up to 200')
    if options.prompts:
        return parse_prompts(options.prompts)
    if options.video:
        raise PromptSpecError(
            f"what to follow in {options.video} is not known; say it with PROMPTS='...' "
            f'(make demo) or --prompts: {SYNTAX}'
        )
    return list(DemoScene(options.seed).prompts)


def _look_ahead(options: argparse.Namespace) -> tuple[tuple[int, int], int | None]:
    """Open the source before anything is started; return (height, width) and the frame count."""
    if options.video:
        source = open_source(options.video, options.topic, options.rate)
        size, count = next(iter(source)).rgb.shape[:2], source.count
    else:
        size, count = DemoScene.size, DemoScene.frames
    counts = [number for number in (count, options.frames) if number is not None]
    return size, min(counts, default=None)


def _require_ros() -> None:
    for name in ('rclpy', 'tam_ros.msg'):
        if importlib.util.find_spec(name) is None:
            raise DemoError(
                f'{name} is not in this environment: run `make demo`, or `. ./env.sh` first'
            )


def _isolate(out: Path) -> None:
    """Keep this graph apart from whatever else runs here; to be called before rclpy is loaded."""
    os.environ['ROS_DOMAIN_ID'] = str(60 + os.getpid() % 40)
    os.environ['ROS_LOG_DIR'] = str(out / 'logs')
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if _free_shared_memory() >= _SHARED_MEMORY:
        profile = engines_dir().parent / 'config' / 'fastdds_images.xml'
        os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))
    else:
        print('demo: too little shared memory (/dev/shm) for images, they go over UDP instead')
        os.environ.pop('FASTRTPS_DEFAULT_PROFILES_FILE', None)
        os.environ['FASTDDS_BUILTIN_TRANSPORTS'] = 'UDPv4'
    (out / 'logs').mkdir(exist_ok=True)


def _free_shared_memory() -> int:
    try:
        return shutil.disk_usage('/dev/shm').free
    except OSError:
        return 0


def _run(
    options: argparse.Namespace, prompts: list[PromptSpec], frames: int | None, out: Path
) -> None:
    logs = out / 'logs'
    node = ChildProcess('tam_ros.ros.node', _node_arguments(options), logs / 'node.log')
    camera = ChildProcess('tam_ros.demo.camera', _camera_arguments(options), logs / 'camera.log')
    try:
        arrivals, status = _record(prompts, frames, node, camera, out / 'recording.mcap')
    finally:
        camera.stop()
        node.stop()
    if not arrivals:
        raise DemoError(f'the node has tracked nothing:\n{node.log_tail()}')
    _report(arrivals, status, prompts, out)


def _record(
    prompts: list[PromptSpec],
    frames: int | None,
    node: ChildProcess,
    camera: ChildProcess,
    bag_path: Path,
) -> tuple[list[tuple[int, int]], dict[str, str]]:
    """Prompt, play and record; return when the answers arrived and the node's diagnostics."""
    # Imported late: the environment of _isolate has to be there first.
    import rclpy

    from tam_ros.demo.client import DemoClient
    from tam_ros.io.bag_writer import BagWriter

    children = [node, camera]
    # Ctrl-C must reach our own clean-up, not rclpy's handler.
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    client = DemoClient(prompts)
    try:
        print(f'demo: starting node and camera (ROS_DOMAIN_ID={os.environ["ROS_DOMAIN_ID"]})')
        wait_until(
            client.is_ready, _START_TIMEOUT, children, 'waiting for the node and the camera'
        )
        expected = client.send_first_prompts()
        wait_until(
            lambda: client.follows(expected), _PROMPT_TIMEOUT, children, 'waiting for the objects'
        )
        with BagWriter(bag_path) as bag, tqdm(total=frames, desc='tracking', unit='frame') as bar:
            client.start_recording(bag)
            while camera.exit_status() is None:
                client.spin_for(0.2)
                bar.n = client.played
                bar.set_postfix(tracked=len(client.arrivals), refresh=True)
                if node.exit_status() is not None:
                    raise DemoError(f'the node ended early:\n{node.log_tail()}')
            if camera.exit_status() != 0:
                raise DemoError(f'the camera ended early:\n{camera.log_tail()}')
            answered = -1
            while answered != len(client.arrivals):
                answered = len(client.arrivals)
                client.spin_for(_QUIET_S)
            client.stop_recording()
        return client.arrivals, client.status
    finally:
        client.destroy_node()
        rclpy.try_shutdown()


def _report(
    arrivals: list[tuple[int, int]], status: dict[str, str], prompts: list[PromptSpec], out: Path
) -> None:
    from tam_ros.demo.report import summarize
    from tam_ros.demo.review import review, write_sheet

    bag, video, picture, numbers = (out / name for name in _OUTPUTS)
    first, last = arrivals[0][0], arrivals[-1][0]
    # As many frames a second as were tracked, so that the video runs at the speed of life.
    rate_hz = (len(arrivals) - 1) / ((last - first) * 1e-9) if last > first else 10.0
    ids = dict.fromkeys(prompt.object_id for prompt in prompts)
    result = review(bag, ids, len(arrivals), video, rate_hz)
    summary = summarize(result, arrivals, status)
    summary.write(numbers)
    title, *notes = summary.lines()
    if summary.j_mean is not None:
        notes.append('white line: the truth')
    write_sheet(result.tiles, picture, title, notes)
    print('\n'.join(['', *summary.lines(), '']))
    for path in (bag, video, picture, numbers):
        print(path)


def _node_arguments(options: argparse.Namespace) -> list[str]:
    values = {
        'model': options.model,
        'weights': options.weights,
        'runtime': options.runtime,
        # One of the objects is away for seconds; the small model forgets what it looked like.
        'skip_occluded_memories': 'true',
        # Containers often have too little shared memory for images. What the node drops is to be
        # its own choice, not the network's.
        'qos_reliability': 'reliable',
    }
    parameters = itertools.chain.from_iterable(
        ('-p', f'{name}:={value}') for name, value in values.items() if value
    )
    return ['--ros-args', *parameters]


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
