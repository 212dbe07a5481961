# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Image mode: prompts on one image, with a fake runtime and with the bundled model."""

from __future__ import annotations

import cv2
import edgekit
import numpy as np
import pytest
from readme import ROOT, run_example
from tracking.fake_runtime import FakeRuntime

from tam_ros import catalogue
from tam_ros.model_files import ABSENT, PADDING
from tam_ros.segmentation import EverythingOptions, Segmenter
from tam_ros.segmentation.tracker_model import TrackerModel, resize_image
from tam_ros.tracking import FrameError, Prompt, PromptError, Tracker, TrackerOptions
from tam_ros.tracking.prompts import resize_antialiased

BUNDLED = 'efficienttam_nano'
IMAGE = np.full((30, 40, 3), 90, np.uint8)


@pytest.fixture
def runtime():
    """Its image is 64x64 and its masks are 16x16."""
    return FakeRuntime()


@pytest.fixture
def segmenter(runtime):
    segmenter = Segmenter(TrackerModel(runtime))
    segmenter.set_image(IMAGE)
    return segmenter


def test_an_image_is_encoded_once_for_all_prompts(runtime, segmenter):
    for x in (5, 20, 35):
        found = segmenter.predict([(x, 15)])
        assert found.masks.shape == (3, 30, 40) and found.masks.dtype == np.bool_
        assert found.masks[0, 15, x] and found.masks.sum() < found.masks.size / 2
    assert [name for name, _ in runtime.calls] == ['image_encoder', *['mask_decoder'] * 3]


def test_one_three_or_all_candidates(segmenter):
    ious = {n: segmenter.predict([(20, 15)], candidates=n).predicted_iou for n in (1, 3, 4)}
    np.testing.assert_allclose(ious[4], [0.9, 0.1, 0.3, 0.2])
    np.testing.assert_allclose(ious[3], [0.1, 0.3, 0.2])
    np.testing.assert_allclose(ious[1], [0.9])
    found = segmenter.predict([(20, 15)])
    assert found.best == 1 and found.stability.tolist() == pytest.approx([found.stability[0]] * 3)
    assert 0 < found.stability[0] < 1 and found.low_resolution.shape == (3, 16, 16)


def test_of_one_clear_candidate_that_is_not_stable_another_is_shown(runtime, segmenter):
    decode = runtime.mask_decoder

    def unstable(*inputs):
        found = decode(*inputs)
        found.masks[:, 0] *= 0.001
        return found

    runtime.mask_decoder = unstable
    assert segmenter.predict([(20, 15)], candidates=1).predicted_iou == pytest.approx(0.3)


def test_points_are_in_pixels_of_the_network_and_padded(runtime, segmenter):
    segmenter.predict([(20, 15), (10, 5)], [1, 0], box=(10, 6, 30, 24))
    tokens = runtime.prompts[-1]
    assert tokens.labels[0].tolist() == [2, 3, 1, 0, PADDING, ABSENT, ABSENT, ABSENT]
    expected = [(16, 12.8), (48, 51.2), (32, 32), (16, 64 / 6)]
    np.testing.assert_allclose(tokens.points[0, :4], expected, rtol=1e-6)
    assert tokens.has_mask.tolist() == [0]


def test_a_mask_is_fed_back_with_points_or_alone(runtime, segmenter):
    low = segmenter.predict([(20, 15)]).low_resolution[0]
    segmenter.predict([(20, 15)], mask=low)
    tokens = runtime.prompts[-1]
    assert tokens.has_mask.tolist() == [1]
    np.testing.assert_array_equal(tokens.mask[0, 0], low)
    segmenter.predict(mask=low[None], candidates=1)
    tokens = runtime.prompts[-1]
    assert set(tokens.labels[0].tolist()) == {ABSENT}, 'no point, not even the padding'
    np.testing.assert_array_equal(tokens.mask[0, 0], low)


def test_a_mask_of_the_image_becomes_logits(runtime, segmenter):
    mask = np.zeros((30, 40), bool)
    mask[:15] = True
    segmenter.predict(mask=mask)
    fed = runtime.prompts[-1].mask[0, 0]
    assert fed.shape == (16, 16) and (fed[:7] == 10).all() and (fed[9:] == -10).all()


@pytest.mark.parametrize(
    ('prompt', 'iou'),
    [
        (Prompt.points(1, [(20, 15)], [1]), 0.3),  # of 0.1, 0.3 and 0.2
        (Prompt.points(1, [(20, 15), (5, 5)], [1, 0]), 0.9),
        (Prompt.box(1, (10, 6, 30, 24)), 0.9),
        (Prompt.mask(1, np.ones((30, 40), bool)), 0.9),
    ],
)
def test_the_mask_that_a_prompt_most_likely_means_is_that_of_the_tracker(segmenter, prompt, iou):
    found = segmenter.segment(prompt)
    assert found.masks.shape == (1, 30, 40) and found.low_resolution.shape == (1, 16, 16)
    assert found.predicted_iou == pytest.approx(iou)
    if prompt.mask_image is None:
        tracker = Tracker(FakeRuntime())
        (tracked,) = tracker.step(IMAGE, 0.0, [prompt]).objects
        assert np.array_equal(found.masks[0], tracked.mask)


