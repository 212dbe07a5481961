# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's statuses on /diagnostics (REP 107): input, tracking, depth, prompts, model.

A status is OK unless a limit is exceeded; its message then has the value, the limit and the
parameter that sets it. Above the limit it is a warning, above `ERROR_FACTOR` times it an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from tam_ros.printable import MAX_TEXT, printable
from tam_ros.prompting.detection_filter import Reason
from tam_ros.prompting.object_ids import FEW_LEFT
from tam_ros.ros.diagnostics.shared_memory import describe
from tam_ros.ros.diagnostics.statistics import (
    DEPTH_OFFSET,
    DROPPED_DETECTIONS,
    NO_POSITIONS,
    POSITIONS,
    WINDOW_S,
    Percentiles,
    Summary,
)
from tam_ros.ros.distribution import PROFILE_VARIABLE
from tam_ros.ros.images.watch import MAX_LOST_SHARE
from tam_ros.ros.parameters import Parameters
from tam_ros.runtime.base import DeviceMemory
from tam_ros.tracking import TrackedObject
from tam_ros.tracking.prompts import MAX_ID

ERROR_FACTOR = 5
MIN_FREE_SHARE = 0.05
"""Share of the device memory that should be free."""

CLOCK_MISSING = (
    'use_sim_time is set, but nothing arrives on /clock, so ages are not known: play the bag with '
    '--clock, or set use_sim_time to false'
)

_OTHER_CLOCK_S = 60.0  # a greater age is not a delay: the stamps are from another clock


@dataclass(frozen=True)
class Report:
    """The state of the node at one time.

    Attributes:
        name: name of the node, fully qualified.
        host: name of the computer the node runs on: the `hardware_id` of all statuses.
        state: state of its lifecycle, such as `active`.
        topic: topic of the images.
        images_problem: what is wrong with the publishers of the images, or empty.
        depth_problem: what is wrong with the publishers of depth, or empty.
        info: info of the open tracker: `model`, `runtime`, `weights`, `precision` and more; empty
            while the node is not configured.
        summary: statistics of the stream.
        activity: what the node does while it configures, or empty.
        busy_s: seconds for which the current image has been processed; 0: there is none.
        waiting_prompts: prompts that wait for their image.
        used_ids: how many ids objects have had since the start or the last reset.
        late_objects: objects that are being replayed because their prompt was late.
        waiting_requests: requests that wait for the current image.
        objects: objects of the newest result.
        device_memory: memory of the device; None if the model uses host memory.
        resident_bytes: memory of this process.
        lost_ports: shared-memory ports of this process that new participants no longer reach.
        namesake: what is wrong if another node has the same name, or empty.
        clock_missing: whether `use_sim_time` is set and nothing has arrived on /clock.
        detector: facts about the node's detector, `problem` among them; empty: it has none.
    """

    name: str
    state: str
    topic: str
    info: Mapping[str, str]
    summary: Summary
    images_problem: str = ''
    depth_problem: str = ''
    activity: str = ''
    busy_s: float = 0.0
    waiting_prompts: int = 0
    used_ids: int = 0
    late_objects: Sequence[int] = ()
    waiting_requests: int = 0
    objects: Sequence[TrackedObject] = ()
    device_memory: DeviceMemory | None = None
    resident_bytes: int = 0
    lost_ports: Sequence[int] = ()
    host: str = ''
    namesake: str = ''
    clock_missing: bool = False
    detector: Mapping[str, Any] = field(default_factory=dict)


def statuses(report: Report, limits: Parameters) -> list[DiagnosticStatus]:
    """Return the statuses of the node.

    Args:
        report: the state of the node.
        limits: the parameters of the node; `image_timeout` and `..._warn` apply. 0: no limit.
    """
    entries = [
        _input(report, limits),
        _tracking(report, limits),
        _depth(report),
        _prompts(report),
        _model(report),
    ]
    if report.detector:
        entries.append(_detector(report))
    name = report.name.lstrip('/')
    return [
        DiagnosticStatus(
            level=entry.level,
            name=f'{name}: {entry.part}',
            message=entry.message(),
            hardware_id=report.host,
            values=[
                KeyValue(key=key, value=printable(str(value), MAX_TEXT))
                for key, value in entry.values.items()
            ],
        )
        for entry in entries
    ]


def few_ids(used: int) -> str:
    """Return a warning if few ids are left for new objects, or an empty text."""
    left = MAX_ID - used
    if left > FEW_LEFT:
        return ''
    return f'{left} of {MAX_ID} ids are left for new objects: ~/reset when that is possible'


