# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Plot of the curves of a training run: `python -m training.plot training/out/run`."""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

PANELS = (
    ('loss', ('loss_image', 'loss_clip')),
    ('IoU on training batches', ('box', 'click', 'track_mask', 'track_box', 'track_click')),
    ('J on held-out clips', ('val_mask', 'val_box', 'val_click', 'val_box_0', 'val_click_0')),
)


def read_log(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return minutes, and values by name, of a `log.csv`."""
    curves: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    with Path(path).open(newline='') as file:
        for row in csv.DictReader(file):
            minutes, values = curves[row['name']]
            minutes.append(float(row['seconds']) / 60)
            values.append(float(row['value']))
    return dict(curves)


def plot(folder: Path) -> Path:
    """Plot `log.csv` of a run folder to `curves.png` in it; return its path."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    curves = read_log(folder / 'log.csv')
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(15, 4.2))
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for name in names:
            if name in curves:
                axis.plot(
                    *curves[name],
                    label=name,
                    linewidth=1,
                    marker='o' if name.startswith('val') else None,
                    markersize=3,
                )
        axis.set_title(title)
        axis.set_xlabel('minutes of training')
        axis.grid(alpha=0.3)
        if title != 'loss':
            axis.set_ylim(0, 1)
        if axis.lines:
            axis.legend(fontsize=8)
    figure.tight_layout()
    path = folder / 'curves.png'
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path


def main(argv: list[str] | None = None) -> None:
    """Plot a run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('run', type=Path)
    print(plot(parser.parse_args(argv).run))


if __name__ == '__main__':
    main()