@pytest.mark.parametrize(
    ('prompt', 'message'),
    [
        ({}, 'the prompt is empty: give points, a box or a mask'),
        ({'points': []}, 'the prompt is empty'),
        ({'points': [(40, 15)]}, 'point (40, 15) lies outside the image 40x30'),
        ({'points': [(-1, 15)]}, 'point (-1, 15) lies outside the image 40x30'),
        ({'points': [(np.nan, 15)]}, 'point coordinates are not finite'),
        ({'points': [(1, 2, 3)]}, 'points are an array [P, 2], not (1, 3)'),
        ({'points': [('a', 'b')]}, 'point coordinates are not numbers'),
        ({'points': [(20, 15)], 'labels': [1, 0]}, '1 points but 2 labels'),
        ({'points': [(20, 15)], 'labels': [2]}, 'labels of points are 1'),
        ({'points': [(20, 15)], 'labels': [0]}, 'only clicks off the object'),
        ({'labels': [1]}, '0 points but 1 labels'),
        ({'points': [(20, 15)] * 8}, '8 points; the limit is 7'),
        ({'box': (30, 6, 10, 24)}, 'has its corners swapped'),
        ({'box': (50, 6, 60, 24)}, 'lies outside the image'),
        ({'box': (1, 2, 3)}, 'a box is four numbers'),
        ({'mask': np.zeros((30, 40), bool)}, 'the mask is empty'),
        (
            {'mask': np.ones((30, 40), np.uint8)},
            'the mask is uint8 (30, 40); bool (30, 40) of the',
        ),
        ({'mask': np.ones((16, 16), bool)}, 'or float32 (16, 16), logits of an earlier'),
        ({'mask': np.full((16, 16), np.nan)}, 'the logits of the mask are not finite'),
        ({'points': [(20, 15)], 'candidates': 2}, 'candidates is 2; 1, 3 or 4'),
    ],
)
def test_what_cannot_be_used_is_refused(runtime, segmenter, prompt, message):
    with pytest.raises(PromptError) as caught:
        segmenter.predict(**prompt)
    assert message in str(caught.value)
    assert runtime.calls == [('image_encoder', 1)]


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((30, 40), np.uint8),
        np.zeros((30, 40, 1), np.uint8),
        np.zeros((30, 40, 4), np.uint8),
        np.zeros((30, 40, 3), np.float32),
        np.zeros((0, 40, 3), np.uint8),
        'image.png',
    ],
)
def test_an_image_that_cannot_be_used_leaves_the_previous_one(segmenter, image):
    with pytest.raises(FrameError):
        segmenter.set_image(image)
    assert segmenter.embedding.size == (30, 40)


@pytest.mark.parametrize('size', [(8, 8), (1, 1), (1, 300)])
def test_small_images(segmenter, size):
    segmenter.set_image(np.zeros((*size, 3), np.uint8))
    found = segmenter.predict([(0, 0)])
    assert found.masks.shape == (3, *size)
    assert segmenter.predict(box=(0, 0, size[1], size[0])).masks.shape == (3, *size)
    assert isinstance(segmenter.everything(EverythingOptions(2)), list)


def test_without_an_image_and_after_the_end(runtime):
    segmenter = Segmenter(TrackerModel(runtime))
    with pytest.raises(RuntimeError, match='call set_image first'):
        segmenter.predict([(1, 1)])
    with segmenter:
        segmenter.set_image(IMAGE)
    assert runtime.closed
    for call in (lambda: segmenter.set_image(IMAGE), lambda: segmenter.predict([(1, 1)])):
        with pytest.raises(RuntimeError, match='the segmenter is closed'):
            call()
    segmenter.close()


def test_a_failure_of_the_encoder_leaves_no_image(runtime, segmenter):
    runtime.fail_in = 'image_encoder'
    with pytest.raises(RuntimeError, match='device lost'):
        segmenter.set_image(IMAGE)
    with pytest.raises(RuntimeError, match='call set_image first'):
        segmenter.predict([(1, 1)])


def test_what_runs_can_be_shown(segmenter):
    described = segmenter.model, segmenter.runtime, segmenter.weights, dict(segmenter.info)
    assert described == ('fake', 'fake', 'none', {})


def test_an_image_of_a_tracker_needs_no_encoder(runtime):
    tracker = Tracker(runtime, TrackerOptions(prompt_history_seconds=1.0))
    tracker.step(IMAGE, 0.0, [Prompt.points(1, [(20, 15)], [1])])
    runtime.calls.clear()
    found = Segmenter.on(tracker.encoded_image()).predict([(5, 5)])
    assert found.masks[0, 5, 5]
    assert [name for name, _ in runtime.calls] == ['mask_decoder']


