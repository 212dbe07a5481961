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
    """The demo's numbers, as `summary.json` holds them; None where there was nothing to measure.

    Attributes:
        frames: images that the camera played.
        tracked: images that the node answered.
        dropped: images that it did not, because a newer one was there already.
        rate_hz: answers a second.
        camera_rate_hz: images a second.
        age_ms_p50: median time from an image's stamp to the arrival of its answer.
        age_ms_p95: 95th percentile of the same.
        j_mean: region similarity J over the tracked images, mean over the objects; None where
            there is no truth.
        j_objects: J of every object, by id.
        model: name of the model.
        weights: what the node says about its weights.
        runtime: what ran the model.
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
        """Whether the masks mean nothing."""
        return 'untrained' in self.weights

    def write(self, path: Path) -> None:
        """Write the numbers as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + '\n', encoding='utf-8')

    def lines(self) -> list[str]:
        """Put the numbers into words."""
        lines = [
            f'{self.model}, {self.weights}, run by {self.runtime}',
            f'{self.frames} images at {_number(self.camera_rate_hz)} a second, '
            f'{self.tracked} of them tracked at {_number(self.rate_hz)} a second, '
            f'{self.dropped} dropped for newer ones',
            f'results {_number(self.age_ms_p50)} ms after their image '
            f'(median; 95 %: {_number(self.age_ms_p95)} ms)',
        ]
        if self.j_mean is not None and self.j_objects is not None:
            each = ', '.join(f'object {key}: {value:.3f}' for key, value in self.j_objects.items())
            lines.append(
                f'mean J {self.j_mean:.3f} against the known truth over the '
                f'{self.tracked / self.frames:.0%} of the images that were tracked ({each})'
            )
        if self.untrained:
            lines.append(
                'The weights are UNTRAINED: the masks show that everything runs, and mean nothing.'
            )
        return lines


def summarize(review: Review, arrivals: list[tuple[int, int]], status: dict[str, str]) -> Summary:
    """Work the numbers out.

    Args:
        review: of the recorded bag.
        arrivals: (stamp of an image, arrival of its answer), nanoseconds of one clock.
        status: the node's diagnostics, of which `model`, `weights` and `runtime` are used.
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
    """Return events a second."""
    if len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return (len(stamps_ns) - 1) / ((stamps_ns[-1] - stamps_ns[0]) * 1e-9)


def _number(value: float | None) -> str:
    return 'unknown' if value is None else f'{value:.1f}' if value < 100 else f'{value:.0f}'
