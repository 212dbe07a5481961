"""`tam track`: each kind of source into each kind of result."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from bagdata import IMAGE, read_bag, serialized_image, stamps
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from tam_ros.io.bag_writer import OBJECTS, BagWriter, message_types
from tam_ros.io.palette import voc_palette
from tam_ros.io.sources import Header, open_source
from tam_ros.tracking import Prompt, Tracker

FRAMES = 8
SIZE = (120, 160)
BOX = ('--prompt', '1:box:28,38,72,82')
STAMPS_NS = [10**18 + 123 + index * 10**8 for index in range(FRAMES)]
LATE_NS = 5_000_000  # from a stamp to its recording


@pytest.fixture
def bag(tmp_path, pictures) -> Path:
    """A bag of two cameras and a word a frame, recorded 5 ms after the stamps."""
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for stamp, rgb in zip(STAMPS_NS, pictures, strict=True):
            header = Header(stamp, 'optical')
            writer.write_image('/left/image', header, rgb, stamp + LATE_NS)
            writer.write_labels('/right/image', header, rgb[..., 0], stamp + LATE_NS + 1)
            word = np.array([0, 1, 0, 0, 3, 0, 0, 0, 104, 105, 0], np.uint8)  # CDR of 'hi'
            writer.write_serialized('/word', 'std_msgs/msg/String', stamp, word.tobytes())
    return path


def expected(graphs, source, prompts) -> list[np.ndarray]:
    """Track by hand; return the label images."""
    tracker = Tracker.open('efficienttam_nano', graphs)
    return [
        tracker.step(frame.rgb, frame.stamp, prompts if index == 0 else []).labels
        for index, frame in enumerate(open_source(source))
    ]


# --- results ---


def test_bag_and_overlay(video, tam, tmp_path, pictures):
    out, overlay = tmp_path / 'out.mcap', tmp_path / 'over lay.mp4'
    prompts = ['--prompt', '7:box:28,38,72,82', '--prompt', '9:point:100,100;20,20,0@3']
    assert tam(video, *prompts, '--out', out, '--overlay', overlay, '--copy', 'all') == 0
    messages = read_bag(out)
    labels, objects = messages['/track_node/labels'], messages['/track_node/objects']
    times = [round(index * 1e8) for index in range(FRAMES)]
    assert stamps(labels) == stamps(objects) == stamps(messages['/image']) == times
    ids = [[item.id for item in array.objects] for array in objects]
    assert ids == [[7]] * 3 + [[7, 9]] * (FRAMES - 3)
    assert objects[-1].objects[0].age_frames == FRAMES - 1
    for image, array in zip(labels, objects, strict=True):
        assert (image.height, image.width) == (array.height, array.width) == SIZE
        assert set(np.unique(image.data)) <= {0, 7, 9}
    (first, *_) = messages['/image']
    error = np.abs(first.data.reshape(*SIZE, 3).astype(int) - pictures[0]).mean()
    assert error < 12  # what the video's own compression costs
    assert len(list(open_source(overlay))) == FRAMES


def test_is_the_tracker_applied_frame_by_frame(video, tam, graphs, tmp_path):
    assert tam(video, *BOX, '--out', tmp_path / 'out.mcap') == 0
    by_hand = expected(graphs, video, [Prompt.box(1, (28, 38, 72, 82))])
    recorded = read_bag(tmp_path / 'out.mcap')['/track_node/labels']
    assert any(labels.any() for labels in by_hand)
    for message, labels in zip(recorded, by_hand, strict=True):
        np.testing.assert_array_equal(message.data.reshape(SIZE), labels)


def test_every_kind_of_result_holds_the_same_masks(video, tam, tmp_path):
    """Raw and PNG label images, in a file and in a folder, indexed PNG files."""
    prompts = [*BOX, '--prompt', '2:point:120,20']
    raw, png, folder = tmp_path / 'raw.mcap', tmp_path / 'bag', tmp_path / 'masks'
    assert tam(video, *prompts, '--out', raw) == 0
    assert tam(video, *prompts, '--out', png, '--format', 'bag', '--labels', 'png') == 0
    assert tam(video, *prompts, '--out', folder) == 0
    assert (png / 'metadata.yaml').exists()
    packed = read_bag(png)['/track_node/labels/compressed']
    plain = [message.data.reshape(SIZE) for message in read_bag(raw)['/track_node/labels']]
    assert [path.name for path in sorted(folder.iterdir())] == [
        f'{index:05}.png' for index in range(FRAMES)
    ]
    for index, (message, labels) in enumerate(zip(packed, plain, strict=True)):
        np.testing.assert_array_equal(cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED), labels)
        with Image.open(folder / f'{index:05}.png') as image:
            assert image.mode == 'P'
            np.testing.assert_array_equal(np.asarray(image), labels)
            np.testing.assert_array_equal(
                np.array(image.getpalette()).reshape(-1, 3)[:3], voc_palette()[:3]
            )


def test_masks_are_called_like_the_images(frames, tam, tmp_path):
    assert tam(frames, *BOX, '--out', tmp_path / 'masks') == 0
    assert {path.stem for path in (tmp_path / 'masks').iterdir()} == {
        path.stem for path in frames.iterdir()
    }


def test_coco(frames, tam, graphs, tmp_path):
    coco = pytest.importorskip('pycocotools.coco', reason='pycocotools is not installed')
    assert tam(frames, *BOX, '--prompt', '2:point:120,20@2', '--out', tmp_path / 'o.json') == 0
    opened = coco.COCO(str(tmp_path / 'o.json'))
    assert [image['file_name'] for image in opened.loadImgs(opened.getImgIds())] == [
        f'cam_{index}.png' for index in range(FRAMES)
    ]
    tracker = Tracker.open('efficienttam_nano', graphs)
    prompts = {0: Prompt.box(1, (28, 38, 72, 82)), 2: Prompt.points(2, [(120, 20)], [1])}
    found = 0
    for index, frame in enumerate(open_source(frames)):
        due = [prompts[index]] if index in prompts else []
        tracked = tracker.step(frame.rgb, frame.stamp, due).objects
        annotations = opened.loadAnns(opened.getAnnIds(imgIds=[index + 1]))
        by_id = {item['track_id']: item for item in annotations}
        assert set(by_id) == {item.id for item in tracked if item.area}
        for item in tracked:
            if item.area:
                found += 1
                np.testing.assert_array_equal(opened.annToMask(by_id[item.id]), item.mask)
                x0, y0, x1, y1 = item.box
                assert by_id[item.id]['bbox'] == [x0, y0, x1 - x0, y1 - y0]
                assert by_id[item.id]['area'] == item.area
    assert found > FRAMES


# --- prompts ---


def test_masks_as_prompts(video, tam, graphs, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[40:80, 30:70] = 5
    labels[90:110, 100:150] = 3
    Image.fromarray(labels).save(tmp_path / 'first@.png')
    assert tam(video, '--masks', tmp_path / 'first@.png', '--out', tmp_path / 'o.mcap') == 0
    prompts = [Prompt.mask(3, labels == 3), Prompt.mask(5, labels == 5)]
    by_hand = expected(graphs, video, prompts)
    recorded = read_bag(tmp_path / 'o.mcap')['/track_node/labels']
    for message, wanted in zip(recorded, by_hand, strict=True):
        np.testing.assert_array_equal(message.data.reshape(SIZE), wanted)
    late = f'{tmp_path / "first@.png"}@6'
    assert tam(video, '--masks', late, *BOX, '--out', tmp_path / 'late.mcap') == 0
    objects = read_bag(tmp_path / 'late.mcap')['/track_node/objects']
    assert [len(array.objects) for array in objects] == [1] * 6 + [3] * 2


def test_as_many_objects_as_a_mask_holds(frames, tam, tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    for number in range(18):  # more than a node has room for, unless told otherwise
        labels[20 * (number // 6) :, 24 * (number % 6) :] = number + 1
    Image.fromarray(labels).save(tmp_path / 'many.png')
    for path in sorted(frames.iterdir())[1:]:
        path.unlink()
    assert tam(frames, '--masks', tmp_path / 'many.png', '--out', tmp_path / 'o.mcap') == 0
    ((array,),) = [read_bag(tmp_path / 'o.mcap')['/track_node/objects']]
    assert len(array.objects) == 18


# --- bags ---


def test_a_bag_keeps_its_headers(bag, tam, tmp_path):
    overlay = tmp_path / 'o.mp4'
    topic = ('--topic', '/left/image')
    assert tam(bag, *topic, *BOX, '--out', tmp_path / 'o.mcap', '--overlay', overlay) == 0
    messages = read_bag(tmp_path / 'o.mcap')
    assert set(messages) == {'/track_node/labels', '/track_node/objects'}
    assert stamps(messages['/track_node/objects']) == STAMPS_NS
    assert messages['/track_node/labels'][0].header.frame_id == 'optical'
    assert open_source(overlay).rate_hz == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize('copy', [['all'], ['/left/image', 'word'], ['/right/image']])
def test_topics_are_copied_as_they_are(bag, tam, tmp_path, copy):
    from rosbags.highlevel import AnyReader

    options = [part for topic in copy for part in ('--copy', topic)]
    out = tmp_path / 'out.mcap'
    assert tam(bag, '--topic', '/left/image', *BOX, '--out', out, *options) == 0
    wanted = {'/left/image', '/right/image', '/word'}
    if copy != ['all']:
        wanted = {'/' + topic.strip('/') for topic in copy}
    with AnyReader([bag]) as reader:
        source = [(c.topic, t, bytes(d)) for c, t, d in reader.messages() if c.topic in wanted]
    with AnyReader([out]) as reader:
        written = [(c.topic, t, bytes(d)) for c, t, d in reader.messages()]
        assert {c.topic: c.msgtype for c in reader.connections}['/track_node/labels'] == IMAGE
    own = {'/track_node/labels', '/track_node/objects'}
    assert [item for item in written if item[0] not in own] == source
    # The results of an image lie where it lies.
    times = {time for topic, time, _ in written if topic in own}
    assert times == {stamp + LATE_NS for stamp in STAMPS_NS}


def test_topics_whose_definition_is_missing(tam, tmp_path, pictures, capsys):
    """Early SQLite bags carry none; those of ROS itself are known, others are left out."""
    types = message_types()
    time = types.types['builtin_interfaces/msg/Time'](0, 8)
    header = types.types['std_msgs/msg/Header'](time, '')
    writer = Writer(tmp_path / 'old', version=9, storage_plugin=StoragePlugin.SQLITE3)
    array = types.types[OBJECTS](header, 1, 1, [])
    with writer:
        images = writer.add_connection('/image', IMAGE, typestore=types)
        writer.write(images, 7, serialized_image(Header(7, ''), pictures[0]))
        own = writer.add_connection('/own', OBJECTS, typestore=types)
        writer.write(own, 8, types.serialize_cdr(array, OBJECTS))
    with sqlite3.connect(tmp_path / 'old' / 'old.db3') as database:
        database.execute('DELETE FROM message_definitions')
    out = tmp_path / 'o.mcap'
    assert tam(tmp_path / 'old', *BOX, '--out', out, '--copy', 'all') == 0
    error = capsys.readouterr().err
    assert f'/own is not copied: the bag lacks the definition of {OBJECTS}' in error
    assert set(read_bag(out)) == {'/image', '/track_node/labels', '/track_node/objects'}
    assert tam(tmp_path / 'old', *BOX, '--out', tmp_path / 'p.mcap', '--copy', '/own') == 2
    assert '/own cannot be copied' in capsys.readouterr().err


def test_results_of_an_earlier_run_are_not_copied(bag, tam, tmp_path, capsys):
    first, again = tmp_path / 'first.mcap', tmp_path / 'again.mcap'
    topic = ('--topic', '/left/image')
    assert tam(bag, *topic, *BOX, '--out', first, '--copy', 'all') == 0
    assert tam(first, *topic, *BOX, '--out', again, '--copy', 'all') == 0
    assert '/track_node/labels is not copied' in capsys.readouterr().err
    assert {topic: len(given) for topic, given in read_bag(again).items()} == dict.fromkeys(
        ('/left/image', '/right/image', '/word', '/track_node/labels', '/track_node/objects'),
        FRAMES,
    )


def test_frames_that_go_back_in_time_are_left_out(tam, tmp_path, pictures, capsys):
    stamps_ns = [1000, 2000, 2000, 1500, 3000]  # written twice; out of order
    with BagWriter(tmp_path / 'in.mcap') as writer:
        for place, (stamp, rgb) in enumerate(zip(stamps_ns, pictures, strict=False)):
            message = serialized_image(Header(stamp * 10**6, ''), rgb)
            writer.write_serialized('/image', IMAGE, place, message)
    assert tam(tmp_path / 'in.mcap', *BOX, '--out', tmp_path / 'out.mcap') == 0
    kept = stamps(read_bag(tmp_path / 'out.mcap')['/track_node/objects'])
    assert kept == [1000 * 10**6, 2000 * 10**6, 3000 * 10**6]
    assert capsys.readouterr().err.count('left out') == 2


def test_whoever_sits_there_is_asked_for_the_topic(bag, tam, tmp_path, monkeypatch, capsys):
    answers = iter(['x', '3', ' 2 '])
    monkeypatch.setattr(sys.stdin, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr('builtins.input', lambda _: next(answers))
    assert tam(bag, *BOX, '--out', tmp_path / 'o.mcap', '--copy', '/right/image') == 0
    listing = capsys.readouterr().out
    assert '1  /left/image' in listing and '2  /right/image' in listing
    labels = read_bag(tmp_path / 'o.mcap')
    tracked_right = open_source(bag, '/right/image')
    assert stamps(labels['/track_node/labels']) == [f.header.stamp_ns for f in tracked_right]


def test_progress_names_rate_and_time_left(video, tam, tmp_path, capsys):
    assert tam(video, *BOX, '--out', tmp_path / 'out.mcap') == 0
    captured = capsys.readouterr()
    assert f'{FRAMES}/{FRAMES}' in captured.err and 'frame/s' in captured.err
    assert f'out.mcap: {FRAMES} frames' in captured.out


# --- real recordings ---


@pytest.mark.slow
def test_real_bag(tam, tmp_path, shared_data):
    source = shared_data / 'bags' / 'apc_scene0000_mcap'
    out = tmp_path / 'out.mcap'
    assert tam(source, '--prompt', '1:point:320,240', '--out', out, '--copy', 'all') == 0
    messages, original = read_bag(out), read_bag(source)
    assert {topic: len(given) for topic, given in messages.items()} == {
        **{topic: len(given) for topic, given in original.items()},
        '/track_node/labels': 8,
        '/track_node/objects': 8,
    }
    assert len(list(open_source(out, '/camera/color/image_raw'))) == 8


def test_real_ros1_bag(tam, tmp_path, shared_data):
    source = shared_data / 'bags' / 'ros1' / 'aruco_images.bag'
    out = tmp_path / 'out.mcap'
    assert tam(source, '--prompt', '1:point:320,240', '--out', out, '--copy', 'all') == 0
    messages, original = read_bag(out), read_bag(source)
    assert set(messages) - set(original) == {'/track_node/labels', '/track_node/objects'}
    for topic, given in original.items():
        assert len(messages[topic]) == len(given)
        assert stamps(messages[topic]) == stamps(given)
    (info,) = [given for given in messages.values() if hasattr(given[0], 'distortion_model')]
    (info1,) = [given for given in original.values() if hasattr(given[0], 'distortion_model')]
    np.testing.assert_array_equal(info[0].k, info1[0].K)  # renamed in ROS 2
    np.testing.assert_array_equal(info[0].d, info1[0].D)


def test_real_annotations_as_prompts(tam, tmp_path, shared_data):
    frames = tmp_path / 'bmx'
    frames.mkdir()
    for index in range(2):
        name = f'{index:05}.jpg'
        (frames / name).symlink_to(shared_data / 'JPEGImages' / 'bmx-trees' / name)
    masks = shared_data / 'FirstFrameMulti' / 'bmx-trees_00000.png'
    assert tam(frames, '--masks', masks, '--out', tmp_path / 'o.json') == 0
    written = json.loads((tmp_path / 'o.json').read_text())
    assert {item['track_id'] for item in written['annotations']} <= {1, 2}
    with Image.open(masks) as image:
        assert [item['height'] for item in written['images']] == [image.height] * 2


def test_the_bag_is_read_by_the_mcap_packages(bag, tam, tmp_path):
    """Independent readers find the same messages, definitions taken from the bag alone."""
    reader = pytest.importorskip('mcap.reader', reason='the package mcap is not installed')
    ros2 = pytest.importorskip(
        'mcap_ros2.decoder', reason='the package mcap-ros2-support is not installed'
    )
    out = tmp_path / 'out.mcap'
    assert tam(bag, '--topic', '/left/image', *BOX, '--out', out, '--copy', 'all') == 0
    ours = read_bag(out)
    theirs: dict[str, list] = {}
    with out.open('rb') as stream:
        opened = reader.make_reader(stream, decoder_factories=[ros2.DecoderFactory()])
        for _, channel, _, message in opened.iter_decoded_messages():
            theirs.setdefault(channel.topic, []).append(message)
    assert {topic: len(given) for topic, given in theirs.items()} == dict.fromkeys(ours, FRAMES)
    for topic in ('/track_node/labels', '/left/image', '/right/image'):
        assert stamps(theirs[topic]) == stamps(ours[topic]) == STAMPS_NS
        for their, own in zip(theirs[topic], ours[topic], strict=True):
            assert bytes(their.data) == bytes(own.data)
    assert theirs['/word'][0].data == 'hi'
    for their, own in zip(theirs['/track_node/objects'], ours['/track_node/objects'], strict=True):
        assert [(item.id, item.area, item.score) for item in their.objects] == [
            (item.id, item.area, item.score) for item in own.objects
        ]
