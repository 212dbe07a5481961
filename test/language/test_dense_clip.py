# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Dense scores equal those of MaskCLIP's code, and words find what was planted for them."""

from __future__ import annotations

import numpy as np
import planted_clip as planted
import pytest
import torch

from tam_ros import catalogue
from tam_ros.export.onnx import export_model
from tam_ros.language import DenseClip, ImageError, TextError, TextFeatures
from tam_ros.model_files import WeightsError

VARIANTS = [('clipexact', False), ('official', True)]
MAPS = [
    ('plain', {}),
    ('pd0.5', {'prompt_denoising': 0.5}),
    ('ks1', {'key_smoothing': 1.0}),
    ('kspd', {'prompt_denoising': 0.5, 'key_smoothing': 1.0}),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def weights(tmp_path):
    return planted.write(tmp_path)


@pytest.fixture
def clip(weights):
    with DenseClip.open(None, weights, 'torch', threads=1) as clip:
        yield clip


# --- the reference ---


@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime'])
def test_all_maps_equal_the_reference(shared_parity, runtime):
    kit = shared_parity / 'others' / 'maskclip'
    with np.load(kit / 'open.npz') as file:
        arrays = {name: file[name] for name in file.files}
    normalisation = {'mean': arrays['mean'], 'std': arrays['std']}
    options = {'resize': False, **normalisation}
    weights = kit / 'weights_openai_names.npz'
    with DenseClip.open(None, weights, runtime, threads=1, **options) as clip:
        for variant, official in VARIANTS:
            for name, refinement in MAPS:
                found = clip.scores(
                    arrays['image'], arrays['text'], official=official, **refinement
                )
                wanted = arrays[f'{variant}_{name}'][0]
                assert found.dtype == np.float32 and found.shape == wanted.shape
                assert np.abs(found - wanted).max() <= 1e-4, (variant, name)
        byte = clip.scores(arrays['image'], arrays['text'])
        unit = {name: value / 255 for name, value in normalisation.items()}
        one = clip.scores(arrays['image'], arrays['text'], **unit)
        assert np.abs(byte - one).max() < 1e-5, 'the unit of mean and std is told from their size'


# --- images ---


def word(clip, image, text, **options):
    return clip.scores(image, [text], **options)[0]


def test_a_colour_is_where_it_is(clip):
    image = planted.scene(red=(16, 24, 48, 56), blue=(96, 40, 128, 88))
    scores = clip.scores(image, ['red mug', 'a blue cable', 'grey'], resize=False)
    assert scores.shape == (3, 12, 18) and scores.dtype == np.float32
    best = scores.argmax(axis=0)
    wanted = np.full((12, 18), 2)
    wanted[3:7, 2:6], wanted[5:11, 12:16] = 0, 1
    assert np.array_equal(best, wanted)
    assert scores.max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ('size', 'map_'),
    [((96, 144), (9, 14)), ((400, 100), (24, 6)), ((30, 2000), (1, 97)), ((1, 1), (12, 12))],
)
def test_an_image_of_any_shape_nearly_fills_the_places(clip, size, map_):
    # The planted model has 12 x 12 places: twice the 6 x 6 patches of its training.
    image = np.full((*size, 3), planted.COLOURS['green'], np.uint8)
    scores = word(clip, image, 'green')
    assert scores.shape == map_ and scores.size <= 144
    assert scores.min() > 0.999


def test_what_is_not_a_whole_patch_is_padded(clip):
    image = planted.scene(90, 140, red=(0, 0, 64, 64))
    assert word(clip, image, 'red', resize=False).shape == (12, 18)
    assert word(clip, image, 'red', resize=48).shape == (6, 9)


