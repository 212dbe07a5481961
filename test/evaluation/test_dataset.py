# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Folders with the layout of DAVIS: what is read, and what is refused."""

from __future__ import annotations

import os
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from evaluation.datasets import labels_of, moving, write
from tam_ros.evaluation.dataset import DatasetError, open_dataset


def names(sequences) -> list[str]:
    return [sequence.name for sequence in sequences]


@pytest.mark.parametrize('resolution', ['', '480p'])
def test_sequences_are_read(tmp_path, resolution):
    write(tmp_path, 'b', moving(), resolution)
    write(
        tmp_path,
        'a',
        [labels_of((1, 5), (2, 30)), None, labels_of((2, 31)), labels_of()],
        resolution,
    )
    first, second = open_dataset(tmp_path)
    assert names([first, second]) == ['a', 'b']
    assert len(first) == 4 and len(second) == 9
    frames = list(first)
    assert [sorted(np.unique(f.labels)) if f.labels is not None else None for f in frames] == [
        [0, 1, 2],
        None,
        [0, 2],
        [0],
    ]
    assert frames[0].image.shape == (40, 60, 3)
    assert frames[0].image[15, 8].tolist() == pytest.approx([40, 120, 200], abs=12)  # RGB


def test_palette_colours_do_not_matter(tmp_path):
    write(tmp_path, 'a', moving(label=7))
    (sequence,) = open_dataset(tmp_path)
    assert {value for frame in sequence for value in np.unique(frame.labels)} == {0, 7}


def test_chosen_by_name_and_by_a_list(tmp_path):
    for name in 'abc':
        write(tmp_path, name, moving())
    assert names(open_dataset(tmp_path, ['c', 'a'])) == ['c', 'a']
    (tmp_path / 'val.txt').write_text('b\nc\n')
    assert names(open_dataset(tmp_path, [str(tmp_path / 'val.txt'), 'b'])) == ['b', 'c']


def test_a_single_object_with_the_label_255_as_in_davis_2016(tmp_path):
    write(tmp_path, 'a', [labels_of(), *moving(label=255)])
    (sequence,) = open_dataset(tmp_path)
    assert {value for frame in sequence for value in np.unique(frame.labels)} == {0, 1}


def test_255_is_void_if_there_are_other_labels(tmp_path):
    write(tmp_path, 'a', [labels_of((1, 5), (255, 30))] * 4)
    (sequence,) = open_dataset(tmp_path)
    assert {value for frame in sequence for value in np.unique(frame.labels)} == {0, 1, 255}


def remove(path):
    for file in sorted(path.rglob('*'), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def colour_mask(root):
    Image.new('RGB', (60, 40), (128, 0, 0)).save(root / 'Annotations/a/00000.png')


def smaller_mask(root):
    Image.new('L', (30, 20), 1).save(root / 'Annotations/a/00003.png')


def larger_image(root):
    cv2.imwrite(str(root / 'JPEGImages/a/00004.jpg'), np.zeros((80, 120, 3), np.uint8))


def other_names(root):
    for path in (root / 'Annotations/a').iterdir():
        path.rename(path.with_name(f'mask_{path.name}'))


def keep_two_masks(root):
    for path in sorted((root / 'Annotations/a').iterdir())[2:]:
        path.unlink()


def no_object(root):
    for path in (root / 'Annotations/a').iterdir():
        Image.new('L', (60, 40)).save(path)


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (lambda root: remove(root / 'Annotations'), 'no folder Annotations'),
        (lambda root: remove(root / 'JPEGImages'), 'no folder JPEGImages'),
        (lambda root: remove(root / 'Annotations/a'), 'contains no sequence'),
        (lambda root: remove(root / 'JPEGImages/a'), 'no folder .*JPEGImages/a'),
        (lambda root: (root / 'JPEGImages/480p').mkdir(), 'Annotations/480p does not'),
        (lambda root: (root / 'JPEGImages/a/00003.jpg').unlink(), '1 of 9 masks.*00003.png'),
        (lambda root: (root / 'JPEGImages/a/00003.jpg').write_bytes(b''), '00003.jpg cannot'),
        (lambda root: (root / 'Annotations/a/00003.png').write_bytes(b'no'), '00003.png cannot'),
        (smaller_mask, '00003.png is 30x20.*60x40'),
        (larger_image, '00004.jpg is 120x80.*60x40'),
        (colour_mask, '00000.png is a colour image'),
        (other_names, 'no image has a mask.*00000.jpg.*mask_00000.png'),
        (keep_two_masks, 'has 2 masks; at least 3'),
        (no_object, 'no mask shows an object'),
    ],
)
def test_a_damaged_dataset_is_refused(tmp_path, damage, words):
    damage(write(tmp_path, 'a', moving()))
    with pytest.raises(DatasetError, match=words):
        open_dataset(tmp_path)


