# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""What a `with` block finishes, whatever happened in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_Own = TypeVar('_Own', bound='Closing')


class Closing(ABC):
    """Something that is closed at the end of its `with` block, also after an exception."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was begun."""

    def __enter__(self: _Own) -> _Own:
        """Return the object itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close; an exception goes on its way."""
        self.close()