def test_images_are_resized_as_torch_does_it(runtime):
    torch = pytest.importorskip('torch')
    image = np.random.default_rng(1).integers(0, 256, (51, 97, 3), np.uint8)
    for size in (16, 64, 128):
        ours = resize_image(image, size)
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None],
            (size, size),
            mode='bilinear',
            antialias=True,
        )
        np.testing.assert_allclose(ours, theirs[0].permute(1, 2, 0).numpy(), atol=1e-3)
        np.testing.assert_allclose(
            ours[:, :, 0], resize_antialiased(image[:, :, 0].astype(np.float32), size, size), 1e-4
        )
    assert resize_image(image[:32, :32], 32).dtype == np.float32


@pytest.mark.skipif(
    not (catalogue.engines_dir() / BUNDLED).is_dir(), reason='no trained weights are bundled yet'
)
class TestBundledModel:
    """A red disc and a blue square on a grey floor."""

    @pytest.fixture(scope='class')
    def picture(self):
        image = np.full((240, 320, 3), 120, np.uint8)
        image += np.random.default_rng(0).integers(0, 12, image.shape, np.uint8)
        cv2.circle(image, (90, 110), 45, (210, 40, 30), -1)
        cv2.rectangle(image, (190, 70), (280, 170), (30, 60, 200), -1)
        return image

    @pytest.fixture(scope='class')
    def segmenter(self, picture):
        with Segmenter.open(BUNDLED, threads=1) as segmenter:
            segmenter.set_image(picture)
            yield segmenter

    @staticmethod
    def truth():
        disc = np.zeros((240, 320), np.uint8)
        cv2.circle(disc, (90, 110), 45, 1, -1)
        square = np.zeros((240, 320), bool)
        square[70:171, 190:281] = True
        return disc > 0, square

    def overlap(self, a, b):
        return np.count_nonzero(a & b) / np.count_nonzero(a | b)

    def test_a_click_and_a_box(self, segmenter):
        disc, square = self.truth()
        found = segmenter.predict([(90, 110)])
        assert self.overlap(found.masks[found.best], disc) > 0.9
        found = segmenter.predict(box=(188, 68, 283, 173), candidates=1)
        assert self.overlap(found.masks[0], square) > 0.9
        assert found.predicted_iou[0] > 0.5 and found.stability[0] > 0.7

    def test_the_example_of_the_documentation(self, picture, tmp_path, monkeypatch, capsys):
        large = cv2.resize(picture, (640, 480))
        cv2.imwrite(str(tmp_path / 'kitchen.png'), large[..., ::-1])
        monkeypatch.chdir(tmp_path)
        variables = run_example('Segmenter.open', ROOT / 'docs' / 'segmentation.md')
        assert variables['mask'].shape == (480, 640)
        assert variables['better'].masks.shape == (1, 480, 640)
        assert len(capsys.readouterr().out.splitlines()) > 1

    def test_everything_finds_both(self, segmenter):
        found = segmenter.everything(EverythingOptions.of(BUNDLED, points_per_side=6))
        for truth in self.truth():
            best = max(found, key=lambda one: self.overlap(one.mask, truth))
            assert self.overlap(best.mask, truth) > 0.85


@pytest.fixture
def edgetam(tmp_path):
    """Return a checkpoint of EdgeTAM with the weights of the parity kit, which see objects."""
    torch = pytest.importorskip('torch')
    if not edgekit.KIT.is_dir():
        pytest.skip('the parity kit (../shared/parity/edgetam) is absent')
    state = {key: torch.from_numpy(value) for key, value in edgekit.state_dict().items()}
    torch.save({'model': state}, tmp_path / 'edgetam.pt')
    return tmp_path / 'edgetam.pt'


def check_the_mask_that_an_object_begins_with(side, **model):
    """Compare with the tracker, on an image of the network's size, which neither resizes."""
    image = np.full((side, side, 3), 120, np.uint8)
    cv2.circle(image, (200, 180), 80, (210, 40, 30), -1)
    for prompt in (
        Prompt.points(1, [(200, 180)], [1]),
        Prompt.points(1, [(200, 180), (20, 20)], [1, 0]),
        Prompt.box(1, (118, 98, 282, 262)),
    ):
        with Segmenter.open(**model, threads=1) as segmenter:
            segmenter.set_image(image)
            low = segmenter.segment(prompt).low_resolution[0]
        with Tracker.open(**model, threads=1) as tracker:
            (item,) = tracker.step(image, 0.0, [prompt]).objects
        assert item.score_logit > 0, 'the test needs an object that is present'
        np.testing.assert_allclose(low, item.logits.clip(-32, 32), atol=1e-4)


@pytest.mark.skipif(
    not (catalogue.engines_dir() / BUNDLED).is_dir(), reason='no trained weights are bundled yet'
)
def test_an_object_begins_with_the_mask_of_image_mode():
    check_the_mask_that_an_object_begins_with(384, model=BUNDLED)


@pytest.mark.slow
def test_an_object_of_edgetam_begins_with_the_mask_of_image_mode(edgetam):
    """Its decoder also takes finer features."""
    check_the_mask_that_an_object_begins_with(
        512, model='edgetam_512', weights=edgetam, runtime='torch'
    )
