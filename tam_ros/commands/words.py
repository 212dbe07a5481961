# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam words`: encodes words into a file, so that a robot needs no text tower."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tam_ros.commands import UsageError
from tam_ros.commands.backend import add_backend_options, runtime_arguments

DEFAULT = 'clip_vit_b16'
ANY = 'any'


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        'words',
        help='encode words with the text tower of a CLIP, into a file of features',
        description='A file of features belongs to the weights that made it.',
    )
    parser.add_argument('words', nargs='*', metavar='WORDS', help='for example "red mug"')
    parser.add_argument(
        '--file', metavar='FILE',
        help='a vocabulary: a class per line, further words for it after commas; or coco',
    )  # fmt: skip
    parser.add_argument(
        '--out', required=True, type=Path, metavar='NAME.npz', help='file to create'
    )
    model = parser.add_argument_group('model', f'--model {ANY}: whatever CLIP the weights are of')
    model.add_argument(
        '--tokenizer', type=Path, metavar='FILE',
        help='tokenizer.json, vocab.json or bpe_simple_vocab_16e6.txt.gz (default: the one beside '
        'the weights)',
    )  # fmt: skip
    add_backend_options(model)
    parser.set_defaults(run=run, model=DEFAULT)


def run(options: argparse.Namespace) -> None:
    """Encode the words and write the file.

    Raises:
        UsageError: there are no words, or the file cannot be written.
        TextError: a word or the vocabulary cannot be used.
        UnknownModelError, WeightsError, EngineError: the model cannot be opened.
        OSError: the file cannot be written.
    """
    from tam_ros.language import DenseClip
    from tam_ros.language.text_features import SUFFIX
    from tam_ros.language.vocabulary import read_vocabulary

    if options.out.suffix != SUFFIX:
        raise UsageError(f'--out {options.out}: the name must end in {SUFFIX}')
    if os.path.lexists(options.out):
        raise UsageError(f'{options.out} exists; choose another name or remove it')
    words = list(options.words)
    if options.file is not None:
        vocabulary = read_vocabulary(options.file)
        if vocabulary.repeated:
            print(f'{len(vocabulary.repeated)} words of {options.file} are there twice')
        words += vocabulary.words
    if not words:
        raise UsageError('no words: give some, or a --file of them')
    from tqdm import tqdm

    arguments = runtime_arguments(options)
    if options.model == ANY:
        arguments['model'] = None
    with DenseClip.open(**arguments, tokenizer=options.tokenizer) as clip:
        with tqdm(total=len(words), unit='word', leave=False, disable=None) as bar:
            features = clip.encode_texts(words, progress=lambda done: bar.update(done - bar.n))
        features.save(options.out)
    count, dim = features.features.shape
    print(f'written: {options.out}, {count} texts of {dim} numbers, for weights with the')
    print(f'fingerprint {features.fingerprint}')
