# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Injected faults of sensors, found by the plain change of agreement and by the graphical lasso.

    python -m benchmark.faults --doc docs/faults.md --plot docs/images/faults.png

The statistics are simulated: two cameras, a depth sensor and a detector watch objects whose
distance, movement, light and the computer's load vary. `--recorded FILE` takes the baseline of a
robot instead, as `fault_node` saves it: it learns from the first half and injects faults into
stretches of the second half, as far as the robot has such channels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmark.document import publish, table
from tam_ros.evaluation.timing import machine
from tam_ros.faults.agreement import Agreement, PairChange
from tam_ros.faults.baseline import load_baseline

Values = NDArray[np.float64]

MEASURES = ('plain', 'robust')
AGREED = 0.3  # a pair that agreed at least so well in the baseline should be found
LEARNED = 600  # windows of a simulated baseline
RECENT = 40  # windows that are compared with it at a time
NOISE = 0.35  # of each simulated channel, beside a variation of about 1


class Fault(NamedTuple):
    """A fault of one sensor.

    Attributes:
        words: for the table.
        channels: ends of the names of the channels that it affects.
        inject: changes their values [n, k], in units of the baseline, in place.
    """

    words: str
    channels: tuple[str, ...]
    inject: Callable[[Values, np.random.Generator], None]


def _freeze(values: Values, random: np.random.Generator) -> None:
    values[:] = values[0]


def _bias(values: Values, random: np.random.Generator) -> None:
    values += 1.5


def _blur(values: Values, random: np.random.Generator) -> None:
    values[:] = 0.5 * values - 1 + 0.7 * random.standard_normal(values.shape)


def _drift(values: Values, random: np.random.Generator) -> None:
    values += np.linspace(0, 4, len(values))[:, None]


def _nothing(values: Values, random: np.random.Generator) -> None:
    values[:] = -2.5


FAULTS = (
    Fault('camera frozen', ('right/area', 'right/speed', 'right/score'), _freeze),
    Fault('depth biased', ('depth/distance',), _bias),
    Fault('lens dirty', ('left/score', 'left/area'), _blur),
    Fault('clock drifting', ('left/latency',), _drift),
    Fault('detector blind', ('detector/count',), _nothing),
)
HEALTHY = Fault('none', (), lambda values, random: None)


def simulate(windows: int, random: np.random.Generator) -> tuple[tuple[str, ...], Values]:
    """Return names of channels and their values [windows, channels] while all is well."""
    distance, movement, light, load = (
        _slow(windows, memory, random) for memory in (0.9, 0.7, 0.95, 0.8)
    )
    columns = {
        'left/area': -distance,
        'right/area': 0.2 * movement - distance,
        'left/speed': movement - 0.4 * distance,
        'right/speed': movement - 0.4 * distance,
        'left/score': 0.8 * light - 0.3 * distance,
        'right/score': 0.8 * light - 0.2 * distance,
        'left/latency': load,
        'right/latency': load,
        'left/gap': 0.6 * load,
        'right/gap': 0.6 * load,
        'depth/distance': distance,
        'depth/coverage': 0.5 * light - 0.5 * distance,
        'detector/count': 0.7 * light + 0.4 * movement,
    }
    values = np.stack(list(columns.values()), axis=1)
    return tuple(columns), values + NOISE * random.standard_normal(values.shape)


def _slow(length: int, memory: float, random: np.random.Generator) -> Values:
    """Return a series of variance 1 that keeps `memory` of its value from one to the next."""
    values = random.standard_normal(length)
    for index in range(1, length):
        values[index] = memory * values[index - 1] + (1 - memory**2) ** 0.5 * values[index]
    return values


class Stretch(NamedTuple):
    """A stretch of windows into which faults are injected.

    Attributes:
        agreement: what was learned before.
        values: float64 [n, channels].
        scale: standard deviation of each channel in the baseline.
    """

    agreement: Agreement
    values: Values
    scale: Values


def simulated(episodes: int, per_baseline: int = 4) -> Iterator[Stretch]:
    """Yield stretches, a few for each simulated robot."""
    for episode in range(episodes):
        if episode % per_baseline == 0:
            random = np.random.default_rng(episode)
            channels, learned = simulate(LEARNED, random)
            agreement = Agreement(channels, learned, RECENT)
        yield Stretch(agreement, simulate(RECENT, random)[1], learned.std(axis=0))


def recorded(path: Path, episodes: int) -> Iterator[Stretch]:
    """Yield stretches of the second half of a saved baseline, learned from the first half.

    Raises:
        BaselineError: the file cannot be read.
        ValueError: it is too short.
    """
    baseline = load_baseline(path)
    half = len(baseline.windows) // 2
    if half < 2 * baseline.recent:
        raise ValueError(f'{path} has {2 * half} windows, at least {4 * baseline.recent} needed')
    learned, rest = baseline.windows[:half], baseline.windows[half:]
    agreement = Agreement(baseline.channels, learned, baseline.recent)
    for start in np.linspace(0, len(rest) - baseline.recent, episodes).astype(int):
        yield Stretch(agreement, rest[start : start + baseline.recent], learned.std(axis=0))


