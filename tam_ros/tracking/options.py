# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker that do not depend on the model."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONDITIONING = 6  # of the 7 memories that the graphs take, one is left to a recent frame
RESIZE_FILTERS = ('pil', 'opencv')
FIXED = (
    'max_objects',
    'resize',
    'max_conditioning',
    'prompt_history_seconds',
    'prompt_history_frames',
)
"""Options that cannot change, since the storage of a tracker or its contents depend on them."""


@dataclass(frozen=True)
class TrackerOptions:
    """Settings of a tracker.

    Attributes:
        max_objects: objects that can be tracked at once; their storage is allocated at start.
        resize: `pil`, the bicubic filter of the official loader, with which the published scores
            were measured, or `opencv`, an area filter that is several times faster.
        lost_after: seconds of occlusion after which an object is `lost` instead of `occluded`.
            Tracking itself does not depend on it.
        max_conditioning: prompted frames kept in the memory bank of one object: the first and the
            newest ones. Every prompted frame that is kept takes a memory slot from recent frames.
        refined_frames_condition: whether a frame on which a tracked object was refined becomes a
            conditioning frame, which is kept. Off, it is a recent memory like that of any tracked
            frame, as in the official predictor, and is dropped after six frames.
        skip_occluded_memories: whether frames on which an object is not visible are not stored,
            so that its appearance is still in memory after a long occlusion. Off, they are stored
            with an empty mask, as in the official predictor.
        hide_below: share of an object's usual confidence below which its mask is not shown, since
            it is likely to lie on something else (see `plausibility.py`): the object is then
            `occluded`. Memories do not depend on it. 0: masks are shown as predicted, as in the
            official predictor.
        remove_after: seconds of occlusion after which an object is removed; None: never.
        prompt_history_seconds: greatest age of an image that prompts may be made on; 0: prompts
            belong to the image they are passed with. The encoded images of that time are kept:
            at 512 pixels 2.9 MB each and 0.26 MB of memory for each object, at 1024 pixels
            11.5 MB and 1.05 MB; with EdgeTAM at 1024 pixels 24 MB and 0.13 MB.
        prompt_history_frames: images kept at most for late prompts.
        catch_up: images replayed at most in one step for late prompts, 2 or more. Lower values
            keep the frame rate steadier; higher values show the object sooner.
    """

    max_objects: int = 16
    resize: str = 'pil'
    lost_after: float = 2.0
    max_conditioning: int = 2
    refined_frames_condition: bool = True
    skip_occluded_memories: bool = False
    hide_below: float = 0.0
    remove_after: float | None = None
    prompt_history_seconds: float = 0.0
    prompt_history_frames: int = 30
    catch_up: int = 4

    @property
    def history_frames(self) -> int:
        """Number of images kept for late prompts."""
        return self.prompt_history_frames if self.prompt_history_seconds > 0 else 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.max_objects <= 255:
            raise ValueError(f'max_objects is {self.max_objects}; 1..255')
        if self.resize not in RESIZE_FILTERS:
            raise ValueError(f'resize is {self.resize!r}; one of {", ".join(RESIZE_FILTERS)}')
        if not 1 <= self.max_conditioning <= MAX_CONDITIONING:
            raise ValueError(f'max_conditioning is {self.max_conditioning}; 1..{MAX_CONDITIONING}')
        if not 0 <= self.hide_below <= 1:
            raise ValueError(f'hide_below is {self.hide_below}; 0..1')
        if self.lost_after < 0:
            raise ValueError(f'lost_after is {self.lost_after}; seconds, at least 0')
        if self.remove_after is not None and self.remove_after < self.lost_after:
            raise ValueError(
                f'remove_after is {self.remove_after}; at least lost_after, {self.lost_after}'
            )
        if self.prompt_history_seconds < 0:
            raise ValueError(
                f'prompt_history_seconds is {self.prompt_history_seconds}; seconds, at least 0'
            )
        if not 1 <= self.prompt_history_frames <= 600:
            raise ValueError(f'prompt_history_frames is {self.prompt_history_frames}; 1..600')
        if self.catch_up < 2:
            raise ValueError(
                f'catch_up is {self.catch_up}; at least 2, or the replay of a late prompt would '
                'never end'
            )
