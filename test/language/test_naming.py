# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pooling, prototypes and the ensemble equal the reference; names of tracks do not flicker."""

from __future__ import annotations

import numpy as np
import planted_clip as planted
import pytest

from tam_ros.language import DenseClip, naming
from tam_ros.language.naming import Name, TrackNames
from tam_ros.language.vocabulary import read_vocabulary

AXES = np.eye(4, dtype=np.float32)[:, None]  # four classes, one prototype each


@pytest.fixture(scope='module')
def kit(shared_parity):
    with np.load(shared_parity / 'others' / 'ovsam' / 'open.npz') as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_pooling_equals_the_reference(kit):
    found = naming.pool(kit['feature'][0], kit['mask_logits'][0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, kit['pooled'][0], atol=1e-5)


def test_prototypes_equal_the_reference(kit):
    scale = float(np.exp(kit['logit_scale']))
    found = naming.similarity(kit['pooled'][0], kit['cls_embed_with_bg'], scale)
    np.testing.assert_allclose(found / scale, kit['clip_logits'][0] / scale, atol=1e-5)
    assert (found[:, -1] == 0).all(), 'the background is no direction'


def test_the_ensemble_equals_the_reference(kit):
    found = naming.ensemble(
        kit['head_logits'][0],
        kit['clip_logits'][0],
        kit['base_novel'],
        float(kit['alpha']),
        float(kit['beta']),
    )
    np.testing.assert_allclose(found, kit['ensemble'][0], rtol=1e-5, atol=1e-5)
    assert np.array_equal(found.argmax(axis=1), kit['label'][0])


def test_the_ensemble_without_a_background(kit):
    head, clip = kit['head_logits'][0][:, :-1], kit['clip_logits'][0][:, :-1]
    found = naming.ensemble(head, clip, kit['base_novel'])
    assert found.shape == (5, 7) and (found[:, 5] == naming.IN_NEITHER).all()


def test_a_mask_is_pooled_at_any_size():
    features = np.zeros((2, 4, 4), np.float32)
    features[0, :2], features[1, 2:] = 1, 1
    mask = np.full((2, 64, 48), -5, np.float32)
    mask[0, :32] = 5
    found = naming.pool(features, mask)
    assert found[0].tolist() == pytest.approx([1, 0])
    assert found[1].tolist() == [0, 0], 'an empty mask has no features'
    assert naming.pool(features, mask[:0]).shape == (0, 2)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r'not \[C, h, w\]'):
        naming.pool(np.zeros((4, 4), np.float32), np.zeros((1, 4, 4), np.float32))
    with pytest.raises(ValueError, match='do not fit'):
        naming.similarity(np.zeros((1, 5), np.float32), AXES)
    with pytest.raises(ValueError, match='do not fit'):
        naming.ensemble(np.zeros((1, 3)), np.zeros((1, 3)), [1])


def test_masks_of_colours_are_named_by_their_words(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'words.txt').write_text('green\nred, red mug\nblue\n')
    vocabulary = read_vocabulary(tmp_path / 'words.txt')
    boxes = {'red': (40, 60, 110, 130), 'blue': (190, 100, 250, 170)}
    logits = np.full((2, 64, 64), -5, np.float32)
    for mask, (x0, y0, x1, y1) in zip(logits, boxes.values(), strict=True):
        mask[y0 * 64 // 200 : y1 * 64 // 200, x0 * 64 // 300 : x1 * 64 // 300] = 5
    with DenseClip.open(None, planted.write(tmp_path), 'torch', threads=1) as clip:
        names = TrackNames(vocabulary.prototypes(clip.encode_texts), least=0.5)
        features = clip.image_features(planted.scene(200, 300, **boxes)).features
    names.look([4, 9], naming.pool(features, logits))
    assert [vocabulary.names[names.name(track).index] for track in (4, 9)] == ['red', 'blue']


# --- names over time ---


def towards(first, second, part):
    """Return a feature between two axes."""
    vector = np.zeros((1, 4), np.float32)
    vector[0, first], vector[0, second] = 1 - part, part
    return vector


def test_a_track_is_named_by_the_average_of_its_life():
    names = TrackNames(AXES)
    assert names.name(7) is None
    names.look([7], towards(2, 1, 0))
    assert names.name(7) == Name(2, pytest.approx(1))
    names.look([7], towards(1, 2, 0))  # one bad view
    names.look([7], 9 * towards(2, 1, 0))  # the length of a feature does not matter
    assert names.name(7).index == 2 and names.looks(7) == 3


def test_the_name_does_not_flicker_and_changes_in_the_end():
    names = TrackNames(AXES * 0.02, margin=0.3)  # similarities of which none is certain
    shown = []
    for step in range(60):
        names.look([1], towards(0, 1, 0.45 if step % 2 else 0.55))
        shown.append(names.name(1).index)
    assert set(shown) == {shown[0]}
    for _ in range(400):
        names.look([1], towards(0, 1, float(1 - shown[0])))
        shown.append(names.name(1).index)
    assert shown[-1] == 1 - shown[0]
    assert np.count_nonzero(np.diff(shown)) == 1


def test_without_hysteresis_it_would_have_flickered():
    names, shown = TrackNames(AXES * 0.02, margin=0), []
    for step in range(60):
        names.look([1], towards(0, 1, 0.4 if step % 3 == 1 else 0.55))
        shown.append(names.name(1).index)
    assert np.count_nonzero(np.diff(shown)) > 1


def test_reading_a_name_changes_nothing():
    names = TrackNames(AXES)
    names.look([1, 2], np.concatenate((towards(0, 1, 0.4), towards(3, 1, 0.4))))
    assert [names.name(1) for _ in range(3)] == [names.name(1)] * 3
    assert (names.name(1).index, names.name(2).index) == (0, 3)


def test_nothing_is_likely_enough():
    names = TrackNames(AXES * 0.001, least=0.5)
    names.look([1], towards(0, 1, 0))
    assert names.name(1) is None


@pytest.mark.parametrize(
    'bad', [np.zeros((1, 4)), np.full((1, 4), np.nan), np.full((1, 4), 1e999)]
)
def test_a_look_that_shows_nothing_is_none(bad):
    names = TrackNames(AXES)
    names.look([1], bad.astype(np.float32))
    assert names.name(1) is None and names.looks(1) == 0


def test_tracks_that_ended_are_forgotten():
    names = TrackNames(AXES)
    names.look([1, 2], np.concatenate((towards(0, 1, 0), towards(1, 0, 0))))
    names.keep([2, 5])
    assert names.name(1) is None and names.name(2).index == 1


def test_classes_with_several_prototypes():
    prototypes = np.stack((AXES[[0, 1], 0], AXES[[2, 3], 0]))
    names = TrackNames(prototypes)
    names.look([1], towards(3, 0, 0.2))
    assert names.name(1).index == 1


@pytest.mark.parametrize('options', [{'margin': 2}, {'least': -1}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match='not in 0..1'):
        TrackNames(AXES, **options)


def test_an_empty_vocabulary():
    with pytest.raises(ValueError, match=r'not \[K, P, C\]'):
        TrackNames(AXES[:0])
