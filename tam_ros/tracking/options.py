# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Settings of the tracker that are not the model's."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONDITIONING = 6  # one memory less than the graphs take
RESIZE_FILTERS = ('pil', 'opencv')
FIXED = (
    'max_objects',
    'resize',
    'max_conditioning',
    'prompt_history_seconds',
    'prompt_history_frames',
)
"""Options that the storage of a tracker, or what it has stored, depends on."""


@dataclass(frozen=True)
class TrackerOptions:
    """How to track.

    Attributes:
        max_objects: objects that can live at once; the storage for them is allocated at start.
        resize: `pil`, the bicubic filter of the official loader, which the published numbers
            rest on, or `opencv`, an area filter that is several times faster.
        lost_after: seconds of occlusion after which an object counts as lost. Raising it keeps
            objects `occluded` for longer; tracking itself does not change.
        max_conditioning: prompted frames kept in the bank of one object; the first and the
            newest ones stay. Raising it leaves fewer slots to recent frames once more frames
            than that are prompted.
        refined_frames_condition: treat a frame on which a live object was refined as a
            conditioning frame, for good. Off, it is a recent memory like any tracked frame, as
            in the official predictor, and forgotten after six frames.
        skip_occluded_memories: frames on which an object is not seen leave no memory, so that
            what it looked like survives a long absence. Off, they are remembered as empty, as in
            the official predictor.
        remove_after: seconds of occlusion after which an object is removed; None: never.
        prompt_history_seconds: how old an image may be for a prompt to be applied to it; 0: prompts
            belong to the image they are handed in with. The encoded images of that time are
            kept: at 512 pixels 2.9 MB each and 0.26 MB of memory for each object, at 1024
            11.5 MB and 1.05 MB; with EdgeTAM at 1024 24 MB and 0.13 MB.
        prompt_history_frames: images kept at most for that.
        catch_up: images a step replays at most to bring late prompts forward, 2 or more. Lower
            keeps the rate steadier, higher shows the object sooner.
    """

    max_objects: int = 16
    resize: str = 'pil'
    lost_after: float = 2.0
    max_conditioning: int = 2
    refined_frames_condition: bool = True
    skip_occluded_memories: bool = False
    remove_after: float | None = None
    prompt_history_seconds: float = 0.0
    prompt_history_frames: int = 30
    catch_up: int = 4

    @property
    def history(self) -> int:
        """Images kept for prompts on the past."""
        return self.prompt_history_frames if self.prompt_history_seconds > 0 else 0

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        if not 1 <= self.max_objects <= 255:
            raise ValueError(f'max_objects is {self.max_objects}; 1..255')
        if self.resize not in RESIZE_FILTERS:
            raise ValueError(f'resize is {self.resize!r}; one of {", ".join(RESIZE_FILTERS)}')
        if not 1 <= self.max_conditioning <= MAX_CONDITIONING:
            raise ValueError(f'max_conditioning is {self.max_conditioning}; 1..{MAX_CONDITIONING}')
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
                f'catch_up is {self.catch_up}; at least 2, or a late prompt would never arrive'
            )
