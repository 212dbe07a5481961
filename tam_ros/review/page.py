# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""One HTML file that shows what was labelled in a recording; it needs no server and no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tam_ros.drawing.overlay import draw_overlay
from tam_ros.drawing.palette import colour
from tam_ros.io.frame_folder import encode_frame
from tam_ros.io.frames import FrameSource, SourceError
from tam_ros.review.moments import Course, Moment, chosen, courses, evenly, moments
from tam_ros.review.results import VISIBLE, LabelledFrame, Results

_WIDTH = 1000  # of the timeline, in units of its drawing
_HEIGHT = 60
_PICTURE = 320  # pixels; the longer side
_SHEET, _MOMENTS = 12, 24  # pictures at most

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1d2329; --paper: #fff; --soft: #5b6570; --line: #d5dae0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebee; --paper: #14181c; --soft: #a0a9b2; --line: #353c44; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
figure:target { outline: 3px solid #0072b2; outline-offset: 4px; }
svg { width: 100%; height: auto; display: block; }
.object { border-top: 1px solid var(--line); padding: .75rem 0; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
.axis { stroke: var(--line); } .unseen { fill: var(--soft); opacity: .25; }
.score { fill: none; stroke: var(--soft); stroke-width: 1.2; }
.mark { fill: #d55e00; } a { color: inherit; }
"""


class Sheet:
    """The pictures of a page, by number of the frame."""

    def __init__(self, wanted: Iterable[int]) -> None:
        self._wanted = set(wanted)
        self._pictures: dict[int, str] = {}

    def add(self, number: int, rgb: NDArray[np.uint8], frame: LabelledFrame) -> None:
        """Draw a frame, if it is wanted."""
        if number not in self._wanted:
            return
        scale = min(1.0, _PICTURE / max(rgb.shape[:2]))
        size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(
            frame.labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST
        ).astype(np.int32)
        drawn = draw_overlay(small.astype(np.uint8), labels)
        data = base64.b64encode(encode_frame(drawn, '.jpg', quality=80)).decode()
        self._pictures[number] = (
            f'<img src="data:image/jpeg;base64,{data}" alt="frame {number}" '
            f'width="{size[0]}" height="{size[1]}" loading="lazy">'
        )

    def __getitem__(self, number: int) -> str:
        """Return a picture, or what stands for it where the recording has not been found."""
        return self._pictures.get(number, '<p class="soft">no picture</p>')


def write_review(results: Results, source: FrameSource | None, title: str, note: str = '') -> str:
    """Return the page of a recording.

    Args:
        results: of the recording.
        source: the recording; None: there are no pictures.
        title: of the page.
        note: something to be said about it, or empty.

    Raises:
        SourceError: the results are damaged.
    """
    objects, count = courses(results)
    if not count:
        raise SourceError(f'{results.path} has no frames')
    found = chosen([one for course in objects for one in moments(course)], _MOMENTS)
    numbers = evenly(count, _SHEET)
    sheet = Sheet([*numbers, *(one.frame for one in found)])
    if source is not None:
        _draw(sheet, results, source)
    return _page(title, note, objects, count, found, numbers, sheet)


def _draw(sheet: Sheet, results: Results, source: FrameSource) -> None:
    """Draw the wanted frames. Frames of the recording that have no result are left out."""
    pictures = enumerate(source)
    for number, frame in enumerate(results):
        for index, picture in pictures:
            names = (picture.header.stamp_ns, Path(picture.file).stem, f'{index:05}')
            if frame.key in names:
                sheet.add(number, picture.rgb, frame)
                break
        else:
            return


def _page(
    title: str,
    note: str,
    objects: Sequence[Course],
    count: int,
    found: Sequence[Moment],
    numbers: Sequence[int],
    sheet: Sheet,
) -> str:
    marks: dict[int, list[Moment]] = {}
    for one in found:
        marks.setdefault(one.object_id, []).append(one)
    timelines = ''.join(_timeline(one, count, marks.get(one.id, [])) for one in objects)
    looks = ''.join(
        f'<figure id="m{one.frame}-{one.object_id}">{sheet[one.frame]}<figcaption>frame '
        f'{one.frame}, object {one.object_id}: {escape(one.what)}</figcaption></figure>'
        for one in found
    )
    shown = ''.join(
        f'<figure>{sheet[number]}<figcaption>frame {number}</figcaption></figure>'
        for number in numbers
    )
    remark = f'<p>{escape(note)}</p>' if note else ''
    return _document(
        title,
        f"""<h1>{escape(title)}</h1>
<p class="soft">{_number(count, 'frame')}, {_number(len(objects), 'object')},
{_number(len(found), 'moment')} to look at</p>
{remark}
<h2>Objects over time</h2>
<p class="soft">Filled: area of the mask, highest at its largest. Line: score, 0 to 1.
Grey: not visible. Red marks: moments below.</p>
{timelines}
<h2>Moments to look at</h2>
<div class="sheet">{looks or '<p class="soft">none</p>'}</div>
<h2>Frames</h2>
<div class="sheet">{shown}</div>
""",
    )


def _timeline(course: Course, count: int, marks: Sequence[Moment]) -> str:
    step = _WIDTH / max(1, count)
    largest = max(max(course.areas), 1)
    paint = 'rgb({} {} {})'.format(*colour(course.id))
    base = _HEIGHT - 4
    start = course.first * step
    tops = [base - (base - 4) * area / largest for area in course.areas]
    area = ' '.join(f'{start + place * step:.1f},{top:.1f}' for place, top in enumerate(tops))
    end = start + (len(tops) - 1) * step
    scores = ' '.join(
        f'{start + place * step:.1f},{base - (base - 4) * score:.1f}'
        for place, score in enumerate(course.scores)
        if score is not None
    )
    unseen = ''.join(
        f'<rect class="unseen" x="{start + begin * step:.1f}" y="0" '
        f'width="{max(step * (stop - begin), 0.5):.1f}" height="{base}"/>'
        for begin, stop in _runs([state != VISIBLE for state in course.states])
    )
    signs = ''.join(
        f'<a href="#m{one.frame}-{one.object_id}"><title>frame {one.frame}: {escape(one.what)}'
        f'</title><circle class="mark" cx="{one.frame * step:.1f}" cy="8" r="6"/></a>'
        for one in marks
    )
    visible = sum(state == VISIBLE for state in course.states)
    seen = f'visible on {visible} of {len(course.states)} frames'
    return f"""<div class="object">
<div><span class="swatch" style="background: {paint}"></span>object {course.id}
<span class="soft">{seen}</span></div>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="object {course.id}, {seen}">
{unseen}
<polygon points="{start:.1f},{base} {area} {end:.1f},{base}" fill="{paint}" opacity=".6"/>
<polyline class="score" points="{scores}"/>
<line class="axis" x1="0" x2="{_WIDTH}" y1="{base}" y2="{base}"/>
{signs}
</svg>
</div>
"""


def _number(count: int, what: str) -> str:
    return f'{count} {what}' if count == 1 else f'{count} {what}s'


def _runs(values: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where values are true, as (begin, end)."""
    edges = np.flatnonzero(np.diff([False, *values, False]).astype(bool)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def index_page(pages: Mapping[str, str], title: str) -> str:
    """Return a page with a link to each recording's page.

    Args:
        pages: file of the page by name of the recording.
        title: of the page.
    """
    links = ''.join(
        f'<li><a href="{escape(file, quote=True)}">{escape(name)}</a></li>'
        for name, file in pages.items()
    )
    return _document(title, f'<h1>{escape(title)}</h1>\n<ul>{links}</ul>\n')


def _document(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{content}</main>
</body>
</html>
"""