class Count:
    """What a measure found in all stretches with one fault."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.episodes = self.alarms = self.named = 0
        self.flagged = self.right = self.expected = self.found = 0

    def add(self, pairs: Sequence[PairChange], measure: str, faulty: set[str]) -> None:
        """Count the pairs that a measure flags."""

        def is_right(pair: PairChange) -> bool:
            return pair.first in faulty or pair.second in faulty

        flagged = [pair for pair in pairs if getattr(pair, measure) > 1]
        self.episodes += 1
        self.alarms += bool(flagged)
        if flagged:
            worst = max(flagged, key=lambda pair: float(getattr(pair, measure)))
            self.named += is_right(worst)
        self.flagged += len(flagged)
        self.right += sum(map(is_right, flagged))
        expected = [pair for pair in pairs if is_right(pair) and abs(pair.before) >= AGREED]
        self.expected += len(expected)
        self.found += sum(pair in flagged for pair in expected)

    def cells(self, healthy: bool) -> list[str]:
        """Return alarms, named, precision and recall as texts."""
        alarms = f'{self.alarms} of {self.episodes}'
        if healthy:
            return [alarms, '', '', '']
        return [
            alarms,
            f'{self.named} of {self.episodes}',
            _share(self.right, self.flagged),
            _share(self.found, self.expected),
        ]


def _share(part: int, whole: int) -> str:
    return f'{part / whole:.2f}' if whole else ''


def damage(stretch: Stretch, fault: Fault, random: np.random.Generator) -> tuple[Values, set[str]]:
    """Return the stretch with a fault, and the channels it affects; none: it has no such one."""
    channels = stretch.agreement.channels
    columns = [i for i, name in enumerate(channels) if name.endswith(fault.channels)]
    if not fault.channels or not columns:
        return stretch.values, set()
    mean, scale = stretch.agreement.mean[columns], stretch.scale[columns]
    values = stretch.values.copy()
    part = (values[:, columns] - mean) / scale
    fault.inject(part, random)
    values[:, columns] = part * scale + mean
    return values, {channels[index] for index in columns}


def measure(stretches: Sequence[Stretch]) -> dict[tuple[str, str], Count]:
    """Inject every fault into every stretch; return counts by fault and measure."""
    counts: dict[tuple[str, str], Count] = {}
    for number, stretch in enumerate(tqdm(stretches)):
        random = np.random.default_rng([1, number])
        for fault in (HEALTHY, *FAULTS):
            values, faulty = damage(stretch, fault, random)
            if fault is not HEALTHY and not faulty:
                continue
            pairs = stretch.agreement.compare(values).pairs
            for name in MEASURES:
                counts.setdefault((fault.words, name), Count()).add(pairs, name, faulty)
    return counts


def draw(stretch: Stretch, fault: Fault, path: Path) -> None:
    """Draw the agreements before and with a fault, and both measures of their change."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values, faulty = damage(stretch, fault, np.random.default_rng(0))
    channels = stretch.agreement.channels
    names = ('before', 'now', *MEASURES)
    pictures = {name: np.full((len(channels),) * 2, np.nan) for name in names}
    for pair in stretch.agreement.compare(values).pairs:
        i, j = channels.index(pair.first), channels.index(pair.second)
        for name in names:
            pictures[name][i, j] = pictures[name][j, i] = getattr(pair, name)
    figure = Figure(figsize=(13, 10.5), layout='constrained')
    FigureCanvasAgg(figure)
    titles = (
        'agreement in the baseline',
        f'agreement now: {fault.words}',
        'plain change of agreement (crosses: above 1)',
        'robust graphical lasso (crosses: above 1)',
    )
    for axes, name, title in zip(figure.subplots(2, 2).flat, names, titles, strict=True):
        signed = name in ('before', 'now')
        image = axes.imshow(
            pictures[name],
            cmap='RdBu_r' if signed else 'Greys',
            vmin=-1 if signed else 0,
            vmax=1 if signed else 2,
        )
        axes.set_title(title)
        for set_ticks, turn in ((axes.set_xticks, 90), (axes.set_yticks, 0)):
            set_ticks(range(len(channels)), channels, rotation=turn)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_color('tab:red' if label.get_text() in faulty else 'black')
        if not signed:
            axes.plot(*np.nonzero(pictures[name] > 1), 'x', color='tab:orange', markersize=7)
        figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=80)


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('--episodes', type=int, default=200, help='stretches with each fault')
    parser.add_argument('--recorded', type=Path, help='a baseline that fault_node saved')
    parser.add_argument('--plot', type=Path, help='draw one fault into this PNG file')
    parser.add_argument('--doc', type=Path, help='put the table into this document')
    args = parser.parse_args(argv)
    source = recorded(args.recorded, args.episodes) if args.recorded else simulated(args.episodes)
    stretches = list(source)
    counts = measure(stretches)
    rows = [
        [fault.words, name, *counts[fault.words, name].cells(fault is HEALTHY)]
        for fault in (HEALTHY, *FAULTS)
        for name in MEASURES
        if (fault.words, name) in counts
    ]
    heads = ['fault', 'measure', 'alarms', 'worst pair is right', 'precision', 'recall']
    origin = f'of {args.recorded.name}' if args.recorded else 'simulated'
    text = (
        f'`python -m benchmark.faults`, {machine()}; {len(stretches)} stretches, {origin}, of '
        f'{len(stretches[0].values)} windows:\n\n{table(heads, rows)}'
    )
    publish(text, 'faults', args.doc)
    if args.plot:
        draw(stretches[0], FAULTS[0], args.plot)


if __name__ == '__main__':
    main()
