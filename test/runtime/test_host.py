# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What the tracker's runtime on the host adds to the graphs."""

from __future__ import annotations

import numpy as np
import torch

from tam_ros.runtime.host import round_to_bfloat16


def test_rounding_to_bfloat16_is_that_of_torch():
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0, -0.0, 1e30, -1e-30], np.float32)
    for x in (values, ties, values.reshape(10, 1000)):
        expected = torch.from_numpy(x).bfloat16().float().numpy()
        np.testing.assert_array_equal(round_to_bfloat16(x), expected)
        np.testing.assert_array_equal(round_to_bfloat16(expected), expected)
