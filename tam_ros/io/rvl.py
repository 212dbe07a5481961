# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""RVL, the lossless compression of depth images of compressed_depth_image_transport.

Andrew D. Wilson, "Fast Lossless Depth Image Compression", ISS 2017,
https://doi.org/10.1145/3132272.3134144. An image is a sequence of runs: the number of pixels that
are 0, the number of pixels that are not, and for each of these the difference d to the one before,
as 2 * d or -2 * d - 1. Each number has one or more groups of four bits, the lowest first: a bit
that is set if another group follows, and three bits of the number. Eight groups fill a word of 32
bits from its highest bits, and the words are little endian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tam_ros.io.image_data import ImageFormatError

_MAX_GROUPS = 11  # of a number of 32 bits


def decode_rvl(raw: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    """Decode the pixels of an image, row by row.

    Args:
        raw: uint8 [N].
        count: number of pixels.

    Raises:
        ImageFormatError: the data is cut short or damaged.
    """
    numbers = _numbers(raw)
    # Only the runs are read one by one; the differences between them are left out.
    empty: list[int] = []
    filled: list[int] = []
    at = pixels = 0
    number = numbers.item
    while pixels < count:
        if at + 1 >= len(numbers):
            raise ImageFormatError(f'RVL data is cut short: {pixels} of {count} pixels')
        zeros, others = number(at), number(at + 1)
        empty.append(zeros)
        filled.append(others)
        pixels += zeros + others
        at += 2 + others
    if pixels > count or at > len(numbers):
        raise ImageFormatError(f'RVL data is damaged: it does not have {count} pixels')
    present = _alternate(empty, filled)
    steps = numbers[:at][_alternate([2] * len(filled), filled)]
    depth = np.zeros(count, np.uint16)
    # The sum is modulo 2**16, as that of the encoder.
    signed = (steps >> 1).astype(np.uint16) ^ -(steps & 1).astype(np.uint16)
    depth[present] = np.cumsum(signed, dtype=np.uint16)
    return depth


def _numbers(raw: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return all numbers of the data; those of padding at the end may follow."""
    words = raw[: raw.size // 4 * 4].reshape(-1, 4)[:, ::-1]
    groups = np.empty((*words.shape, 2), np.uint8)
    np.right_shift(words, 4, out=groups[:, :, 0])
    np.bitwise_and(words, 15, out=groups[:, :, 1])
    groups = groups.reshape(-1)
    last = groups < 8
    groups &= 7
    ends = np.flatnonzero(last)
    begins = np.empty_like(ends)
    begins[:1] = 0
    begins[1:] = ends[:-1] + 1
    numbers = groups[begins].astype(np.uint32)
    # Most numbers are short: only those that go on are looked at again.
    where = np.flatnonzero(begins < ends)
    at = begins[where] + 1
    for place in range(1, _MAX_GROUPS):
        numbers[where] |= groups[at].astype(np.uint32) << np.uint32(3 * place)
        longer = at < ends[where]
        where, at = where[longer], at[longer] + 1
        if not where.size:
            return numbers
    raise ImageFormatError('RVL data is damaged: a number has more than 32 bits')


def _alternate(left_out: list[int], taken: list[int]) -> NDArray[np.bool_]:
    """Return a mask of runs: the first count of elements false, the next true, and so on."""
    lengths = np.stack((left_out, taken), -1).reshape(-1)
    return np.tile([False, True], len(taken)).repeat(lengths)
