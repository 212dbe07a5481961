# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The options of ONNX Runtime's sessions."""

from __future__ import annotations

import pytest

from tam_ros.runtime.onnxruntime import session_options


@pytest.mark.parametrize(('threads', 'option'), [(None, 0), (3, 3)])
def test_the_number_of_threads(threads, option):
    assert session_options(threads).intra_op_num_threads == option


def test_idle_threads_sleep_and_sessions_share_their_memory():
    options = session_options(2)
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'
    assert options.get_session_config_entry('session.use_env_allocators') == '1'