def test_no_mask_in_the_folder(tmp_path):
    remove(write(tmp_path, 'a', moving()) / 'Annotations/a')
    (tmp_path / 'Annotations/a').mkdir()
    with pytest.raises(DatasetError, match='contains no mask'):
        open_dataset(tmp_path)


def test_the_error_for_an_unknown_sequence_lists_the_known_ones(tmp_path):
    write(tmp_path, 'a', moving())
    with pytest.raises(DatasetError, match='Annotations/z.*sequences with masks: a'):
        open_dataset(tmp_path, ['z'])


def test_a_missing_folder(tmp_path):
    with pytest.raises(DatasetError, match='is not a folder'):
        open_dataset(tmp_path / 'missing')


def test_a_truncated_file_is_named_when_it_is_read(tmp_path):
    write(tmp_path, 'a', moving())
    path = tmp_path / 'Annotations/a/00005.png'
    path.write_bytes(path.read_bytes()[:-30])
    (sequence,) = open_dataset(tmp_path)
    with pytest.raises(DatasetError, match='00005.png cannot be read'):
        list(sequence)


def bomb(root):
    data = bytearray((root / 'Annotations/a/00002.png').read_bytes())
    data[16:24] = (60_000).to_bytes(4, 'big') * 2  # the size in the header
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
    (root / 'Annotations/a/00002.png').write_bytes(data)


def pipe(root):
    (root / 'Annotations/a/00002.png').unlink()
    os.mkfifo(root / 'Annotations/a/00002.png')


def short_chunk(root):
    """A chunk that is shorter than its fields makes Pillow raise struct.error."""
    path = root / 'Annotations/a/00002.png'
    data = path.read_bytes()
    body = b'pHYs' + b'12'
    chunk = (2).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(4, 'big')
    path.write_bytes(data[:33] + chunk + data[33:])


def not_a_mask(root):
    Image.fromarray(np.full((40, 60), 300, np.uint16)).save(root / 'Annotations/a/00000.png')


@pytest.mark.parametrize('change', [bomb, pipe, short_chunk, not_a_mask])
def test_whatever_a_file_contains_the_error_names_it(tmp_path, change):
    write(tmp_path, 'a', moving())
    change(tmp_path)
    with pytest.raises(DatasetError, match=r'0000[02]\.png'):
        for sequence in open_dataset(tmp_path):
            list(sequence)


def test_a_list_of_names_that_is_not_text(tmp_path):
    write(tmp_path, 'a', moving())
    (tmp_path / 'val.txt').write_bytes(b'\xff\xfe\0')
    with pytest.raises(DatasetError, match=r'val\.txt cannot be read as a list of sequences'):
        open_dataset(tmp_path, [str(tmp_path / 'val.txt')])


def test_sequences_without_masks_are_skipped_with_a_warning(tmp_path, caplog):
    write(tmp_path, 'a', moving())
    (tmp_path / 'JPEGImages/bare').mkdir()
    assert names(open_dataset(tmp_path)) == ['a']
    assert 'bare' in caplog.text
