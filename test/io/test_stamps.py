# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Stamps that cannot be used are replaced by the time of arrival, which is said once."""

from __future__ import annotations

import pytest

from tam_ros.io.stamps import ImageStamps, are_stuck, median_rate

ARRIVALS = [1_700_000_000_000_000_000 + index * 33_000_000 for index in range(6)]
FIRST = ARRIVALS[0] - 5_000_000


def given(stamps, arrivals=ARRIVALS, stuck=False):
    """Return the stamps of images, and what was said about them."""
    said = []
    source = ImageStamps(said.append, stuck)
    pairs = [divmod(one, 10**9) if isinstance(one, int) else one for one in stamps]
    return [source.stamp_ns(*p, at) for p, at in zip(pairs, arrivals, strict=True)], said


def test_usable_stamps_are_kept():
    own = [FIRST + index * 33_000_000 for index in range(6)]
    assert given(own) == (own, [])
    assert given([-5 * 10**9 + index for index in range(0, 600, 100)])[1] == []


def test_zero_stamps():
    stamps, said = given([0] * 6)
    assert stamps == ARRIVALS
    assert said == ['the stamps of the images are zero: the time of arrival is used']


def test_stamps_that_become_usable():
    own = [0, 0, *ARRIVALS[2:]]
    stamps, said = given(own)
    assert stamps == ARRIVALS and len(said) == 1


@pytest.mark.parametrize('step', [0, 1])  # floats of seconds cannot tell 1 ns apart
def test_constant_stamps(step):
    own = [FIRST + index * step for index in range(6)]
    stamps, said = given(own)
    assert stamps[2:] == ARRIVALS[2:] and 'all the same' in said[0] and len(said) == 1
    assert given(own, stuck=True)[0] == ARRIVALS


def test_an_image_that_was_sent_twice_is_not_a_constant_stamp():
    own = [FIRST, FIRST, *[FIRST + index * 33_000_000 for index in range(1, 5)]]
    assert given(own) == (own, [])


def test_nanoseconds_that_are_not_valid():
    stamps, said = given([(1_700_000_000, 4_294_967_290)] * 6)
    assert stamps == ARRIVALS and 'nanoseconds' in said[0]


def test_constant_times_of_arrival_are_spaced():
    stamps, _ = given([0] * 6, [0] * 6)
    assert stamps[0] == 0 and len(set(stamps)) == 6 and stamps == sorted(stamps)


def test_are_stuck():
    assert are_stuck([FIRST] * 5)
    assert not are_stuck([FIRST] * 2)
    assert not are_stuck([FIRST, FIRST, FIRST + 10**7])


def test_median_rate_ignores_jumps_and_repetitions():
    stamps = [*range(0, 10**9, 10**8), 3600 * 10**9, 3600 * 10**9, 0, 10**8]
    assert median_rate(stamps) == 10
    assert median_rate([5]) is None and median_rate([5, 5]) is None
