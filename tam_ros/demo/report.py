# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The demo's numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tam_ros.demo.review import Review
from tam_ros.evaluation.jaccard import mean_over_objects


@dataclass(frozen=True)
class Summary:
    """The demo's numbers, as in `summary.json`; None where there was nothing to measure.

    Attributes:
        frames: images that the camera played.
        tracked: images with a result.
        dropped: images that the node skipped in favour of newer ones.
        rate_hz: results per second.
        camera_rate_hz: images per second.
        age_ms_p50: median time from an image's stamp to the arrival of its result, milliseconds.
        age_ms_p95: 95th percentile of this time.
        j_mean: region similarity J over the tracked images, mean over the objects; None where
            there is no truth.
        j_objects: J of each object, by id.
        model: name of the model.
        weights: description of the weights, as the node reports it.
        runtime: name of the backend.
    """

    frames: int
    tracked: int
    dropped: int
    rate_hz: float | None
    camera_rate_hz: float | None
    age_ms_p50: float | None
    age_ms_p95: float | None
    j_mean: float | None
    j_objects: dict[int, float] | None
    model: str
    weights: str
    runtime: str

    @property
    def untrained(self) -> bool:
        """Whether the weights are untrained, so that the masks mean nothing."""
        return 'untrained' in self.weights

    def write(self, path: Path) -> None:
        """Write the numbers to a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=2) + '\n', encoding='utf-8')

    def lines(self) -> list[str]:
        """Return the numbers as lines of text."""
        lines = [
            f'{self.model}, {self.weights}, on {self.runtime}',
            f'{self.frames} images at {_number(self.camera_rate_hz)} per second, '
            f'{self.tracked} of them tracked at {_number(self.rate_hz)} per second, '
            f'{self.dropped} dropped in favour of newer ones',
            f'results {_number(self.age_ms_p50)} ms after the stamp of their image '
            f'(median; 95 %: {_number(self.age_ms_p95)} ms)',
        ]
        if self.j_mean is not None and self.j_objects is not None:
            each = ', '.join(f'object {key}: {value:.3f}' for key, value in self.j_objects.items())
            lines.append(
                f'mean J {self.j_mean:.3f} against the ground truth over the '
                f'{self.tracked / self.frames:.0%} of the images that were tracked ({each})'
            )
        if self.untrained:
            lines.append('The weights are UNTRAINED: everything runs, but the masks mean nothing.')
        return lines


def summarize(review: Review, arrivals: list[tuple[int, int]], status: dict[str, str]) -> Summary:
    """Return the numbers of a demo.

    Args:
        review: review of the recorded bag.
        arrivals: (stamp of an image, arrival of its result), nanoseconds of one clock.
        status: values of the node's diagnostics: `model`, `weights` and `runtime` are used.
    """
    ages_ms = [(arrival - stamp) * 1e-6 for stamp, arrival in arrivals]
    middle, high = np.percentile(ages_ms, (50, 95)).tolist() if ages_ms else (None, None)
    ids = list(review.scores[0]) if review.scores else []
    return Summary(
        frames=len(review.image_stamps),
        tracked=len(arrivals),
        dropped=len(review.image_stamps) - len(arrivals),
        rate_hz=_rate([arrival for _, arrival in arrivals]),
        camera_rate_hz=_rate(review.image_stamps),
        age_ms_p50=middle,
        age_ms_p95=high,
        j_mean=mean_over_objects(review.scores) if ids else None,
        j_objects={key: float(np.mean([frame[key] for frame in review.scores])) for key in ids}
        or None,
        model=status.get('model', 'unknown model'),
        weights=status.get('weights', 'unknown weights'),
        runtime=status.get('runtime', 'unknown runtime'),
    )


def _rate(stamps_ns: list[int]) -> float | None:
    """Return events per second."""
    if len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return (len(stamps_ns) - 1) / ((stamps_ns[-1] - stamps_ns[0]) * 1e-9)


def _number(value: float | None) -> str:
    return 'unknown' if value is None else f'{value:.1f}' if value < 100 else f'{value:.0f}'
