# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The statuses on /diagnostics: their values, levels and messages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from tam_ros.ros.diagnostics.statistics import DEPTH_OFFSET, NO_POSITIONS, POSITIONS, Statistics
from tam_ros.ros.diagnostics.status import Report, statuses
from tam_ros.ros.parameters import Parameters
from tam_ros.runtime.base import DeviceMemory

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LIMITS = Parameters(image_timeout=2.0, max_age_warn=0.5, min_rate_warn=5.0, max_dropped_warn=0.9)
INFO = {'model': 'm', 'runtime': 'r', 'weights': 'w', 'device': 'gpu', 'precision': 'float16'}


def stream(
    rate_hz=10.0, age_s=0.1, arrival_s=0.02, drop_every=0, silence_s=0.0, events=(), lost=0
):
    """Return the summary of five seconds of a stream."""
    now = [100.0]
    statistics = Statistics(lambda: now[0])
    for index in range(int(5 * rate_hz)):
        now[0] += 1 / rate_hz
        statistics.received(arrival_s, dropped=bool(drop_every and index % drop_every))
        statistics.tracked(age_s)
        statistics.stages({'decode': 0.001, 'track': 0.04})
    for what, text in events:
        if what == 'failures':
            statistics.failed(text)
        else:
            statistics.count(what, text)
    statistics.lost(lost)
    now[0] += silence_s
    return statistics.summary()


def report(summary=None, **fields):
    given = {'name': '/cam/track_node', 'state': 'active', 'topic': '/cam/image', 'info': INFO}
    return Report(**{**given, **fields}, summary=summary or stream())


def entry(part, made, limits=LIMITS):
    (found,) = [one for one in statuses(made, limits) if one.name == f'cam/track_node: {part}']
    return found, {item.key: item.value for item in found.values}


def test_a_good_state():
    for status in statuses(report(), LIMITS):
        assert status.level == OK, status.message
    found, values = entry('input', report())
    assert found.message == '10.0 images/s'
    assert (values['received'], values['arrival_age_ms_p50']) == ('50', '20.0')
    assert (values['dropped'], values['dropped_share']) == ('0', '0.000')
    assert (values['lost'], values['lost_share']) == ('0', '0.000')
    found, values = entry('tracking', report())
    assert found.message == '0 objects at 10.0 Hz'
    assert (values['age_ms_p50'], values['age_ms_p95'], values['age_ms_max']) == ('100.0',) * 3
    assert (values['track_ms_p50'], values['track_ms_p95']) == ('40.0', '40.0')
    assert entry('depth', report())[0].message == 'depth is not used'
    found, values = entry('model', report(resident_bytes=300_000_000))
    assert found.message == 'm, r, float16'
    assert (values['precision'], values['process_mb']) == ('float16', '300')


def test_the_hardware_id_is_the_computer():
    made = statuses(report(host='robot7'), LIMITS)
    assert {status.hardware_id for status in made} == {'robot7'}


def test_what_was_not_measured_is_not_reported():
    """A stage that has not run lately and a stream without images have no percentiles."""
    statistics = Statistics()
    for summary in (statistics.summary(), stream(silence_s=60)):
        for status in statuses(report(summary, state='inactive'), LIMITS):
            values = [f'{item.key} {item.value}' for item in status.values]
            assert not [text for text in (status.message, *values) if 'nan' in text]


def test_detections_that_are_not_used_are_counted_by_reason():
    dropped = [('dropped_detections_score', 'too low'), ('dropped_detections_class', 'a dog')]
    found, values = entry('prompts', report(stream(events=dropped)))
    assert found.level == OK
    assert values['dropped_detections_score'] == '1'
    assert values['last_dropped_detections_class'] == 'a dog'


