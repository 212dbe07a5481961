# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The numbers in docs/security.md are those of the code."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tam_ros import interfaces, model_files, printable
from tam_ros.io import image_data, image_decoder
from tam_ros.prompting import detection_filter, object_ids, waiting_prompts
from tam_ros.tracking import prompts, saved_tracks

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / 'docs' / 'security.md').read_text()
TEXT = ' '.join(LINES.split())
BOUNDS = LINES.partition('<!-- bounds: begin -->')[2].partition('<!-- bounds: end -->')[0]


def row(beginning):
    """Return the second column of a row of the table."""
    (line,) = [line for line in BOUNDS.split('\n') if line.startswith(f'| {beginning}')]
    return line.split('|')[2].strip()


@pytest.mark.parametrize(
    ('what', 'words'),
    [
        ('an image, depth image', f'and {image_data.MAX_SIDE} on a side'),
        ('points of a prompt', f'{interfaces.MAX_POINTS}, before'),
        ('detections that are used', f'{detection_filter.MAX_DETECTIONS}'),
        ('prompts that wait', f'{waiting_prompts.MAX_WAITING}, their masks'),
        ('prompts that wait', f'{waiting_prompts.MAX_MASK_BYTES / 1e6:.1f} MB'),
        ('new objects', f'after {object_ids.BURST} at once'),
        ('new objects', f'up to {prompts.MAX_ID:,}'),
        ('names', f'{printable.MAX_NAME} characters'),
        ('names', f'other texts {printable.MAX_TEXT};'),
        ('`model.json`', f'{model_files._MAX_DESCRIPTION >> 20} MiB'),
        ('a checkpoint or graph', f'{model_files.MAX_WEIGHTS >> 30} GiB'),
        ('saved tracks', f'{saved_tracks.MAX_BYTES >> 30} GiB'),
        ('an image file', f'{image_decoder.MAX_FILE_BYTES >> 20} MiB'),
    ],
)
def test_a_bound_is_the_one_in_the_code(what, words):
    assert words in row(what)


def test_bounds_that_are_parameters():
    pytest.importorskip('rclpy', reason='no ROS 2 here')
    from tam_ros.ros.bounded_messages import MAX_MESSAGES
    from tam_ros.ros.parameters import Parameters

    defaults = Parameters()
    assert f'`max_image_megapixels`, {defaults.max_image_megapixels} million' in BOUNDS
    assert f'`max_new_objects`, {defaults.max_new_objects:g} per second' in BOUNDS
    assert f'**`max_image_megapixels`** ({defaults.max_image_megapixels})' in TEXT
    assert f'**`max_objects`** ({defaults.max_objects})' in TEXT
    assert f'**`max_new_objects`** ({defaults.max_new_objects:g} per second)' in TEXT
    assert f'**`prompt_history_seconds`** ({defaults.prompt_history_seconds})' in TEXT
    assert row('messages in a message') == f'{MAX_MESSAGES:,}'


def test_holes_are_reported_to_the_maintainer_of_the_package():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert f'<{package.find("maintainer").get("email")}>' in (ROOT / 'SECURITY.md').read_text()


def test_files_that_the_docs_name_exist():
    for text in (TEXT, (ROOT / 'SECURITY.md').read_text()):
        for name in re.findall(r'`(config/[\w.]+)`', text):
            assert (ROOT / name).is_file(), name