def test_a_large_image_is_encoded_in_windows(clip):
    boxes = {'red': (200, 240, 264, 304), 'blue': (320, 16, 384, 64)}
    image = planted.scene(320, 400, **boxes)
    whole = clip.scores(image, ['red', 'blue'], resize=False)
    assert whole.shape == (2, 40, 50)
    small = clip.scores(image, ['red', 'blue'], resize=False, window=40)
    # The planted features do not depend on the place, so windows change nothing.
    np.testing.assert_allclose(small, whole, atol=1e-4)
    for index, (x0, y0, x1, y1) in enumerate(boxes.values()):
        inside = np.zeros((40, 50), bool)
        inside[y0 // 8 : y1 // 8, x0 // 8 : x1 // 8] = True
        assert np.array_equal(whole[index] > 0.9, inside)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
    ],
)
def test_other_arrays_are_no_images(clip, image):
    with pytest.raises(ImageError, match='must be uint8'):
        clip.scores(image, ['red'])


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'key_smoothing': 2}, 'key_smoothing is 2, not in 0..1'),
        ({'mean': (0, 0, 0)}, 'mean and std are given together'),
        ({'mean': (0, 0), 'std': (1, 1)}, 'not three numbers'),
        ({'mean': (0, 0, 0), 'std': (1, 1, 0)}, 'deviations are above 0'),
        ({'resize': 0}, 'resize is 0 pixels'),
        ({'window': 10**6}, 'window is 1000000 pixels'),
    ],
)
def test_options_are_checked(clip, options, says):
    with pytest.raises(ValueError, match=says):
        clip.scores(planted.scene(), ['red'], **options)


def test_an_unknown_option_is_an_error(clip):
    with pytest.raises(TypeError, match='no option smoothing'):
        clip.scores(planted.scene(), ['red'], smoothing=1)


# --- finding ---

SCENE = planted.scene(192, 288, red=(32, 48, 96, 112), blue=(192, 80, 256, 176))


@pytest.mark.parametrize('background', [None, ['grey'], ['a grey mug', 'green']])
def test_a_word_becomes_a_prompt(clip, background):
    finds = clip.find(SCENE, ['red mug', 'blue cable'], background)
    assert [find.text for find in sorted(finds, key=lambda find: find.text)] == [0, 1]
    for find in finds:
        box = (32, 48, 96, 112) if find.text == 0 else (192, 80, 256, 176)
        assert np.abs(np.subtract(find.box, box)).max() <= 21  # a place of the map
        x, y = find.point
        assert box[0] < x < box[2] and box[1] < y < box[3]
        assert 0.5 < find.score <= 1
    assert finds.reason(0, 'red mug') == ''


@pytest.mark.parametrize('background', [None, ['grey']])
def test_a_wrong_word_finds_nothing_and_says_so(clip, background):
    for wrong in ('green kettle', 'the green'):
        finds = clip.find(SCENE, [wrong], background)
        assert finds == []
        assert finds.reason(0, wrong).startswith(f"nothing here looks like '{wrong}'")


def test_two_objects_of_one_word(clip):
    image = planted.scene(192, 288, red=(16, 16, 64, 64))
    image[112:176, 176:272] = planted.COLOURS['red']
    finds = clip.find(image, 'red', ['grey'])
    assert len(finds) == 2 and {find.text for find in finds} == {0}
    assert len(clip.find(image, 'red', ['grey'], most=1)) == 1


def test_one_word_alone_is_not_found_everywhere(clip):
    assert clip.find(planted.scene(), ['red']) == []


def test_a_threshold_that_makes_no_sense(clip):
    for options in ({'threshold': 1.5}, {'contrast': -1}, {'most': 0}):
        with pytest.raises(ValueError, match='threshold'):
            clip.find(SCENE, ['red'], **options)


# --- features of texts ---


def test_features_in_place_of_texts(clip, weights, tmp_path):
    texts = clip.encode_texts(['red mug', 'blue'])
    texts.save(tmp_path / 'words.npz')
    loaded = TextFeatures.load(tmp_path / 'words.npz')
    assert loaded.names == ('red mug', 'blue')
    scores = clip.scores(SCENE, ['red mug', 'blue'])
    for one in (loaded, loaded.features, 3 * loaded.features):
        np.testing.assert_allclose(clip.scores(SCENE, one), scores, atol=1e-6)


