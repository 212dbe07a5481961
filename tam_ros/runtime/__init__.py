# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Backends that run the four graphs; each imports its own library only when it is opened."""

from tam_ros.runtime.base import EngineError, ModelSpec, Runtime, WeightsError
from tam_ros.runtime.factory import RUNTIMES, open_runtime

__all__ = ['RUNTIMES', 'EngineError', 'ModelSpec', 'Runtime', 'WeightsError', 'open_runtime']
