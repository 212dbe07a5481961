# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Scores of a dataset as a text table, as JSON values and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tam_ros.evaluation.runner import SequenceScores

COLUMNS = {'J&F': 'J&F', 'J': 'J', 'F': 'F', 'J_last_quarter': 'last', 'J_prompted_frame': 'first'}
LEGEND = (
    'J, F: means over the scored frames; last: J of their last quarter; first: J of the frame on '
    'which the object was prompted, which is not scored'
)
PLOT_COLUMNS = 3


def mean(results: Sequence[SequenceScores]) -> dict[str, float]:
    """Return each score averaged over all objects of all sequences, as in DAVIS.

    Raises:
        ValueError: there is no object.
    """
    summaries = [item.summary() for result in results for item in result.objects]
    if not summaries:
        raise ValueError('no object to average over')
    return {name: float(np.mean([one[name] for one in summaries])) for name in summaries[0]}


def as_table(results: Sequence[SequenceScores]) -> str:
    """Return aligned text with one line per object, and the mean."""
    rows = [
        [result.name, str(item.object_id), str(len(item.frames)), *_cells(item.summary())]
        for result in results
        for item in result.objects
    ]
    objects = f'{len(rows)} object{"" if len(rows) == 1 else "s"}'
    rows.append(['mean', objects, '', *_cells(mean(results))])
    rows.insert(0, ['sequence', 'object', 'frames', *COLUMNS.values()])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    )


def as_json(results: Sequence[SequenceScores]) -> dict[str, Any]:
    """Return the scores of each sequence and object, and the mean over all objects.

    Every object has its values of each scored frame; frames are counted from 0.
    """
    return {
        'sequences': {
            result.name: {
                **mean([result]),
                'step_ms_median': 1e3 * float(np.median(result.step_seconds)),
                'objects': {
                    str(item.object_id): {
                        **item.summary(),
                        'prompted_frame': item.prompted_frame,
                        'frames': item.frames,
                        'J_of_frames': item.j,
                        'F_of_frames': item.f,
                    }
                    for item in result.objects
                },
            }
            for result in results
        },
        'mean': mean(results),
    }


def plot(results: Sequence[SequenceScores], path: Path, title: str = '') -> None:
    """Draw J over time, with one panel per sequence and one line per object.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the image cannot be written.
        ValueError: its format is unknown.
    """
    from matplotlib.figure import Figure

    columns = min(PLOT_COLUMNS, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(max(4.2 * columns, 6), 2.6 * rows + 0.5), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(results) :]:
        panel.set_visible(False)
    for panel, result in zip(panels, results, strict=False):
        for item in result.objects:
            panel.plot(
                item.frames,
                item.j,
                linewidth=1.3,
                label=f'object {item.object_id}: {np.mean(item.j):.2f}',
            )
        panel.set_title(result.name, fontsize=10)
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlim(0, len(result.step_seconds) - 1)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, loc='lower left', framealpha=0.6)
    figure.supxlabel('frame', fontsize=10)
    figure.supylabel('region similarity J', fontsize=10)
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def _cells(summary: dict[str, float]) -> list[str]:
    return [f'{summary[name]:.3f}' for name in COLUMNS]
