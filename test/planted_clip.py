# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""A small CLIP whose weights are chosen, not trained, so that the words for colours mean them.

The image tower takes the mean colour of a patch and passes it through its block unchanged. The
text tower averages the embeddings of the tokens before the end of a text; those of colours are the
tokens of a patch of that colour, and all other words are zero. Both towers compute with the same
code as a trained CLIP.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from tam_ros.language.dense_options import MEAN, STD

PATCH, GRID, WIDTH, DIM, LENGTH = 8, 6, 64, 4, 20
COLOURS = {
    'red': (220, 30, 30),
    'green': (30, 200, 40),
    'blue': (30, 40, 220),
    'grey': (110, 110, 110),
}
FILLER = ['a', 'photo', 'of', 'the', 'mug', 'cable', 'on', 'in', 'kettle']
TOWER = 'visual.'


def tokens() -> np.ndarray:
    """Return what the colours are in the tower: red, green and blue normalised, and 1."""
    colours = np.array(list(COLOURS.values()))
    normalised = (colours / 255 - np.array(MEAN)) / np.array(STD)
    return np.concatenate((normalised, np.ones((len(colours), 1))), axis=1)


def _block(prefix: str) -> dict[str, np.ndarray]:
    """Return a block that changes nothing."""
    zeros = {
        'attn.in_proj_weight': (3 * WIDTH, WIDTH),
        'attn.in_proj_bias': (3 * WIDTH,),
        'attn.out_proj.weight': (WIDTH, WIDTH),
        'attn.out_proj.bias': (WIDTH,),
        'mlp.c_fc.weight': (4 * WIDTH, WIDTH),
        'mlp.c_fc.bias': (4 * WIDTH,),
        'mlp.c_proj.weight': (WIDTH, 4 * WIDTH),
        'mlp.c_proj.bias': (WIDTH,),
        'ln_1.bias': (WIDTH,),
        'ln_2.bias': (WIDTH,),
    }
    made = {name: np.zeros(shape) for name, shape in zeros.items()}
    made |= {'ln_1.weight': np.ones(WIDTH), 'ln_2.weight': np.ones(WIDTH)}
    return {f'{prefix}transformer.resblocks.0.{name}': value for name, value in made.items()}


def _norm(name: str) -> dict[str, np.ndarray]:
    return {f'{name}.weight': np.ones(WIDTH), f'{name}.bias': np.zeros(WIDTH)}


def state() -> dict[str, np.ndarray]:
    """Return the weights by OpenAI's names."""
    # Every number has its negative beside it, so that the norms, which subtract the mean, change
    # nothing but the length.
    conv = np.zeros((WIDTH, 3, PATCH, PATCH))
    for channel in range(3):
        conv[channel, channel] = 1 / PATCH**2
        conv[DIM + channel, channel] = -1 / PATCH**2
    place = np.zeros((GRID**2 + 1, WIDTH))
    place[:, 3], place[:, DIM + 3] = 1, -1
    # The colours become the axes of the features, so words for other colours have nothing of them.
    read = np.zeros((WIDTH, DIM))
    read[:DIM] = np.linalg.inv(tokens())
    words = np.zeros((len(vocabulary()), WIDTH))
    for name, token in zip(COLOURS, tokens(), strict=True):
        words[vocabulary()[name], : 2 * DIM] = [*token, *-token]
    text = _block('')
    attention = text['transformer.resblocks.0.attn.in_proj_weight']
    attention[2 * WIDTH :] = np.eye(WIDTH)  # queries and keys are zero: an even average
    text['transformer.resblocks.0.attn.out_proj.weight'][:] = np.eye(WIDTH)
    return {
        f'{TOWER}conv1.weight': conv,
        f'{TOWER}class_embedding': np.zeros(WIDTH),
        f'{TOWER}positional_embedding': place,
        **_norm(f'{TOWER}ln_pre'),
        **_block(TOWER),
        **_norm(f'{TOWER}ln_post'),
        f'{TOWER}proj': read,
        **text,
        'token_embedding.weight': words,
        'positional_embedding': np.zeros((LENGTH, WIDTH)),
        **_norm('ln_final'),
        'text_projection': read,
        'logit_scale': np.array(4.6052),
    }


def vocabulary() -> dict[str, int]:
    """Return the numbers of the words; the last ones are CLIP's marks."""
    marks = ['[UNK]', '<|startoftext|>', '<|endoftext|>']
    return {word: index for index, word in enumerate([*COLOURS, *FILLER, *marks])}


def write(folder: Path, text_tower: bool = True) -> Path:
    """Write weights and vocabulary into a folder; return the path of the weights."""
    arrays = {
        name: torch.from_numpy(np.array(value, np.float32))
        for name, value in state().items()
        if text_tower or name.startswith(TOWER)
    }
    torch.save(arrays, folder / 'planted.pt')
    write_vocabulary(folder / 'tokenizer.json')
    return folder / 'planted.pt'


def write_vocabulary(path: Path) -> None:
    """Write the vocabulary in the form of `tokenizers`: whole words."""
    marks = [
        {
            'id': vocabulary()[mark],
            'content': mark,
            'single_word': False,
            'lstrip': False,
            'rstrip': False,
            'normalized': False,
            'special': True,
        }
        for mark in ('<|startoftext|>', '<|endoftext|>')
    ]
    path.write_text(
        json.dumps(
            {
                'version': '1.0',
                'truncation': None,
                'padding': None,
                'added_tokens': marks,
                'normalizer': {'type': 'Lowercase'},
                'pre_tokenizer': {'type': 'Whitespace'},
                'post_processor': None,
                'decoder': None,
                'model': {'type': 'WordLevel', 'vocab': vocabulary(), 'unk_token': '[UNK]'},
            }
        )
    )


def scene(height: int = 96, width: int = 144, **boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Draw boxes x0, y0, x1, y1 of colours on grey, uint8 [height, width, 3]."""
    image = np.full((height, width, 3), COLOURS['grey'], np.uint8)
    for colour, (x0, y0, x1, y1) in boxes.items():
        image[y0:y1, x0:x1] = COLOURS[colour]
    return image