def test_a_robot_needs_no_text_tower(clip, tmp_path):
    words = clip.encode_texts(['red'])
    robot = tmp_path / 'robot'
    robot.mkdir()
    image_tower = planted.write(robot, text_tower=False)
    with DenseClip.open(None, image_tower, 'torch') as other:
        with pytest.raises(TextError, match='has no text tower'):
            other.scores(SCENE, ['a word that was not encoded'])
        with pytest.raises(TextError, match='of another model .* than the image tower'):
            other.scores(SCENE, words)
        same = TextFeatures(words.names, words.features, other.fingerprint)
        np.testing.assert_allclose(other.scores(SCENE, same), clip.scores(SCENE, words), atol=1e-6)


@pytest.mark.parametrize(
    'features',
    [np.zeros((2, 5), np.float32), np.zeros(4, np.float32), np.zeros((0, 4), np.float32)],
)
def test_features_of_another_size(clip, features):
    with pytest.raises(TextError, match=r'are \[T, 4\]'):
        clip.scores(SCENE, features)


def test_features_that_are_not_finite(clip):
    with pytest.raises(TextError, match='not finite'):
        clip.scores(SCENE, np.full((1, 4), np.nan, np.float32))


# --- opening ---


def test_exported_graphs_need_neither_checkpoint_nor_torch(weights, tmp_path):
    entry = catalogue.Model('clip', 'clip', '', 'MIT', {}, kind='clip')
    folder = export_model(entry, weights, tmp_path / 'graphs')
    planted.write_vocabulary(folder / 'tokenizer.json')
    with (
        DenseClip.open(None, folder) as exported,
        DenseClip.open(None, weights, 'torch') as network,
    ):
        assert exported.fingerprint == network.fingerprint
        wanted = network.scores(SCENE, ['red'])
        np.testing.assert_allclose(exported.scores(SCENE, ['red']), wanted, atol=1e-5)
        with pytest.raises(WeightsError, match='exported without these options'):
            exported.scores(SCENE, ['red'], official=True)


def test_options_are_for_all_calls_or_for_one(weights):
    with DenseClip.open(None, weights, 'torch', key_smoothing=1.0) as clip:
        smoothed = clip.scores(SCENE, ['red', 'grey'])
        plain = clip.scores(SCENE, ['red', 'grey'], key_smoothing=0.0)
    assert not np.allclose(smoothed, plain)


def test_a_folder_of_transformers(weights, tmp_path):
    folder = tmp_path / 'clip-vit'
    folder.mkdir()
    weights.rename(folder / 'pytorch_model.bin')
    (tmp_path / 'tokenizer.json').rename(folder / 'tokenizer.json')
    with DenseClip.open(None, folder, 'torch') as clip:
        assert clip.scores(SCENE, 'red').max() > 0.99


def test_what_cannot_be_opened(tmp_path, weights):
    with pytest.raises(WeightsError, match='give the name of a model, or weights'):
        DenseClip.open(None)
    with pytest.raises(WeightsError, match='do not exist'):
        DenseClip.open('clip_vit_b16', tmp_path / 'none.pt')
    with pytest.raises(WeightsError, match='give a checkpoint with --weights'):
        DenseClip.open('clip_vit_b16')
    with pytest.raises(WeightsError, match='efficienttam_nano is a tracker, not a clip'):
        DenseClip.open('efficienttam_nano')
    with pytest.raises(WeightsError, match='do not belong to clip_rn50'):
        DenseClip.open('clip_rn50', weights, 'torch')


def test_a_resnet_in_windows(tmp_path):
    from tam_ros.models.clip import CLIP, ClipConfig

    config = {'embed_dim': 4, 'vision_width': 4, 'resnet_layers': (1, 1, 1, 1), 'grid': 1}
    torch.manual_seed(0)
    network = CLIP(ClipConfig(**config, text_width=0, text_layers=0))
    torch.save(network.state_dict(), tmp_path / 'rn.pt')
    image = np.random.default_rng(0).integers(0, 256, (64, 200, 3), np.uint8)
    words = np.eye(4, dtype=np.float32)
    with DenseClip.open(None, tmp_path / 'rn.pt', 'torch') as clip:
        assert clip.scores(image, words).shape == (4, 2, 6)
        assert clip.scores(image[:, :40], words, resize=False).shape == (4, 2, 2)
        found = clip.image_features(image)
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=0), 1, atol=1e-5)
