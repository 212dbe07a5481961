# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Every method keeps what the official code keeps, with its scores; odd boxes are refused."""

from __future__ import annotations

import math
import time

import numpy as np
import otherkit
import pytest

from benchmark import suppression as benchmark
from tam_ros.detection import suppress
from tam_ros.detection.suppression import METHODS, overlaps

CASES = [
    ('noh', '0.5'),
    ('noh', '0.4'),
    ('greedy', '0.5'),
    ('greedy', '0.4'),
    ('soft_linear', '0.5'),
    ('soft_gauss', '0.5'),
    ('adaptive', '0.5'),
]


@pytest.fixture
def noh():
    return otherkit.arrays('noh_nms/open')


@pytest.fixture
def yolact():
    return otherkit.arrays('yolact/open')


@pytest.mark.parametrize(('name', 'iou'), CASES)
def test_official_results_in_a_crowd(noh, name, iou):
    method = name.replace('gauss', 'gaussian')
    neighbours = noh['overlap_boxes'], noh['overlap_probs']
    kept, scores = suppress(noh['boxes'], noh['scores'], method, float(iou), neighbours)
    np.testing.assert_array_equal(noh['boxes'][kept], noh[f'{name}_{iou}_boxes'])
    np.testing.assert_allclose(scores, noh[f'{name}_{iou}_scores'], rtol=0, atol=1e-6)


@pytest.mark.parametrize(('expected', 'out'), [(1, 'tiny_out'), (0, 'tiny_noprob_out')])
def test_a_neighbour_keeps_a_box_only_if_it_is_expected(noh, expected, out):
    neighbours = noh['tiny_overlap'], expected * noh['tiny_probs']
    kept, scores = suppress(noh['tiny_boxes'], noh['tiny_scores'], 'noh', 0.5, neighbours)
    np.testing.assert_array_equal(noh['tiny_boxes'][kept], noh[f'{out}_boxes'])
    np.testing.assert_allclose(scores, noh[f'{out}_scores'], atol=1e-6)


def test_fast_keeps_fewer_than_greedy(yolact):
    boxes, scores = yolact['chain_boxes'], yolact['chain_scores']
    for method in ('fast', 'greedy'):
        np.testing.assert_array_equal(
            suppress(boxes, scores, method)[0], yolact[f'chain_{method}_keep']
        )
    used = yolact['in_conf'][1:].max(0) > yolact['conf_thresh']
    for iou in ('0.3', '0.5', '0.7'):
        counts = np.zeros(3, int)
        for scores in yolact['in_conf'][1:, used]:
            fast, greedy = (
                set(suppress(yolact['in_boxes'][used], scores, method, float(iou), min_score=0)[0])
                for method in ('fast', 'greedy')
            )
            counts += len(fast), len(greedy), len(greedy - fast)
            assert fast <= greedy
        np.testing.assert_array_equal(counts, yolact[f'count_{iou}_fast_greedy_lost'])


def plain(boxes, scores, method, neighbours, iou=0.5, sigma=0.5, least=0.01):
    """The rules again, one pair of boxes at a time."""
    boxes = boxes.astype(float).tolist()
    theirs, chances = neighbours[0].astype(float).tolist(), neighbours[1].astype(float).tolist()
    waiting = dict(enumerate(scores.astype(float).tolist()))
    marked, result = set(), []

    def deltas(one, base):
        w, h = base[2] - base[0], base[3] - base[1]
        return (
            (one[0] - base[0]) / w,
            (one[1] - base[1]) / h,
            math.log((one[2] - one[0]) / w),
            math.log((one[3] - one[1]) / h),
        )

    while waiting:
        best = max(waiting, key=lambda index: (waiting[index], -index))
        result.append((best, waiting.pop(best)))
        a = boxes[best]
        for index in list(waiting):
            b = boxes[index]
            w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            if w <= 0 or h <= 0:
                continue
            areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (a, b)]
            overlap = w * h / (sum(areas) - w * h)
            factor = 1.0
            if method == 'adaptive':
                factor = float(overlap <= max(iou, chances[best]))
            elif overlap > iou:
                factor = {
                    'greedy': 0.0,
                    'soft_linear': 1 - overlap,
                    'soft_gaussian': math.exp(-(overlap**2) / sigma),
                    'noh': 0.0,
                }[method]
                if method == 'noh' and chances[best] > 0.3 and best not in marked:
                    wanted = deltas(theirs[best], a)
                    away = sum((x - y) ** 2 for x, y in zip(deltas(b, a), wanted, strict=True))
                    factor = math.exp(-away / 0.08)
                    if factor >= 0.6:
                        marked.add(index)
            waiting[index] *= factor
            if waiting[index] < least:
                del waiting[index]
    return result


@pytest.mark.parametrize('method', [method for method in METHODS if method != 'fast'])
@pytest.mark.parametrize('seed', range(4))
def test_it_equals_a_loop_over_pairs(method, seed):
    boxes, scores, *neighbours = benchmark.crowd(120, seed)
    wanted = plain(boxes, scores, method, neighbours)
    kept, values = suppress(boxes, scores, method, neighbours=neighbours)
    assert kept.tolist() == [index for index, _ in wanted]
    np.testing.assert_allclose(values, [score for _, score in wanted], atol=1e-6)


@pytest.mark.parametrize('iou', [0.3, 0.7])
def test_fast_equals_the_whole_matrix_of_overlaps(iou):
    boxes, scores, *_ = benchmark.crowd(700)  # more than two blocks
    order = np.argsort(-scores)
    matrix = np.triu(overlaps(*2 * [boxes[order].astype(float)]), 1)
    kept, values = suppress(boxes, scores, 'fast', iou)
    np.testing.assert_array_equal(kept, order[matrix.max(0) <= iou])
    np.testing.assert_array_equal(values, scores[kept])


