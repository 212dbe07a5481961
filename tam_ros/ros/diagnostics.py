"""The node's entry on /diagnostics (REP 107)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from tam_ros.ros.statistics import Summary
from tam_ros.tracking import TrackedObject


def tracking_status(
    node_name: str,
    device: Mapping[str, str],
    summary: Summary,
    dropped: int,
    objects: Sequence[TrackedObject],
    image_timeout: float,
) -> DiagnosticStatus:
    """Return the state of the node.

    Args:
        node_name: fully qualified.
        device: what runs: `model`, `runtime`, `weights`.
        summary: of the stream.
        dropped: images that were replaced by a newer one before they were tracked.
        objects: of the newest frame, as the tracker gave them.
        image_timeout: seconds without an image after which the node warns.
    """
    level, text = _judge(summary, image_timeout, len(objects))
    values = {
        **device,
        'frames': summary.frames,
        'rate_hz': f'{summary.rate_hz:.2f}',
        'age_ms_p50': f'{summary.age_ms[0]:.1f}',
        'age_ms_p95': f'{summary.age_ms[1]:.1f}',
        'dropped': dropped,
        **{f'{name}_ms_p50': f'{took:.1f}' for name, took in summary.stages_ms.items()},
        **summary.counts,
        **{f'last_{name}': sentence for name, sentence in summary.last.items()},
        **{f'object_{item.id}': f'{item.state}, {item.score:.2f}' for item in objects},
    }
    return DiagnosticStatus(
        level=level,
        name=f'{node_name.lstrip("/")}: tracking',
        message=text,
        hardware_id=device.get('runtime', ''),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _judge(summary: Summary, image_timeout: float, objects: int) -> tuple[bytes, str]:
    if summary.failure:
        return DiagnosticStatus.ERROR, summary.failure
    if summary.silent_s is None:
        refused = summary.last.get('refused_images')
        return DiagnosticStatus.WARN, refused or 'no image has arrived yet'
    if summary.silent_s > image_timeout:
        return DiagnosticStatus.WARN, f'no image tracked for {summary.silent_s:.1f} s'
    return DiagnosticStatus.OK, f'{objects} objects at {summary.rate_hz:.1f} Hz'