@dataclass
class _Entry:
    """A status under construction; its level is the worst of its problems."""

    part: str
    ok_message: str
    values: dict[str, Any]
    level: bytes = DiagnosticStatus.OK
    problems: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, level: bytes, text: str) -> None:
        self.level = max(self.level, level)
        self.problems.append((level, text))

    def check(self, value: float, limit: float, text: str, parameter: str) -> None:
        """Add a problem if a value exceeds its limit, unless that is 0."""
        if limit and value > limit:
            far = value > ERROR_FACTOR * limit
            level = DiagnosticStatus.ERROR if far else DiagnosticStatus.WARN
            times = f'{ERROR_FACTOR} x ' if far else ''
            self.add(level, f'{text} (limit: {times}{parameter} {limit:g})')

    def add_recent(self, summary: Summary, what: str, words: str) -> None:
        """Add a warning if a problem occurred recently, with the newest message about it."""
        if count := summary.recent.get(what):
            text = f'{count} {words} in {WINDOW_S:.0f} s: {summary.last[what]}'
            self.add(DiagnosticStatus.WARN, text)

    def message(self) -> str:
        worst_first = sorted(self.problems, key=lambda item: item[0], reverse=True)
        texts = [printable(text, MAX_TEXT) for _, text in worst_first]
        return '; '.join(texts) or self.ok_message


def _input(report: Report, limits: Parameters) -> _Entry:
    summary = report.summary
    entry = _Entry(
        'input',
        f'{summary.received_hz:.1f} images/s' if report.state == 'active' else report.state,
        {
            'topic': report.topic,
            'received': summary.received,
            'rate_hz': f'{summary.received_hz:.2f}',
            **_percentiles('arrival_age_ms', summary.arrival_ms),
            'dropped': summary.dropped,
            'dropped_share': f'{summary.dropped_share:.3f}',
            'lost': summary.lost,
            'lost_share': f'{summary.lost_share:.3f}',
            **_counts(summary, 'refused_images', 'stale_images'),
            **(
                {'lost_ports': ', '.join(map(str, report.lost_ports))} if report.lost_ports else {}
            ),
        },
    )
    if report.lost_ports:
        entry.add(DiagnosticStatus.ERROR, describe(report.lost_ports))
    if report.state != 'active':
        return entry
    text = f'no image for {summary.silent_s:.1f} s'
    if not summary.received:
        text = f'no image has arrived yet, waiting for {summary.silent_s:.1f} s'
    # `ros2 topic echo` shows the first 128 characters.
    reason = report.images_problem
    if reason and summary.silent_s > limits.image_timeout:
        text = f'{reason}; {text}'
    elif reason:
        entry.add(DiagnosticStatus.WARN, reason)
    entry.check(summary.silent_s, limits.image_timeout, text, 'image_timeout')
    if summary.lost_share > MAX_LOST_SHARE:
        entry.add(
            DiagnosticStatus.WARN,
            f'{summary.lost_share:.0%} of the images were lost in transport (limit: '
            f'{MAX_LOST_SHARE:.0%}): start the camera, not only the node, with '
            f'{PROFILE_VARIABLE}=.../config/fastdds_images.xml; see the log',
        )
    if report.clock_missing:
        entry.add(DiagnosticStatus.WARN, CLOCK_MISSING)
    ahead = -summary.arrival_ms.p50 / 1e3
    entry.check(
        0.0 if report.clock_missing else ahead,
        limits.max_age_warn,
        f'the stamps are {ahead:.2f} s ahead of the clock of this node: synchronise the clocks, '
        f'or set use_sim_time for a recording',
        'max_age_warn',
    )
    entry.add_recent(summary, 'refused_images', 'refused images')
    entry.add_recent(summary, 'stale_images', 'stale images')
    return entry


def _tracking(report: Report, limits: Parameters) -> _Entry:
    summary = report.summary
    count = len(report.objects)
    states = [str(item.state) for item in report.objects]
    entry = _Entry(
        'tracking',
        f'{count} object{"" if count == 1 else "s"} at {summary.tracked_hz:.1f} Hz'
        if report.state == 'active'
        else report.state,
        {
            'lifecycle': report.state,
            'frames': summary.tracked,
            'rate_hz': f'{summary.tracked_hz:.2f}',
            **_percentiles('age_ms', summary.age_ms),
            **{
                key: value
                for name, percentiles in summary.stages_ms.items()
                if name != DEPTH_OFFSET
                for key, value in _percentiles(f'{name}_ms', percentiles, ('p50', 'p95')).items()
            },
            'busy_s': f'{report.busy_s:.1f}',
            'objects': count,
            **{state: states.count(state) for state in ('visible', 'occluded', 'lost')},
            **_counts(summary, 'failures'),
            **{f'object_{item.id}': f'{item.state}, {item.score:.2f}' for item in report.objects},
        },
    )
    if report.namesake:
        entry.add(DiagnosticStatus.WARN, report.namesake)
    if report.state != 'active':
        return entry
    if summary.failure:
        entry.add(DiagnosticStatus.ERROR, f'tracking failed: {summary.failure}')
    entry.check(
        report.busy_s,
        limits.image_timeout,
        f'the current image has been processed for {report.busy_s:.1f} s',
        'image_timeout',
    )
    age = summary.age_ms.p95 / 1e3
    text = f'results are {age:.2f} s behind their images (p95), which arrive '
    text += f'{summary.arrival_ms.p95 / 1e3:.2f} s old'
    if age > _OTHER_CLOCK_S:
        text += ': the stamps are from another clock, set use_sim_time for a recording'
    entry.check(age, limits.max_age_warn, text, 'max_age_warn')
    rate = summary.tracked_hz
    if 0 < rate < limits.min_rate_warn:
        far = rate < limits.min_rate_warn / ERROR_FACTOR
        entry.add(
            DiagnosticStatus.ERROR if far else DiagnosticStatus.WARN,
            f'{rate:.2f} images per second are tracked (limit: min_rate_warn '
            f'{limits.min_rate_warn:g}{f" / {ERROR_FACTOR}" if far else ""})',
        )
    share = summary.dropped_share
    if limits.max_dropped_warn and share > limits.max_dropped_warn:
        entry.add(
            DiagnosticStatus.WARN,
            f'{share:.0%} of the images are dropped (limit: max_dropped_warn '
            f'{limits.max_dropped_warn:.0%})',
        )
    return entry