# Each row: the status, a report with a problem, the level, and words of the message.
@pytest.mark.parametrize(
    ('part', 'made', 'level', 'words'),
    [
        pytest.param(
            'input',
            report(lost_ports=[7411, 7413], state='inactive'),
            ERROR,
            'port 7411, 7413 of this process: new publishers and clients no longer reach it',
            id='nothing reaches the node',
        ),
        pytest.param(
            'input',
            report(stream(silence_s=3)),
            WARN,
            'no image for 3.0 s (limit: image_timeout 2)',
            id='the camera stopped',
        ),
        pytest.param(
            'input',
            report(stream(silence_s=11)),
            ERROR,
            'limit: 5 x image_timeout 2)',
            id='the camera stopped long ago',
        ),
        pytest.param(
            'input',
            report(stream(rate_hz=0.1, silence_s=4)),
            WARN,
            'no image has arrived yet',
            id='no image ever',
        ),
        pytest.param(
            'input',
            report(stream(arrival_s=-0.8)),
            WARN,
            'stamps are 0.80 s ahead of the clock',
            id='clocks differ',
        ),
        pytest.param(
            'input',
            report(stream(arrival_s=-1e9, age_s=-1e9), clock_missing=True),
            WARN,
            'nothing arrives on /clock, so ages are not known: play the bag with --clock',
            id='use_sim_time without a clock',
        ),
        pytest.param(
            'input',
            report(stream(silence_s=3.0), images_problem='nobody publishes /cam/image'),
            WARN,
            'nobody publishes /cam/image; no image for 3.0 s (limit: image_timeout 2)',
            id='the graph says why no image arrives',
        ),
        pytest.param(
            'input',
            report(images_problem='2 publishers on /cam/image'),
            WARN,
            '2 publishers on /cam/image',
            id='mixed publishers while images arrive',
        ),
        pytest.param(
            'depth',
            report(depth_problem='nobody publishes /cam/depth'),
            WARN,
            'nobody publishes /cam/depth',
            id='no depth',
        ),
        pytest.param(
            'input',
            report(stream(lost=50)),
            WARN,
            '50% of the images were lost in transport (limit: 5%): start the camera, not only',
            id='lost by the transport',
        ),
        pytest.param(
            'input',
            report(stream(events=[('refused_images', 'step is too short')])),
            WARN,
            '1 refused images in 10 s: step is too short',
            id='refused images',
        ),
        pytest.param(
            'input',
            report(stream(events=[('stale_images', 'older')])),
            WARN,
            'stale',
            id='stale',
        ),
        pytest.param(
            'tracking',
            report(stream(age_s=0.6)),
            WARN,
            '0.60 s behind their images (p95)',
            id='results are late',
        ),
        pytest.param(
            'tracking',
            report(stream(age_s=2.6)),
            ERROR,
            '5 x max_age_warn 0.5',
            id='very late',
        ),
        pytest.param(
            'tracking',
            report(stream(age_s=1e6)),
            ERROR,
            'use_sim_time',
            id='a recording',
        ),
        pytest.param(
            'tracking',
            report(stream(rate_hz=4)),
            WARN,
            '4.00 images per second are tracked (limit: min_rate_warn 5)',
            id='slow',
        ),
        pytest.param(
            'tracking',
            report(stream(rate_hz=0.8)),
            ERROR,
            'min_rate_warn 5 / 5',
            id='very slow',
        ),
        pytest.param(
            'tracking',
            report(stream(rate_hz=40, drop_every=20)),
            WARN,
            '95% of the images are dropped (limit: max_dropped_warn 90%)',
            id='most are dropped',
        ),
        pytest.param(
            'tracking',
            report(busy_s=2.5),
            WARN,
            'processed for 2.5 s',
            id='a step that hangs',
        ),
        pytest.param(
            'tracking',
            report(stream(events=[('failures', 'device lost')])),
            ERROR,
            'tracking failed: device lost',
            id='failure',
        ),
        pytest.param(
            'prompts',
            report(stream(events=[('refused_requests', 'box is empty')])),
            WARN,
            '1 refused in 10 s: box is empty',
            id='refused prompt',
        ),
        pytest.param(
            'prompts',
            report(stream(events=[('dropped_detections', 'no score')])),
            WARN,
            '1 detections were not used in 10 s: no score',
            id='detections dropped by mistake',
        ),
        pytest.param(
            'tracking',
            report(namesake='2 nodes are named /cam/track_node'),
            WARN,
            '2 nodes are named',
            id='another node of this name',
        ),
        pytest.param(
            'model',
            report(info={**INFO, 'weights': 'untrained'}),
            WARN,
            'untrained',
            id='untrained weights',
        ),
        pytest.param(
            'depth',
            report(stream(events=[('images_without_depth', 'no camera info')])),
            WARN,
            '1 images without positions in 10 s: no camera info',
            id='no positions',
        ),
        pytest.param(
            'model',
            report(device_memory=DeviceMemory(10**9, 10**8, 8 * 10**9)),
            WARN,
            '100 MB of device memory are free (limit: 5% of it)',
            id='no memory left',
        ),
    ],
)
def test_limits(part, made, level, words):
    found, _ = entry(part, made)
    assert found.level == level, found.message
    assert words in found.message
    for other in statuses(made, LIMITS):  # a problem is in one status only
        assert other.name == found.name or other.level == OK, other.message


