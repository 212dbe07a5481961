# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Base class of context managers that release something at the end of their `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_Self = TypeVar('_Self', bound='Closing')


class Closing(ABC):
    """Something that is closed at the end of its `with` block, also after an exception."""

    @abstractmethod
    def close(self) -> None:
        """Release what the object holds. Calling it again does nothing."""

    def __enter__(self: _Self) -> _Self:
        """Return the object itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close. An exception is not suppressed."""
        self.close()
