"""Settings of the tracker that are not the model's."""

from __future__ import annotations

from dataclasses import dataclass

RESIZE_FILTERS = ('pil', 'opencv')


@dataclass(frozen=True)
class TrackerOptions:
    """How to track.

    Attributes:
        max_objects: objects that can live at once; the storage for them is allocated at start.
        resize: ``pil``, the bicubic filter of the official loader, which the published numbers
            rest on, or ``opencv``, an area filter that is several times faster.
        lost_after: seconds of occlusion after which an object counts as lost. Raising it keeps
            objects ``occluded`` for longer; tracking itself does not change.
        max_conditioning: prompted frames kept in the bank of one object; the first and the
            newest ones stay. Raising it leaves fewer slots to recent frames once more frames
            than that are prompted.
        refined_frames_condition: treat a frame on which a live object was refined as a
            conditioning frame, for good. Off, it is a recent memory like any tracked frame, as
            in the official predictor, and forgotten after six frames.
    """

    max_objects: int = 16
    resize: str = 'pil'
    lost_after: float = 2.0
    max_conditioning: int = 2
    refined_frames_condition: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if not 1 <= self.max_objects <= 255:
            raise ValueError(f'max_objects is {self.max_objects}; 1..255')
        if self.resize not in RESIZE_FILTERS:
            raise ValueError(f'resize is {self.resize!r}; one of {", ".join(RESIZE_FILTERS)}')
        if not 1 <= self.max_conditioning <= 6:
            raise ValueError(f'max_conditioning is {self.max_conditioning}; 1..6')
        if self.lost_after < 0:
            raise ValueError(f'lost_after is {self.lost_after}; seconds, at least 0')
