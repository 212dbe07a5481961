"""`tam`: models, weights and recordings from the command line."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from pathlib import Path

from tam_ros import __version__, catalogue

_RUNTIMES = ('onnxruntime', 'torch')


class UsageError(ValueError):
    """Arguments that do not make sense together."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status, 2 where the input cannot be used."""
    options = _parser().parse_args(arguments)
    _show_warnings()
    try:
        options.run(options)
    except KeyboardInterrupt:
        print('\ntam: interrupted; what was finished is kept', file=sys.stderr)
        return 130
    except BrokenPipeError:  # into `head`, for instance
        return 1
    except _expected_errors() as error:
        print(f'tam: {error}', file=sys.stderr)
        return 2
    return 0


def _show_warnings() -> None:
    """Let our own warnings, and only those, go to stderr in the form of our errors."""
    log = logging.getLogger('tam_ros')
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter('tam: %(message)s'))
        log.addHandler(handler)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Return the errors whose message is meant for the user. Looked up only when one occurs."""
    from tam_ros.io.prompt_spec import PromptSpecError
    from tam_ros.io.sources import SourceError
    from tam_ros.runtime import WeightsError
    from tam_ros.tracking import FrameError, PromptError

    return (
        *(UsageError, SourceError, PromptSpecError, PromptError, FrameError),
        *(WeightsError, catalogue.UnknownModelError, OSError),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tam', description=__doc__)
    parser.add_argument('--version', action='version', version=f'tam_ros {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    models = commands.add_parser('models', help='list the models and where their weights are')
    models.set_defaults(run=_models)

    weights = commands.add_parser('weights', help='fetch official weights')
    actions = weights.add_subparsers(required=True, metavar='ACTION')
    get = actions.add_parser('get', help="download a model's official checkpoint into the cache")
    get.add_argument('model', help='name of the model, see `tam models`')
    get.set_defaults(run=_get_weights)

    export = commands.add_parser('export', help='write the ONNX graphs of a model (needs torch)')
    export.add_argument('model', help='name of the model, see `tam models`')
    export.add_argument('--weights', help="checkpoint file instead of the model's own")
    export.add_argument('--out', required=True, type=Path, help='folder to create')
    export.set_defaults(run=_export)

    _add_track(commands)
    return parser


def _add_track(commands: argparse._SubParsersAction) -> None:
    from tam_ros.io.prompt_spec import SYNTAX

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
    track.set_defaults(run=_track)


def _models(options: argparse.Namespace) -> None:
    width = max(map(len, catalogue.models()))
    for model in catalogue.models().values():
        print(f'{model.name:{width}}  {model.description}')
        print(f'{"":{width}}  {model.licence}; weights {_whereabouts(model)}')


def _whereabouts(model: catalogue.Model) -> str:
    from tam_ros.runtime.factory import downloaded

    if 'bundled' in model.weights:
        there = (catalogue.engines_dir() / model.weights['bundled']).is_dir()
        return 'bundled' if there else 'belong into the package, but are missing'
    path = downloaded(model)
    if path.exists():
        return f'in {path}'
    return f'to be fetched with `tam weights get {model.name}`'


def _get_weights(options: argparse.Namespace) -> None:
    from tam_ros.runtime.factory import downloaded

    model = catalogue.model(options.model)
    if 'bundled' in model.weights:
        print(f'the weights of {model.name} come with the package; there is nothing to fetch')
        return
    path = downloaded(model)
    if path.exists():
        print(f'{path} is here already')
        return
    repo, file = model.weights['repo'], model.weights['file']
    from huggingface_hub import hf_hub_download

    print(f'fetching {file} from https://huggingface.co/{repo} ({model.licence})')
    try:
        hf_hub_download(repo, file, local_dir=path.parent)
    except Exception as error:  # of whichever HTTP library this version of the hub uses
        raise OSError(
            f'{file} could not be fetched: {error}\n'
            f'     It can be fetched by hand from https://huggingface.co/{repo}/resolve/main/{file}'
            f'\n     and put at {path}, or given with --weights.'
        ) from error
    print(path)


def _export(options: argparse.Namespace) -> None:
    from tam_ros.runtime.factory import find_weights

    model = catalogue.model(options.model)
    weights = find_weights(model, options.weights, 'torch')
    if options.out.exists():
        raise UsageError(f'{options.out} exists; choose another name or remove it')
    try:
        from tam_ros.export import export_model
    except ModuleNotFoundError as error:
        raise UsageError(
            f'{error.name} is needed to export: pip install torch==2.13.0 onnx'
        ) from error
    print(export_model(model, weights, options.out))


def _track(options: argparse.Namespace) -> None:
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


if __name__ == '__main__':
    sys.exit(main())