def _depth(report: Report) -> _Entry:
    summary = report.summary
    offset = summary.stages_ms.get(DEPTH_OFFSET, Percentiles.of(()))
    used = offset.max == offset.max  # not NaN
    known, unknown = (summary.recent.get(name, 0) for name in (POSITIONS, NO_POSITIONS))
    message = 'depth is used' if used else 'depth is not used'
    if known:
        message = 'positions are known'
        if unknown:
            message += f', except {unknown} of {unknown + known} in {WINDOW_S:.0f} s'
    entry = _Entry(
        'depth',
        message,
        {
            **_percentiles('offset_ms', offset),
            **_counts(summary, 'images_without_depth', NO_POSITIONS),
        },
    )
    entry.add_recent(summary, 'images_without_depth', 'images without positions')
    if not known:
        entry.add_recent(summary, NO_POSITIONS, 'objects without a position')
    if report.depth_problem and not entry.problems and report.state == 'active':
        entry.add(DiagnosticStatus.WARN, report.depth_problem)
    return entry


def _prompts(report: Report) -> _Entry:
    summary = report.summary
    entry = _Entry(
        'prompts',
        f'{report.waiting_prompts} waiting',
        {
            'waiting_prompts': report.waiting_prompts,
            'waiting_requests': report.waiting_requests,
            'used_ids': report.used_ids,
            'replayed_objects': ', '.join(map(str, report.late_objects)),
            **_counts(summary, 'refused_requests'),
            **_counts(summary, *(f'{DROPPED_DETECTIONS}_{reason.value}' for reason in Reason)),
        },
    )
    if few := few_ids(report.used_ids):
        entry.add(DiagnosticStatus.WARN, few)
    entry.add_recent(summary, 'refused_requests', 'refused')
    entry.add_recent(summary, DROPPED_DETECTIONS, 'detections were not used')
    return entry


def _detector(report: Report) -> _Entry:
    facts = dict(report.detector)
    problem = facts.pop('problem')
    message = f'{facts["detector"]}, {facts["last_look_ms"]} ms'
    entry = _Entry('detector', message if facts['looks'] else str(facts['detector']), facts)
    if problem:
        entry.add(DiagnosticStatus.ERROR, problem)
    return entry


def _model(report: Report) -> _Entry:
    info, memory = report.info, report.device_memory
    opened = ', '.join(info[name] for name in ('model', 'runtime', 'precision') if name in info)
    entry = _Entry(
        'model',
        report.activity or opened or 'no model is open',
        {
            'lifecycle': report.state,
            **({'activity': report.activity} if report.activity else {}),
            **info,
            'process_mb': f'{report.resident_bytes / 1e6:.0f}',
        },
    )
    if info.get('weights', '').startswith('untrained'):
        entry.add(DiagnosticStatus.WARN, 'the weights are untrained: the masks are meaningless')
    if memory is not None:
        entry.values.update(
            {f'device_{name}_mb': f'{value / 1e6:.0f}' for name, value in memory._asdict().items()}
        )
        if memory.free < MIN_FREE_SHARE * memory.total:
            text = f'{memory.free / 1e6:.0f} MB of device memory are free'
            entry.add(DiagnosticStatus.WARN, f'{text} (limit: {MIN_FREE_SHARE:.0%} of it)')
    return entry


def _percentiles(
    name: str, percentiles: Percentiles, keys: Sequence[str] = ('p50', 'p95', 'max')
) -> dict[str, str]:
    """Return the percentiles as values of a status; none if there were no measurements."""
    if percentiles.max != percentiles.max:  # NaN
        return {}
    return {f'{name}_{key}': f'{getattr(percentiles, key):.1f}' for key in keys}


def _counts(summary: Summary, *names: str) -> dict[str, Any]:
    """Return the count of each problem that occurred, and the newest message about it."""
    return {
        key: value
        for name in names
        if name in summary.counts
        for key, value in ((name, summary.counts[name]), (f'last_{name}', summary.last[name]))
    }
