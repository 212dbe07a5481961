# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's entries on /diagnostics (REP 107): input, tracking, depth, prompts, model.

Each is OK unless a limit is exceeded; the message names the value, the limit and the parameter
that sets it. Beyond a limit is a warning, beyond `ERROR_FACTOR` times it an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from tam_ros.ros.statistics import WINDOW_S, Spread, Summary
from tam_ros.runtime.base import DeviceMemory
from tam_ros.tracking import TrackedObject

ERROR_FACTOR = 5
DEPTH_OFFSET = 'depth_offset'
"""Under this name the statistics have how far images and the depth used for them are apart."""
MUCH_LOST = 0.05
"""Share of the images that the transport may lose."""

LOW_MEMORY = 0.05
"""Share of a device's memory that should stay free."""

_OTHER_CLOCK_S = 60.0  # an age beyond this is no delay: the stamps are of another time


@dataclass(frozen=True)
class Thresholds:
    """What is no longer good; each is a parameter of that name, 0 turns it off.

    Attributes:
        image_timeout: seconds without an image.
        max_age_warn: seconds from an image's stamp to its results, 95th percentile.
        min_rate_warn: tracked images a second.
        max_dropped_warn: share of images that are dropped, 0 to 1.
    """

    image_timeout: float
    max_age_warn: float
    min_rate_warn: float
    max_dropped_warn: float


@dataclass(frozen=True)
class Report:
    """Everything that is known of the node at one moment.

    Attributes:
        name: of the node, fully qualified.
        state: of its lifecycle, such as `active`.
        topic: of the images.
        info: what runs: `model`, `runtime`, `weights`, `precision` and more; empty before it is
            configured.
        summary: of the stream.
        activity: what it is doing while it configures, or empty.
        busy_s: seconds for which the present image has been worked on; 0: none is.
        waiting_prompts: prompts that wait for the image they are due on.
        late_objects: objects that are being replayed because their prompt came late.
        waiting_requests: requests that wait for the present image to be done.
        objects: of the newest frame, as the tracker gave them.
        device_memory: of the device, or None where the model uses the host's.
        resident_bytes: memory of this process.
    """

    name: str
    state: str
    topic: str
    info: Mapping[str, str]
    summary: Summary
    activity: str = ''
    busy_s: float = 0.0
    waiting_prompts: int = 0
    late_objects: Sequence[int] = ()
    waiting_requests: int = 0
    objects: Sequence[TrackedObject] = ()
    device_memory: DeviceMemory | None = None
    resident_bytes: int = 0


def statuses(report: Report, limits: Thresholds) -> list[DiagnosticStatus]:
    """Return the node's entries.

    Args:
        report: what is known.
        limits: what is no longer good.
    """
    entries = (
        _input(report, limits),
        _tracking(report, limits),
        _depth(report),
        _prompts(report),
        _model(report),
    )
    name = report.name.lstrip('/')
    return [
        DiagnosticStatus(
            level=entry.level,
            name=f'{name}: {entry.part}',
            message=entry.message(),
            hardware_id=entry.hardware,
            values=[KeyValue(key=key, value=str(value)) for key, value in entry.values.items()],
        )
        for entry in entries
    ]


@dataclass
class _Entry:
    """One status in the making; the worst that is said of it is its level."""

    part: str
    hardware: str
    good: str
    values: dict[str, Any]
    level: bytes = DiagnosticStatus.OK
    said: list[tuple[bytes, str]] = field(default_factory=list)

    def say(self, level: bytes, text: str) -> None:
        self.level = max(self.level, level)
        self.said.append((level, text))

    def beyond(self, value: float, limit: float, text: str, parameter: str) -> None:
        """Say that a value is beyond its limit, if it is; a limit of 0 is none."""
        if limit and value > limit:
            far = value > ERROR_FACTOR * limit
            level = DiagnosticStatus.ERROR if far else DiagnosticStatus.WARN
            times = f'{ERROR_FACTOR} x ' if far else ''
            self.say(level, f'{text} (limit: {times}{parameter} {limit:g})')

    def recent(self, summary: Summary, what: str, words: str) -> None:
        """Warn of something that has happened recently, with the newest sentence about it."""
        if count := summary.recent.get(what):
            text = f'{count} {words} in {WINDOW_S:.0f} s: {summary.last[what]}'
            self.say(DiagnosticStatus.WARN, text)

    def message(self) -> str:
        worst_first = sorted(self.said, key=lambda item: item[0], reverse=True)
        return '; '.join(text for _, text in worst_first) or self.good


def _input(report: Report, limits: Thresholds) -> _Entry:
    summary = report.summary
    entry = _Entry(
        'input',
        report.topic,
        f'{summary.received_hz:.1f} images/s' if report.state == 'active' else report.state,
        {
            'topic': report.topic,
            'received': summary.received,
            'rate_hz': f'{summary.received_hz:.2f}',
            **_spread('arrival_age_ms', summary.arrival_ms),
            'dropped': summary.dropped,
            'dropped_share': f'{summary.dropped_share:.3f}',
            'lost': summary.lost,
            'lost_share': f'{summary.lost_share:.3f}',
            **_counts(summary, 'refused_images', 'stale_images'),
        },
    )
    if report.state != 'active':
        return entry
    text = f'no image for {summary.silent_s:.1f} s'
    if not summary.received:
        text = f'no image has arrived yet, waiting for {summary.silent_s:.1f} s'
    entry.beyond(summary.silent_s, limits.image_timeout, text, 'image_timeout')
    if summary.lost_share > MUCH_LOST:
        entry.say(
            DiagnosticStatus.WARN,
            f'{summary.lost_share:.0%} of the images are lost on their way (limit: '
            f'{MUCH_LOST:.0%}): start the camera driver and the node with '
            f'FASTRTPS_DEFAULT_PROFILES_FILE=config/fastdds_images.xml',
        )
    ahead = -summary.arrival_ms.p50 / 1e3
    entry.beyond(
        ahead,
        limits.max_age_warn,
        f'the stamps are {ahead:.2f} s ahead of the clock of this node: synchronise the clocks, '
        f'or set use_sim_time for a recording',
        'max_age_warn',
    )
    entry.recent(summary, 'refused_images', 'refused images')
    entry.recent(summary, 'stale_images', 'stale images')
    return entry


