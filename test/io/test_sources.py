"""Videos, image folders and bags: their frames, and what is said about broken ones."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from bagdata import IMAGE, serialized_image

from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.bags import BagSource, image_topics
from tam_ros.io.sources import Header, SourceError, open_source
from tam_ros.io.video_writer import VideoWriteError, VideoWriter

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def data(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'../shared/data/{"/".join(parts)} is not here')
    return path


def grey(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def write_video(path: Path, frames: int = 12, rate_hz: float = 10) -> Path:
    rng = np.random.default_rng(0)
    with VideoWriter(path, rate_hz) as writer:
        for index in range(frames):
            noise = rng.integers(0, 30, (120, 160, 3), np.uint8)
            writer.write(grey(20 * index, (120, 160)) + noise)
    return path


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), grey(10 * index))
    return folder


def write_bag(path: Path, topics: tuple[str, ...] = ('/image',), frames: int = 5) -> Path:
    with BagWriter(path) as writer:
        for index in range(frames):
            for topic in topics:
                writer.write_image(topic, Header(10**9 * (index + 5), 'camera'), grey(index))
    return path


# --- videos ---


def test_video(tmp_path):
    source = open_source(write_video(tmp_path / 'a clip.mp4'))
    frames = list(source)
    assert (source.count, source.rate_hz, len(frames)) == (12, 10, 12)
    assert [frame.stamp for frame in frames] == pytest.approx(np.arange(12) / 10)
    assert frames[0].rgb.shape == (120, 160, 3) and frames[0].rgb.dtype == np.uint8
    assert [frame.rgb.mean() for frame in frames] == pytest.approx(
        20 * np.arange(12) + 14.5, abs=4
    )
    assert len(list(source)) == 12  # and once more from the start


def test_video_colours_are_rgb(tmp_path):
    with VideoWriter(tmp_path / 'red.mp4', 5) as writer:
        writer.write(np.full((64, 64, 3), (200, 30, 60), np.uint8))
    (frame,) = open_source(tmp_path / 'red.mp4')
    assert frame.rgb.mean(axis=(0, 1)) == pytest.approx((200, 30, 60), abs=8)


def test_video_rate_can_be_replaced(tmp_path):
    source = open_source(write_video(tmp_path / 'clip.mp4'), rate_hz=25)
    assert [frame.stamp for frame in source][-1] == pytest.approx(11 / 25)


def test_truncated_video_gives_what_it_has_and_then_says_so(tmp_path):
    # AVI keeps its index at the end and needs none, so that a cut file still opens.
    path = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for level in range(30):
        writer.write(grey(8 * level, (120, 160)))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    given = []
    with pytest.raises(SourceError, match='cut short or damaged: it announces 30 frames'):
        for frame in open_source(path):
            given.append(frame)
    assert 5 < len(given) < 25


def break_mp4(path: Path) -> None:
    path.write_bytes(write_video(path).read_bytes()[:2000])


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda path: None, 'does not exist'),
        (lambda path: path.write_bytes(b''), 'is empty'),
        (lambda path: path.write_bytes(b'no video at all' * 99), 'cannot be opened as a video'),
        (break_mp4, 'cannot be opened as a video'),  # the index of an MP4 is at its end
    ],
)
def test_unreadable_video(tmp_path, make, words):
    path = tmp_path / 'clip.mp4'
    make(path)
    with pytest.raises(SourceError, match=words) as error:
        list(open_source(path))
    assert 'clip.mp4' in str(error.value)


@pytest.mark.parametrize('rate', [0, -5, float('nan'), float('inf'), 1e6])
def test_unusable_rate(tmp_path, rate):
    with pytest.raises(SourceError, match='not usable'):
        open_source(write_video(tmp_path / 'clip.mp4'), rate_hz=rate)


@pytest.mark.parametrize(('name', 'frames'), [('01_dog.mp4', 289), ('16_robotarm.mp4', 250)])
def test_real_video(name, frames):
    source = open_source(data('videos', name))
    assert source.count == frames
    iterator = iter(source)
    first, second = next(iterator), next(iterator)
    assert first.rgb.shape == (720, 1280, 3)
    assert 0 < second.stamp - first.stamp < 0.1
    assert first.rgb.std() > 10


# --- writing videos ---


@pytest.mark.parametrize(
    ('name', 'words'), [('out.avi', r'end in \.mp4'), ('no such folder/out.mp4', 'not a folder')]
)
def test_video_that_cannot_be_written(tmp_path, name, words):
    with pytest.raises(VideoWriteError, match=words):
        VideoWriter(tmp_path / name, 10)


def test_video_frames_must_keep_their_size(tmp_path):
    with VideoWriter(tmp_path / 'out.mp4', 10) as writer:
        writer.write(grey(0))
        with pytest.raises(VideoWriteError, match='does not fit'):
            writer.write(grey(0, (50, 64)))


def test_video_is_complete_after_an_interruption(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / 'out.mp4', 10) as writer:
        for level in range(7):
            writer.write(grey(level))
        raise KeyboardInterrupt
    assert len(list(open_source(tmp_path / 'out.mp4'))) == 7


# --- folders of images ---


def test_image_folder_in_natural_order(tmp_path):
    names = ['1.png', '2.png', '10.jpg', '9.PNG']
    folder = write_images(tmp_path / 'frames', names)
    (folder / 'notes.txt').write_text('not an image')
    source = open_source(folder)
    levels = [round(float(frame.rgb.mean())) for frame in source]
    assert levels == [0, 10, 30, 20]
    assert [frame.stamp for frame in source] == pytest.approx(np.arange(4) / 30)
    assert source.count == 4


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'no data'),
        (b'not an image', 'no known picture format'),
        (cv2.imencode('.jpg', grey(3))[1].tobytes()[:-20], 'cut short'),
    ],
)
def test_broken_image_is_named(tmp_path, content, words):
    folder = write_images(tmp_path / 'frames', ['1.jpg', '2.jpg'])
    (folder / '2.jpg').write_bytes(content)
    with pytest.raises(SourceError, match=words) as error:
        list(open_source(folder))
    assert '2.jpg' in str(error.value)


def test_folder_without_images(tmp_path):
    (tmp_path / 'notes.txt').write_text('nothing')
    with pytest.raises(SourceError, match='no image file'):
        open_source(tmp_path)


def test_real_folder():
    source = open_source(data('JPEGImages', 'dog'), rate_hz=24)
    frames = list(source)
    assert len(frames) == 60 and frames[0].rgb.shape == (480, 854, 3)


# --- bags ---


@pytest.mark.parametrize('name', ['drive.mcap', 'drive'])  # a single file, or a bag's folder
def test_bag(tmp_path, name):
    source = open_source(write_bag(tmp_path / name))
    frames = list(source)
    assert source.count == 5 and source.topic == '/image'
    assert [frame.header for frame in frames] == [
        Header(10**9 * k, 'camera') for k in range(5, 10)
    ]
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]


def test_several_image_topics_are_listed(tmp_path):
    path = write_bag(tmp_path / 'drive.mcap', ('/left/image', '/right/image'))
    with pytest.raises(SourceError, match='choose one') as error:
        open_source(path)
    assert '/left/image' in str(error.value) and '/right/image' in str(error.value)
    assert open_source(path, topic='/right/image').topic == '/right/image'
    assert open_source(path, topic='left/image').topic == '/left/image'


def test_a_topic_that_is_not_there(tmp_path):
    path = write_bag(tmp_path / 'drive.mcap')
    with pytest.raises(SourceError, match="no image topic '/imagge'; it has /image"):
        open_source(path, topic='/imagge')


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2000:20000] = b'\xff' * 18000
    path.write_bytes(content)


@pytest.mark.parametrize(
    'damage',
    [
        cut_in_half,  # recording was killed: no index at the end
        overwrite_middle,  # bad disk
        lambda path: path.write_bytes(b''),
        lambda path: path.write_bytes(b'\x89MCAP0\r\n'),
        lambda path: path.write_bytes(b'not a bag' * 200),
    ],
)
@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag'])
def test_damaged_bag(tmp_path, damage, suffix):
    path = write_bag(tmp_path / 'drive.mcap').rename(tmp_path / f'drive{suffix}')
    damage(path)
    with pytest.raises(SourceError, match='cannot be read as a bag') as error:
        list(open_source(path))
    assert path.name in str(error.value)


def test_bag_folder_whose_file_is_gone(tmp_path):
    folder = write_bag(tmp_path / 'drive')
    (folder / 'drive.mcap').unlink()
    with pytest.raises(SourceError, match='missing'):
        open_source(folder)


def test_bag_without_images(tmp_path):
    with BagWriter(tmp_path / 'empty.mcap'):
        pass
    with pytest.raises(SourceError, match='no image topic'):
        open_source(tmp_path / 'empty.mcap')


def test_topic_and_rate_belong_to_their_kinds(tmp_path):
    with pytest.raises(SourceError, match='is no bag'):
        open_source(write_video(tmp_path / 'clip.mp4'), topic='/image')
    with pytest.raises(SourceError, match='stamps give the rate'):
        open_source(write_bag(tmp_path / 'drive.mcap'), rate_hz=10)


@pytest.mark.parametrize('name', ['', 'apc_scene0000_mcap.mcap'])
def test_real_mcap_takes_the_colour_topic(name):
    source = open_source(data('bags', 'apc_scene0000_mcap') / name)
    assert source.topic == '/camera/color/image_raw'  # the other image topic holds depth
    frames = list(source)
    assert len(frames) == source.count == 8
    assert frames[0].rgb.shape == (480, 640, 3) and frames[0].rgb.std() > 20
    stamps = [frame.stamp for frame in frames]
    assert stamps == sorted(stamps) and frames[0].header.frame_id


def test_depth_can_not_be_asked_for():
    path = data('bags', 'apc_scene0000_mcap')
    with pytest.raises(SourceError, match='measurements'):
        list(open_source(path, topic='/camera/aligned_depth_to_color/image_raw'))


def test_real_ros1_bag():
    source = open_source(data('bags', 'ros1', 'aruco_images.bag'))
    (frame,) = source
    assert frame.rgb.ndim == 3 and frame.rgb.std() > 10
    assert frame.stamp > 1e9


@pytest.mark.parametrize('folder', ['test_bag_mcap', 'test_bag_sqlite3'])
def test_bags_with_malformed_images(folder):
    path = data('bags', 'odd', folder)
    assert len(image_topics(path)) == 2
    with pytest.raises(SourceError, match='no usable image .*too short: 30 bytes'):
        list(BagSource(path, '/test/sensor_msgs/image'))
    with pytest.raises(SourceError, match='no usable image'):
        list(BagSource(path, '/test/sensor_msgs/compressed_image'))


def test_malformed_messages_between_good_ones_are_left_out(tmp_path, caplog):
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for index in range(3):
            header = Header(index + 1, 'camera')
            writer.write_image('/image', header, grey(index))
            broken = serialized_image(header, grey(index), missing=5)
            writer.write_serialized('/image', IMAGE, header.stamp_ns, broken)
    assert [int(frame.rgb[0, 0, 0]) for frame in open_source(path)] == [0, 1, 2]
    assert caplog.text.count('too short') == 3


def test_truncated_copy_of_a_real_bag(tmp_path):
    original = data('bags', 'apc_scene0000_mcap', 'apc_scene0000_mcap.mcap')
    path = Path(shutil.copy(original, tmp_path))
    path.write_bytes(path.read_bytes()[:-100])
    given = []
    with pytest.raises(SourceError, match='ends or is damaged at byte') as error:
        for frame in open_source(path):
            given.append(frame)
    assert path.name in str(error.value)
    whole = list(open_source(original))
    assert [frame.header for frame in given] == [frame.header for frame in whole]
    np.testing.assert_array_equal(given[-1].rgb, whole[-1].rgb)


def test_killed_recording(tmp_path):
    """Half an MCAP file: the topics, the rate and the messages up to there."""
    rng = np.random.default_rng(0)
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for index in range(20):
            header = Header(10**9 + index * 10**8, 'camera')
            writer.write_image('/image', header, rng.integers(0, 255, (200, 300, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = open_source(path)
    given = []
    with pytest.raises(SourceError, match='damaged'):
        for frame in source:
            given.append(frame)
    assert 5 <= len(given) < 10 and source.count == len(given)
    assert source.rate_hz == pytest.approx(10)
    assert given[-1].header == Header(10**9 + (len(given) - 1) * 10**8, 'camera')
    # A file that is longer by now is looked at anew.
    path.write_bytes(content[: len(content) * 3 // 4])
    assert open_source(path).count > len(given)


def test_killed_recording_without_the_package_mcap(tmp_path, monkeypatch):
    path = write_bag(tmp_path / 'drive.mcap')
    cut_in_half(path)
    monkeypatch.setitem(sys.modules, 'tam_ros.io.mcap_salvage', None)
    with pytest.raises(SourceError, match='pip install mcap'):
        open_source(path)


def test_when_an_image_was_recorded(tmp_path):
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        writer.write_image('/image', Header(5, 'camera'), grey(0), recorded_ns=9)
        writer.write_image('/image', Header(12, 'camera'), grey(0))
    frames = list(open_source(tmp_path / 'drive.mcap'))
    assert [(f.header.stamp_ns, f.recorded_ns) for f in frames] == [(5, 9), (12, 12)]


def test_stamps_are_those_of_the_node():
    """Nanoseconds divided, not multiplied: the floats differ in the last bit otherwise."""
    stamps_ns = [1_700_000_000_123_456_789 + 33_366_700 * index for index in range(50)]
    assert all(Header(stamp, '').stamp == stamp / 1_000_000_000 for stamp in stamps_ns)