def test_zero_is_no_limit():
    off = Parameters(image_timeout=2.0, max_age_warn=0.0, min_rate_warn=0.0, max_dropped_warn=0.0)
    made = report(stream(rate_hz=0.8, age_s=60, arrival_s=-3, drop_every=9))
    assert [status.level for status in statuses(made, off)] == [OK] * 5


def test_the_worst_comes_first():
    made = report(stream(age_s=0.6, events=[('failures', 'device lost')]))
    found, _ = entry('tracking', made)
    assert found.level == ERROR
    assert found.message.startswith('tracking failed: device lost; results are')


def test_a_node_that_is_not_active_has_no_limits():
    made = report(stream(age_s=60, silence_s=60), state='inactive')
    assert [status.level for status in statuses(made, LIMITS)] == [OK] * 5
    found, values = entry('tracking', made)
    assert (found.message, values['lifecycle']) == ('inactive', 'inactive')


def test_the_activity_while_it_configures():
    made = report(state='configuring', info={}, activity='building memory_attention 43 %')
    found, values = entry('model', made)
    assert found.message == values['activity'] == 'building memory_attention 43 %'
    found, _ = entry('model', replace(made, activity=''))
    assert found.message == 'no model is open'


def test_the_offset_of_the_used_depth():
    statistics = Statistics()
    statistics.stages({DEPTH_OFFSET: 0.007, 'objects': 0.002})
    found, values = entry('depth', report(statistics.summary()))
    assert found.message == 'depth is used'
    assert (values['offset_ms_p50'], values['offset_ms_max']) == ('7.0', '7.0')
    _, values = entry('tracking', report(statistics.summary()))
    assert 'objects_ms_p50' in values
    assert 'depth_offset_ms_p50' not in values, 'this is not the time of a stage'


# Each row: positions that are known and not in the last seconds, level and message.
@pytest.mark.parametrize(
    ('known', 'unknown', 'level', 'message'),
    [
        pytest.param(3, 0, DiagnosticStatus.OK, 'positions are known', id='all'),
        pytest.param(
            3, 1, DiagnosticStatus.OK, 'positions are known, except 1 of 4 in 10 s', id='most'
        ),
        pytest.param(
            0,
            2,
            DiagnosticStatus.WARN,
            '2 objects without a position in 10 s: the reason',
            id='none',
        ),
    ],
)
def test_whether_positions_are_known_depends_on_the_objects(known, unknown, level, message):
    statistics = Statistics()
    statistics.stages({DEPTH_OFFSET: 0.007})
    for _ in range(known):
        statistics.count(POSITIONS, '')
    for _ in range(unknown):
        statistics.count(NO_POSITIONS, 'the reason')
    found, values = entry('depth', report(statistics.summary()))
    assert (found.level, found.message) == (level, message)
    assert values.get('objects_without_position', '0') == str(unknown)


def test_queues_and_memory():
    made = report(
        waiting_prompts=2,
        waiting_requests=1,
        late_objects=(3, 5),
        device_memory=DeviceMemory(1_500_000_000, 4_000_000_000, 8_000_000_000),
    )
    found, values = entry('prompts', made)
    assert found.message == '2 waiting'
    assert values['replayed_objects'] == '3, 5'
    assert (values['waiting_prompts'], values['waiting_requests']) == ('2', '1')
    _, values = entry('model', made)
    assert values['device_used_mb'] == '1500'
    assert (values['device_free_mb'], values['device_total_mb']) == ('4000', '8000')


@pytest.mark.parametrize(
    ('used', 'message'),
    [
        (58_981, '0 waiting'),
        (58_982, '6553 of 65535 ids are left for new objects: ~/reset when that is possible'),
        (65_535, '0 of 65535 ids are left for new objects: ~/reset when that is possible'),
    ],
)
def test_when_few_ids_are_left(used, message):
    found, values = entry('prompts', report(used_ids=used))
    assert found.message == message
    assert values['used_ids'] == str(used)


def test_the_detector_of_a_node_that_has_one():
    facts = {
        'detector': 'everything',
        'looks': 3,
        'last_look_ms': '210',
        'share_of_time': '0.21',
        'problem': '',
    }
    found, values = entry('detector', report(detector=facts))
    assert (found.level, found.message) == (OK, 'everything, 210 ms')
    assert values.keys() == facts.keys() - {'problem'}
    found, _ = entry('detector', report(detector={**facts, 'problem': 'it failed'}))
    assert (found.level, found.message) == (ERROR, 'it failed')
    assert not [one for one in statuses(report(), LIMITS) if one.name.endswith('detector')]
