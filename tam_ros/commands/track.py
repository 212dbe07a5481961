"""`tam track`: objects through a recording, into a bag, masks or a video."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from tam_ros.commands import UsageError
from tam_ros.io.prompt_spec import SYNTAX

_RUNTIMES = ('onnxruntime', 'torch')


def add(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    track = commands.add_parser('track', help='track objects through a recording')
    track.add_argument(
        'source', help='video, folder of images, or bag (.bag, .mcap, .db3, folder)'
    )
    track.add_argument('--prompt', action='append', required=True, help=f'{SYNTAX}; repeatable')
    track.add_argument('--out', type=Path, help='bag to write: a file NAME.mcap, or a folder')
    track.add_argument('--overlay', type=Path, help='video to write: a file NAME.mp4')
    track.add_argument('--labels', choices=('raw', 'png'), default='raw', help='label images')
    track.add_argument('--images', action='store_true', help='copy the images into the bag')
    track.add_argument('--topic', help='image topic of a bag that has several')
    track.add_argument('--rate', type=float, help='frames a second of images, or of a video')
    track.add_argument('--model', default='efficienttam_nano', help='see `tam models`')
    track.add_argument('--weights', help="checkpoint, or folder of graphs, not the model's own")
    track.add_argument('--runtime', default=_RUNTIMES[0], choices=_RUNTIMES)
    track.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Track a recording."""
    from tqdm import tqdm

    from tam_ros import offline
    from tam_ros.io.bag_writer import BagWriter
    from tam_ros.io.prompt_spec import parse_prompts
    from tam_ros.io.sources import open_source
    from tam_ros.io.video_writer import VideoWriter
    from tam_ros.tracking import Tracker

    if options.out is None and options.overlay is None:
        raise UsageError('nothing to write: give --out, --overlay or both')
    for path in filter(None, (options.out, options.overlay)):
        if path.exists():
            raise UsageError(f'{path} exists; choose another name or remove it')
    prompts = parse_prompts(';'.join(options.prompt))
    source = open_source(options.source, options.topic, options.rate)
    tracker = Tracker.open(options.model, options.weights, options.runtime)
    print(f'{tracker.model}, {tracker.weights}, run by {tracker.runtime}')
    offline.check(tracker, source, prompts)
    with contextlib.ExitStack() as stack:
        sinks = []
        if options.out:
            bag = stack.enter_context(BagWriter(options.out))
            images = getattr(source, 'topic', '/image') if options.images else None
            sinks.append(offline.bag_sink(bag, images, compress=options.labels == 'png'))
        if options.overlay:
            video = stack.enter_context(VideoWriter(options.overlay, source.rate_hz or 10))
            sinks.append(offline.video_sink(video))
        results = offline.track(tracker, source, prompts)
        for result in tqdm(results, total=source.count, unit='frame'):
            for sink in sinks:
                sink(result)
    for path in filter(None, (options.out, options.overlay)):
        print(path)
