# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The text syntax of prompts."""

import pytest

from tam_ros.prompting.prompt_text import (
    PromptSpec,
    PromptSpecError,
    check_prompts,
    parse_prompts,
)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1:point:320,240', [PromptSpec(1, points=((320, 240),), labels=(1,))]),
        ('1:point:320,240,0', [PromptSpec(1, points=((320, 240),), labels=(0,))]),
        ('3:point:1.5,2;8,9,0@7', [PromptSpec(3, ((1.5, 2), (8, 9)), (1, 0), frame=7)]),
        ('2:box:40,60,200,180', [PromptSpec(2, box=(40, 60, 200, 180))]),
        ('2:box:40,60,200,180@25', [PromptSpec(2, box=(40, 60, 200, 180), frame=25)]),
        (
            '1:point:5,6;2:box:0,0,9,9;1:point:7,8,0@3',
            [
                PromptSpec(1, ((5, 6),), (1,)),
                PromptSpec(2, box=(0, 0, 9, 9)),
                PromptSpec(1, ((7, 8),), (0,), frame=3),
            ],
        ),
        (
            ' 1:point:5,6   2:point:7,8 ',
            [PromptSpec(1, ((5, 6),), (1,)), PromptSpec(2, ((7, 8),), (1,))],
        ),
    ],
)
def test_understood(text, expected):
    prompts = parse_prompts(text)
    assert prompts == expected
    assert parse_prompts(';'.join(map(str, prompts))) == expected


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'no prompt given'),
        (' ; ', 'no prompt given'),
        ('320,240', 'id and the kind are missing'),
        ('1:320,240', 'neither point nor box'),  # the kind forgotten
        ('1:circle:320,240', 'neither point nor box'),
        ('one:point:320,240', 'whole number from 1'),
        ('0:point:320,240', 'whole number from 1'),  # 0 is the background
        ('-1:point:320,240', 'whole number from 1'),
        ('1:point:320', 'X,Y'),
        ('1:point:', 'not a list of numbers'),
        ('1:point:a,b', 'not a list of numbers'),
        ('1:point:nan,4', 'finite'),
        ('1:point:3,inf', 'finite'),
        ('1:point:3,4,2', 'label is 1'),
        ('1:point:3,4,1,9', 'X,Y'),
        ('1:box:1,2,3', 'four numbers'),
        ('1:box:9,2,3,8', 'X0 < X1'),  # corners swapped
        ('1:box:3,2,3,8', 'X0 < X1'),  # empty
        ('1:box:1,2,3,4@', 'the frame must be'),
        ('1:box:1,2,3,4@-1', 'the frame must be'),
        ('1:box:1,2,3,4@2.5', 'the frame must be'),
        ('1:point:1,2@3;4,5', 'follow @FRAME'),
    ],
)
def test_refused_with_the_syntax(text, words):
    with pytest.raises(PromptSpecError, match=words) as error:
        parse_prompts(text)
    assert 'ID:box:X0,Y0,X1,Y1' in str(error.value)


@pytest.mark.parametrize(
    'text',
    ['1:point:0,0', '1:point:639,359', '1:box:-5,-5,700,400', '1:point:3,4@9'],  # the limits
)
def test_fits_the_recording(text):
    check_prompts(parse_prompts(text), size=(360, 640), frames=10)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('1:point:639.5,0', 'outside the image of 640x360'),
        ('1:point:0,360', 'outside'),
        ('1:point:-1,5', 'outside'),
        ('1:point:5,5;700,5', 'outside'),  # one of two clicks
        ('1:box:640,0,700,50', 'outside'),
        ('1:box:-9,-9,0,0', 'outside'),
        ('1:point:3,4@10', 'frame 10, but the frames are 0 to 9'),
    ],
)
def test_does_not_fit_the_recording(text, words):
    with pytest.raises(PromptSpecError, match=words):
        check_prompts(parse_prompts(text), size=(360, 640), frames=10)


def test_any_frame_of_a_recording_of_unknown_length():
    check_prompts(parse_prompts('1:point:3,4@1000'), size=(360, 640), frames=None)


@pytest.mark.parametrize(
    'text',
    [
        f'{"1" * 5000}:point:3,4',
        f'1:point:3,4@{"1" * 5000}',
        f'1:{"x" * 5000}:3,4',
        f'1:point:{"x" * 5000}',
        f'1:point:{"9" * 5000},4',
    ],
)
def test_endless_texts_are_refused_in_a_few_words(text):
    with pytest.raises(PromptSpecError) as caught:
        parse_prompts(text)
    assert len(str(caught.value)) < 600
