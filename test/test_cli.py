"""`tam`: what its commands do, and what they answer to input that cannot be used."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bagdata import IMAGE, serialized_image
from rosbags.highlevel import AnyReader

from tam_ros import catalogue
from tam_ros.cli import main
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.sources import Header, open_source
from tam_ros.io.video_writer import VideoWriter

DATA = Path(__file__).resolve().parents[2] / 'shared' / 'data'
FRAMES = 8
SIZE = (120, 160)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TAM_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='session')
def graphs(tmp_path_factory) -> str:
    """Graphs of the small model with random numbers: enough to see everything move."""
    pytest.importorskip('torch', reason='torch is needed to make graphs to track with')
    folder = tmp_path_factory.mktemp('graphs') / 'nano'
    arguments = ['export', 'efficienttam_nano', '--weights', 'untrained', '--out', str(folder)]
    assert main(arguments) == 0
    return str(folder)


@pytest.fixture(scope='session')
def pictures() -> np.ndarray:
    """A textured square that moves over a textured ground, uint8 [N, H, W, 3]."""
    rng = np.random.default_rng(3)
    ground = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), SIZE[::-1])
    square = cv2.resize(rng.integers(0, 255, (5, 5, 3), np.uint8), (40, 40))
    frames = np.repeat(ground[None], FRAMES, axis=0)
    for index, frame in enumerate(frames):
        frame[40:80, 30 + 4 * index : 70 + 4 * index] = square
    return frames


@pytest.fixture
def video(tmp_path, pictures) -> Path:
    path = tmp_path / 'my clip.mp4'
    with VideoWriter(path, 10) as writer:
        for rgb in pictures:
            writer.write(rgb)
    return path


def read(path: Path) -> dict[str, list]:
    messages: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append(message)
    return messages


def stamps(messages: list) -> list[int]:
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in messages]


# --- models and weights ---


def test_models_lists_the_catalogue(capsys, cache):
    assert main(['models']) == 0
    before = capsys.readouterr().out
    for name, model in catalogue.models().items():
        assert name in before and model.description in before
    assert '`tam weights get efficienttam_ti`' in before
    (cache / 'weights').mkdir(parents=True)
    (cache / 'weights' / 'efficienttam_ti.pt').write_bytes(b'')
    assert main(['models']) == 0
    assert f'in {cache}/weights/efficienttam_ti.pt' in capsys.readouterr().out


OFFICIAL = [name for name, model in catalogue.models().items() if 'repo' in model.weights]


@pytest.mark.parametrize('name', OFFICIAL)
def test_weights_get_puts_the_file_where_the_tracker_looks(name, monkeypatch, capsys):
    hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')
    from tam_ros.runtime.factory import find_weights

    asked = []

    def download(repo, file, local_dir):
        asked.append((repo, file))
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / file).write_bytes(b'a checkpoint')

    monkeypatch.setattr(hub, 'hf_hub_download', download)
    assert main(['weights', 'get', name]) == 0
    found = find_weights(catalogue.model(name), None, 'torch')
    assert found.read_bytes() == b'a checkpoint'
    assert str(found) in capsys.readouterr().out
    assert asked == [('yunyangx/efficient-track-anything', f'{name}.pt')]
    assert main(['weights', 'get', name]) == 0
    assert 'is here already' in capsys.readouterr().out
    assert len(asked) == 1


def test_weights_that_cannot_be_fetched(monkeypatch, capsys):
    hub = pytest.importorskip('huggingface_hub', reason='huggingface_hub is not installed')

    def download(*_, **__):
        raise ConnectionError('Name or service not known')

    monkeypatch.setattr(hub, 'hf_hub_download', download)
    assert main(['weights', 'get', 'efficienttam_ti']) == 2
    error = capsys.readouterr().err
    assert 'Name or service not known' in error
    address = 'https://huggingface.co/yunyangx/efficient-track-anything/resolve/main/'
    assert address + 'efficienttam_ti.pt' in error


def test_bundled_weights_need_not_be_fetched(capsys):
    assert main(['weights', 'get', 'efficienttam_nano']) == 0
    assert 'come with the package' in capsys.readouterr().out


# --- export ---


def test_export_into_an_existing_folder(tmp_path, capsys):
    arguments = ['export', 'efficienttam_nano', '--weights', 'untrained', '--out', str(tmp_path)]
    assert main(arguments) == 2
    assert 'exists' in capsys.readouterr().err


# --- track ---


def test_track_writes_bag_and_overlay(video, graphs, tmp_path, pictures):
    out, overlay = tmp_path / 'out.mcap', tmp_path / 'over lay.mp4'
    prompts = ['--prompt', '7:box:28,38,72,82', '--prompt', '9:point:100,100;20,20,0@3']
    outputs = ['--out', str(out), '--overlay', str(overlay), '--images']
    assert main(['track', str(video), *prompts, *outputs, '--weights', graphs]) == 0
    messages = read(out)
    labels, objects = messages['/track_node/labels'], messages['/track_node/objects']
    expected = [round(index * 1e8) for index in range(FRAMES)]
    assert stamps(labels) == stamps(objects) == stamps(messages['/image']) == expected
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


def test_track_is_the_tracker_applied_frame_by_frame(video, graphs, tmp_path):
    from tam_ros.tracking import Prompt, Tracker

    prompts = ['--prompt', '1:box:28,38,72,82']
    out = ['--out', str(tmp_path / 'out.mcap')]
    assert main(['track', str(video), *prompts, *out, '--weights', graphs]) == 0
    tracker = Tracker.open('efficienttam_nano', graphs)
    recorded = read(tmp_path / 'out.mcap')['/track_node/labels']
    for index, (frame, message) in enumerate(zip(open_source(video), recorded, strict=True)):
        prompt = [] if index else [Prompt.box(1, (28, 38, 72, 82))]
        labels = tracker.step(frame.rgb, frame.stamp, prompt).labels
        np.testing.assert_array_equal(message.data.reshape(SIZE), labels)


def test_labels_as_png(video, graphs, tmp_path):
    arguments = ['track', str(video), '--prompt', '1:point:50,60', '--weights', graphs]
    raw, png = tmp_path / 'raw.mcap', tmp_path / 'png'
    assert main([*arguments, '--out', str(raw)]) == 0
    assert main([*arguments, '--out', str(png), '--labels', 'png']) == 0
    packed = read(png)['/track_node/labels/compressed']
    for message, plain in zip(packed, read(raw)['/track_node/labels'], strict=True):
        labels = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(labels.reshape(-1), plain.data)


def test_track_a_bag_keeps_its_headers(graphs, tmp_path, pictures):
    stamps_ns = [10**18 + 123 + index * 10**8 for index in range(4)]
    with BagWriter(tmp_path / 'in.mcap') as bag:
        for stamp, rgb in zip(stamps_ns, pictures, strict=False):
            bag.write_image('/camera/image_raw', Header(stamp, 'optical'), rgb)
    arguments = ['--prompt', '1:point:50,60', '--weights', graphs, '--images']
    out, overlay = tmp_path / 'out.mcap', tmp_path / 'o.mp4'
    outputs = ['--out', str(out), '--overlay', str(overlay)]
    assert main(['track', str(tmp_path / 'in.mcap'), *arguments, *outputs]) == 0
    messages = read(out)
    assert stamps(messages['/track_node/objects']) == stamps_ns
    assert stamps(messages['/camera/image_raw']) == stamps_ns
    assert messages['/track_node/labels'][0].header.frame_id == 'optical'
    assert open_source(overlay).rate_hz == pytest.approx(4 / 0.3, rel=0.01)


def test_frames_that_go_back_in_time_are_left_out(graphs, tmp_path, pictures, capsys):
    stamps_ns = [1000, 2000, 2000, 1500, 3000]  # written twice; out of order
    with BagWriter(tmp_path / 'in.mcap') as bag:
        for place, (stamp, rgb) in enumerate(zip(stamps_ns, pictures, strict=False)):
            message = serialized_image(Header(stamp * 10**6, ''), rgb)
            bag.write_serialized('/image', IMAGE, place, message)
    out = ['--out', str(tmp_path / 'out.mcap'), '--weights', graphs]
    assert main(['track', str(tmp_path / 'in.mcap'), '--prompt', '1:point:50,60', *out]) == 0
    kept = stamps(read(tmp_path / 'out.mcap')['/track_node/objects'])
    assert kept == [1000 * 10**6, 2000 * 10**6, 3000 * 10**6]
    assert capsys.readouterr().err.count('left out') == 2


def test_interrupted_track_leaves_a_valid_shorter_bag(video, graphs, tmp_path, monkeypatch):
    from tam_ros.tracking import Tracker

    step = Tracker.step

    def interrupted(self, image, stamp, prompts=()):
        if stamp > 0.45:
            raise KeyboardInterrupt
        return step(self, image, stamp, prompts)

    monkeypatch.setattr(Tracker, 'step', interrupted)
    out = ['--out', str(tmp_path / 'out.mcap'), '--overlay', str(tmp_path / 'o.mp4')]
    prompt = ['--prompt', '1:point:50,60', '--weights', graphs]
    assert main(['track', str(video), *prompt, *out]) == 130
    assert len(read(tmp_path / 'out.mcap')['/track_node/objects']) == 5
    assert len(list(open_source(tmp_path / 'o.mp4'))) == 5


def test_truncated_video_gives_a_valid_shorter_bag(graphs, tmp_path, pictures, capsys):
    path = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE[::-1])
    for rgb in np.concatenate([pictures, pictures]):
        writer.write(rgb)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = ['--out', str(tmp_path / 'out.mcap'), '--weights', graphs]
    assert main(['track', str(path), '--prompt', '1:point:50,60', *out]) == 2
    assert 'cut short or damaged' in capsys.readouterr().err
    assert 4 <= len(read(tmp_path / 'out.mcap')['/track_node/objects']) < 14


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['VIDEO', '--prompt', '1:point:50,60'], 'nothing to write'),
        (['no.mp4', '--prompt', '1:point:5,6', '--out', 'o.mcap'], 'no.mp4 does not exist'),
        (['VIDEO', '--prompt', '1:dot:5,6', '--out', 'o.mcap'], 'neither point nor box'),
        (['VIDEO', '--prompt', '1:point:500,6', '--out', 'o.mcap'], 'outside the image'),
        (['VIDEO', '--prompt', '1:point:5,6@8', '--out', 'o.mcap'], 'the frames are 0 to 7'),
        (['VIDEO', '--prompt', '70000:point:5,6', '--out', 'o.mcap'], '70000'),  # uint16 ids
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'taken.mcap'], 'taken.mcap exists'),
        (['VIDEO', '--prompt', '1:point:5,6', '--overlay', 'o.avi'], 'end in .mp4'),
        (['VIDEO', '--prompt', '1:point:5,6', '--overlay', 'no/o.mp4'], 'is not a folder'),
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'taken.mcap/o.mcap'], 'taken.mcap'),
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'o.mcap', '--topic', 'x'], 'no topic'),
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'o.mcap', '--rate', '0'], 'not usable'),
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'o.mcap', '--model', 'huge'], "'huge'"),
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'o.mcap', '--weights', 'no.pt'], 'no.pt'),
        # Weights that were never fetched, and a file that is no checkpoint.
        (['VIDEO', '--prompt', '1:point:5,6', '--out', 'o.mcap', '--model', 'efficienttam_s'],
         'tam weights get efficienttam_s'),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used(video, graphs, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'taken.mcap').write_bytes(b'')
    before = sorted(tmp_path.iterdir())
    arguments = [str(video) if word == 'VIDEO' else word for word in arguments]
    if not {'--weights', '--model'} & set(arguments):
        arguments += ['--weights', graphs]
    assert main(['track', *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith('tam: ') and words in captured.err
    assert 'Traceback' not in captured.err
    assert sorted(tmp_path.iterdir()) == before, 'nothing may be left behind'


@pytest.mark.parametrize(
    'arguments', [[], ['track'], ['weights'], ['fly'], ['track', 'x.mp4', '--runtime', 'abacus']]
)
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert 'usage: tam' in capsys.readouterr().err


@pytest.mark.slow
def test_real_bag(graphs, tmp_path):
    bag = DATA / 'bags' / 'apc_scene0000_mcap'
    if not bag.exists():
        pytest.skip('../shared/data/bags is not here')
    out = ['--out', str(tmp_path / 'out.mcap'), '--weights', graphs]
    assert main(['track', str(bag), '--prompt', '1:point:320,240', *out]) == 0
    messages = read(tmp_path / 'out.mcap')
    assert len(messages['/track_node/objects']) == 8
    copied = Path(shutil.copy(tmp_path / 'out.mcap', tmp_path / 'again.mcap'))
    assert len(list(open_source(copied))) == 8
