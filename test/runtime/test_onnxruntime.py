# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The options of ONNX Runtime's sessions, and images of floats."""

from __future__ import annotations

import numpy as np
import pytest

from tam_ros.loading import open_runtime
from tam_ros.model_files import WeightsError
from tam_ros.runtime.onnxruntime import OnnxRuntimeSession, session_options


@pytest.mark.parametrize(('threads', 'option'), [(None, 0), (3, 3)])
def test_the_number_of_threads(threads, option):
    assert session_options(threads).intra_op_num_threads == option


def test_idle_threads_sleep_and_sessions_share_their_memory():
    options = session_options(2)
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'
    assert options.get_session_config_entry('session.use_env_allocators') == '1'


def test_images_of_floats_are_encoded_as_well_and_bytes_give_the_same():
    """Image mode resizes to numbers in between, which change what the network sees."""
    with open_runtime('efficienttam_nano', threads=1) as runtime:
        side = runtime.spec.image_size
        image = np.random.default_rng(3).integers(0, 256, (side, side, 3), np.uint8)
        features = runtime.image_encoder(image).raw
        assert np.array_equal(runtime.image_encoder(image.astype(np.float32)).raw, features)
        between = runtime.image_encoder(image.clip(1, 254) + np.float32(0.25)).raw
        assert runtime.float_images and not np.array_equal(between, features)


def test_a_damaged_image_encoder_is_refused():
    with pytest.raises(WeightsError, match='the graph damaged cannot be loaded'):
        OnnxRuntimeSession(b'not a graph', 'damaged', float_input='image')