def _tracking(report: Report, limits: Thresholds) -> _Entry:
    summary = report.summary
    count = len(report.objects)
    states = [str(item.state) for item in report.objects]
    entry = _Entry(
        'tracking',
        report.info.get('runtime', ''),
        f'{count} object{"" if count == 1 else "s"} at {summary.tracked_hz:.1f} Hz'
        if report.state == 'active'
        else report.state,
        {
            'lifecycle': report.state,
            'frames': summary.tracked,
            'rate_hz': f'{summary.tracked_hz:.2f}',
            **_spread('age_ms', summary.age_ms),
            **{
                f'{name}_ms_{key}': f'{getattr(spread, key):.1f}'
                for name, spread in summary.stages_ms.items()
                if name != DEPTH_OFFSET
                for key in ('p50', 'p95')
            },
            'busy_s': f'{report.busy_s:.1f}',
            'objects': count,
            **{state: states.count(state) for state in ('visible', 'occluded', 'lost')},
            **_counts(summary, 'failures'),
            **{f'object_{item.id}': f'{item.state}, {item.score:.2f}' for item in report.objects},
        },
    )
    if report.state != 'active':
        return entry
    if summary.failure:
        entry.say(DiagnosticStatus.ERROR, f'tracking failed: {summary.failure}')
    entry.beyond(
        report.busy_s,
        limits.image_timeout,
        f'the present image has been worked on for {report.busy_s:.1f} s',
        'image_timeout',
    )
    age = summary.age_ms.p95 / 1e3
    text = f'results are {age:.2f} s behind their images (p95), which arrive '
    text += f'{summary.arrival_ms.p95 / 1e3:.2f} s old'
    if age > _OTHER_CLOCK_S:
        text += ': the stamps are of another time, set use_sim_time for a recording'
    entry.beyond(age, limits.max_age_warn, text, 'max_age_warn')
    rate = summary.tracked_hz
    if 0 < rate < limits.min_rate_warn:
        far = rate < limits.min_rate_warn / ERROR_FACTOR
        entry.say(
            DiagnosticStatus.ERROR if far else DiagnosticStatus.WARN,
            f'{rate:.2f} images a second are tracked (limit: min_rate_warn '
            f'{limits.min_rate_warn:g}{f" / {ERROR_FACTOR}" if far else ""})',
        )
    share = summary.dropped_share
    if limits.max_dropped_warn and share > limits.max_dropped_warn:
        entry.say(
            DiagnosticStatus.WARN,
            f'{share:.0%} of the images are dropped (limit: max_dropped_warn '
            f'{limits.max_dropped_warn:.0%})',
        )
    return entry


def _depth(report: Report) -> _Entry:
    summary = report.summary
    offset = summary.stages_ms.get(DEPTH_OFFSET, Spread.of(()))
    used = offset.max == offset.max  # not NaN
    entry = _Entry(
        'depth',
        '',
        'positions are known' if used else 'no depth is used',
        {
            **(_spread('offset_ms', offset) if used else {}),
            **_counts(summary, 'images_without_depth'),
        },
    )
    entry.recent(summary, 'images_without_depth', 'images without positions')
    return entry


def _prompts(report: Report) -> _Entry:
    summary = report.summary
    entry = _Entry(
        'prompts',
        '',
        f'{report.waiting_prompts} waiting',
        {
            'waiting_prompts': report.waiting_prompts,
            'waiting_requests': report.waiting_requests,
            'replayed_objects': ', '.join(map(str, report.late_objects)),
            **_counts(summary, 'refused_requests'),
        },
    )
    entry.recent(summary, 'refused_requests', 'refused')
    return entry


def _model(report: Report) -> _Entry:
    facts, memory = report.info, report.device_memory
    runs = ', '.join(facts[name] for name in ('model', 'runtime', 'precision') if name in facts)
    entry = _Entry(
        'model',
        facts.get('device', ''),
        report.activity or runs or 'no model is open',
        {
            'lifecycle': report.state,
            **({'activity': report.activity} if report.activity else {}),
            **facts,
            'process_mb': f'{report.resident_bytes / 1e6:.0f}',
        },
    )
    if facts.get('weights', '').startswith('untrained'):
        entry.say(DiagnosticStatus.WARN, 'the weights are untrained: the masks mean nothing')
    if memory is not None:
        entry.values.update(
            {f'device_{name}_mb': f'{value / 1e6:.0f}' for name, value in memory._asdict().items()}
        )
        if memory.free < LOW_MEMORY * memory.total:
            text = f'{memory.free / 1e6:.0f} MB of device memory are free'
            entry.say(DiagnosticStatus.WARN, f'{text} (limit: {LOW_MEMORY:.0%} of it)')
    return entry


def _spread(name: str, spread: Spread) -> dict[str, str]:
    return {f'{name}_{key}': f'{getattr(spread, key):.1f}' for key in ('p50', 'p95', 'max')}


def _counts(summary: Summary, *names: str) -> dict[str, Any]:
    """Return how often something happened, and the newest sentence about it, once it has."""
    return {
        key: value
        for name in names
        if name in summary.counts
        for key, value in ((name, summary.counts[name]), (f'last_{name}', summary.last[name]))
    }
