# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track --text`: prompts for what words say, on the first frame."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tam_ros.commands import UsageError
from tam_ros.commands.backend import count, runtime_arguments
from tam_ros.commands.words import ANY, DEFAULT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tam_ros.io.frames import FrameSource
    from tam_ros.language import DenseClip, Finds
    from tam_ros.recordings.offline import FramePrompt
    from tam_ros.runtime.base import Floats

MOST = 10


def add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of words."""
    words = parser.add_argument_group('words', 'what to track on the first frame, found by a CLIP')
    words.add_argument(
        '--text', dest='texts', action='append', default=[], metavar='TEXT',
        help='for example "red mug"; may be repeated',
    )  # fmt: skip
    words.add_argument(
        '--background', action='append', default=[], metavar='TEXT',
        help='what else is in the image, such as "table"; each such word means fewer wrong finds',
    )  # fmt: skip
    words.add_argument(
        '--most', type=count, default=MOST, metavar='N',
        help=f'objects to begin with words (default {MOST})',
    )  # fmt: skip
    words.add_argument(
        '--clip', default=DEFAULT, metavar='MODEL',
        help=f'model of kind clip, see `tam models`; {ANY}: whatever the weights are of '
        f'(default {DEFAULT})',
    )  # fmt: skip
    words.add_argument('--clip-weights', metavar='FILE', help='its checkpoint or folder of graphs')
    words.add_argument(
        '--words', type=Path, metavar='NAME.npz',
        help='features that `tam words` made of the texts, in place of the text tower',
    )  # fmt: skip


def check_text_options(options: argparse.Namespace) -> None:
    """Raise UsageError if the options contradict each other."""
    others = [
        name
        for name, given in (
            ('--background', options.background),
            ('--words', options.words),
            ('--clip-weights', options.clip_weights),
        )
        if given
    ]
    if others and not options.texts:
        raise UsageError(f'{others[0]} is for --text, which is missing')
    if options.texts and options.load_tracks:
        raise UsageError('--text begins new objects; it cannot be used with --load-tracks')


def text_prompts(
    options: argparse.Namespace, source: FrameSource, others: list[FramePrompt]
) -> list[FramePrompt]:
    """Return prompts for what the texts find on the first frame, and print what that is.

    Args:
        options: of the command line; without texts nothing is opened.
        source: the recording.
        others: prompts whose object ids are taken.

    Raises:
        UsageError: nothing was found; the message says why.
        TextError, WeightsError, UnknownModelError: a text or the model cannot be used.
    """
    if not options.texts:
        return []
    from tam_ros.language import DenseClip

    image = next(iter(source)).rgb
    with DenseClip.open(**_clip_arguments(options)) as clip:
        words = [*options.texts, *options.background]
        encoded = _encoded(clip, words, options.words)
        number = len(options.texts)
        finds = clip.find(image, encoded[:number], encoded[number:], most=options.most)
    reasons = [finds.reason(index, text) for index, text in enumerate(options.texts)]
    if not finds:
        raise UsageError('; '.join(reasons))
    for reason in filter(None, reasons):
        print(reason, flush=True)
    first = 1 + max((one.prompt.object_id for one in others), default=0)
    return _sharpened(options, image, finds, first)


def _clip_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `DenseClip.open`: those of the tracker, but for the model."""
    return runtime_arguments(options) | {
        'model': None if options.clip == ANY else options.clip,
        'weights': options.clip_weights,
    }


def _encoded(clip: DenseClip, words: list[str], file: Path | None) -> Floats:
    """Return the features of words, [T, D]: of a file, or of the text tower."""
    from tam_ros.language import TextFeatures
    from tam_ros.language.vocabulary import chosen_from

    if file is None:
        return clip.text_features(words)
    return clip.text_features(chosen_from(TextFeatures.load(file))(tuple(words)))


def _sharpened(
    options: argparse.Namespace, image: NDArray[np.uint8], finds: Finds, first: int
) -> list[FramePrompt]:
    """Return for each region the prompt that the tracker's own model is most sure of."""
    from tam_ros.recordings.offline import FramePrompt
    from tam_ros.segmentation import Segmenter
    from tam_ros.segmentation.region_prompts import best_prompt

    prompts = []
    with Segmenter.open(**runtime_arguments(options)) as segmenter:
        segmenter.set_image(image)
        for object_id, find in enumerate(finds, first):
            text = options.texts[find.text]
            prompt, found = best_prompt(segmenter, object_id, find.box, find.point)
            x, y = find.point
            print(
                f'object {object_id}: {text!r} at {x:.0f},{y:.0f} (probability {find.score:.0%}, '
                f'predicted IoU {float(found.predicted_iou[0]):.2f})',
                flush=True,
            )
            prompts.append(FramePrompt(0, prompt, f'--text {text!r}'))
    return prompts