def example(method):
    boxes, scores, *neighbours = benchmark.crowd(30)
    return {'boxes': boxes, 'scores': scores, 'method': method, 'neighbours': neighbours}


@pytest.mark.parametrize('method', METHODS)
def test_the_inputs_are_not_changed_and_the_order_of_boxes_does_not_matter(method):
    given = example(method)
    before = [given['boxes'].copy(), given['scores'].copy()]
    kept, scores = suppress(**given)
    np.testing.assert_array_equal(given['boxes'], before[0])
    np.testing.assert_array_equal(given['scores'], before[1])
    assert (np.diff(scores) <= 0).all()
    other = np.random.default_rng(1).permutation(30)
    given['boxes'], given['scores'] = given['boxes'][other], given['scores'][other]
    given['neighbours'] = [one[other] for one in given['neighbours']]
    again, values = suppress(**given)
    np.testing.assert_array_equal(other[again], kept)
    np.testing.assert_array_equal(values, scores)


@pytest.mark.parametrize('method', METHODS)
def test_no_boxes_and_one(method):
    nothing = np.zeros((0, 4)), np.zeros(0)
    kept, scores = suppress(*nothing, method, neighbours=nothing)
    assert kept.shape == scores.shape == (0,)
    assert kept.dtype == np.int64 and scores.dtype == np.float32
    kept, scores = suppress([[1, 2, 30, 40]], [0.5], method, neighbours=([[0, 0, 9, 9]], [1]))
    assert kept.tolist() == [0] and scores.tolist() == [0.5]


@pytest.mark.parametrize('method', METHODS)
def test_ten_thousand_boxes(method):
    boxes, scores, *neighbours = benchmark.crowd(10_000)
    start = time.process_time()
    kept, values = suppress(boxes, scores, method, neighbours=neighbours)
    # A loop over pairs of boxes takes far more than this.
    assert time.process_time() - start < 10
    assert 500 < len(kept) < 10_000 and np.isfinite(values).all()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('scale', [1, 1 / 1000])
def test_normalized_boxes_are_suppressed_too(method, scale):
    given = example(method)
    given['boxes'] = given['boxes'] * scale
    given['neighbours'] = (given['neighbours'][0] * scale, 0 * given['neighbours'][1])
    assert len(suppress(**given)[0]) <= (30 if method.startswith('soft') else 8)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    ('boxes', 'scores', 'says'),
    [
        ([[0, 0, 5, np.nan]], [0.5], r'boxes\[0\] is .*: not finite'),
        ([[0, 0, 5, 5], [0, 0, np.inf, 5]], [0.5, 0.5], r'boxes\[1\] is .*: not finite'),
        ([[0, 0, 5, 5]], [np.nan], r'scores\[0\] is nan: not finite'),
        ([[9, 0, 5, 5]], [0.5], r'boxes\[0\] is .*: the corners are swapped'),
        ([[0, 0, 5]], [0.5], r'boxes have the shape \[1, 3\], not \[N, 4\]'),
        ([[0, 0, 5, 5]], [0.5, 0.5], r'scores have the shape \[2\], not \[1\]'),
    ],
)
def test_boxes_that_are_none_are_refused(method, boxes, scores, says):
    with pytest.raises(ValueError, match=says):
        suppress(boxes, scores, method, neighbours=(boxes, scores))


@pytest.mark.parametrize(
    ('neighbour', 'chance'), [([50, 50, 9, 9], 1), ([9, 9, 9, 9], 1), ([0, 0, 0, 0], 0.9)]
)
def test_a_neighbour_without_size_is_none(neighbour, chance):
    boxes, scores = [[0, 0, 40, 90], [4, 0, 44, 90]], [0.9, 0.8]
    kept, values = suppress(boxes, scores, 'noh', 0.5, ([neighbour] * 2, [chance] * 2))
    assert kept.tolist() == [0] and values.tolist() == [np.float32(0.9)]


def test_a_box_without_size_has_no_neighbour():
    boxes, scores = [[5, 5, 5, 90], [0, 0, 40, 90], [1, 1, 1, 1]], [0.9, 0.8, 0.7]
    kept, values = suppress(boxes, scores, 'noh', 0.5, (boxes, [1, 1, 1]))
    assert kept.tolist() == [0, 1, 2] and np.isfinite(values).all()


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'method': 'nms'}, "no method 'nms'; choose one of greedy, fast"),
        ({'iou': 1.5}, 'iou is 1.5, not 0 to 1'),
        ({'iou': math.nan}, 'iou is nan'),
        ({'method': 'soft_gaussian', 'sigma': 0}, 'sigma is 0; it must be above 0'),
        ({'method': 'noh'}, 'noh needs neighbours'),
        ({'method': 'noh', 'neighbours': ([[1, 2, 3, np.nan]], [1])}, 'neighbour 0 is not finite'),
        ({'method': 'noh', 'neighbours': ([[1, 2, 3, 4]], [np.nan])}, 'probabilities .* not fini'),
        ({'method': 'noh', 'neighbours': (np.zeros((2, 4)), [1])}, r'shape \[2, 4\], not \[1, 4'),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        suppress([[0, 0, 40, 90]], [0.9], **options)


def test_adaptive_needs_only_the_probabilities():
    boxes, scores = [[0, 0, 40, 90], [4, 0, 44, 90]], [0.9, 0.8]
    for chance, kept in ((0.5, [0]), (0.9, [0, 1])):
        found, _ = suppress(boxes, scores, 'adaptive', neighbours=(None, [chance] * 2))
        assert found.tolist() == kept
