# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""`tam track`: unusable input is refused with a message and status 2; nothing is written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from bagdata import IMAGE, serialized_image
from PIL import Image

from tam_ros.cli import main
from tam_ros.io.bag_writer import BagWriter
from tam_ros.io.frames import Header

SIZE = (120, 160)
POINT = ('--prompt', '1:point:50,60')
OUT = ('--out', 'o.mcap')


@pytest.fixture
def place(tmp_path, monkeypatch, video, pictures) -> Path:
    """A working directory with unusable files of every kind."""
    monkeypatch.chdir(tmp_path)
    Path('taken.mcap').write_bytes(b'')
    Path('taken').mkdir()
    Path('empty').mkdir()
    good = np.zeros(SIZE, np.uint8)
    good[40:80, 30:70] = 1
    Image.fromarray(good).save('good.png')
    Image.fromarray(good[:60]).save('other_size.png')
    Image.fromarray(good.T.copy()).save('turned.png')
    Image.fromarray(good * 0).save('nothing.png')
    Image.fromarray(np.dstack([good, good, good // 2])).save('colour.png')
    dot = good * 0
    dot[0, 0] = 7
    Image.fromarray(np.kron(dot, np.ones((1, 1), np.uint8))).save('dot.png')
    wide = good.astype(np.uint16) * 300
    Image.fromarray(wide).save('wide.png')
    Path('broken.png').write_bytes(Path('good.png').read_bytes()[:60])
    Path('empty.png').write_bytes(b'')
    with BagWriter('two.mcap') as bag:
        for index, rgb in enumerate(pictures):
            for topic in ('/left', '/right'):
                bag.write_image(topic, Header(index + 1, ''), rgb)
    with BagWriter('words.mcap') as bag:
        bag.write_serialized('/word', 'std_msgs/msg/String', 1, b'\0\1\0\0\3\0\0\0hi\0')
    with BagWriter('bad_images.mcap') as bag:
        broken = serialized_image(Header(5, ''), pictures[0], missing=5)
        bag.write_serialized('/image', IMAGE, 5, broken)
    Path('cut.mp4').write_bytes(video.read_bytes()[:2000])
    Path('noise.mp4').write_bytes(b'\0not a video' * 500)
    Path('noise.mcap').write_bytes(b'not a bag' * 500)
    return tmp_path


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        # Sources
        (['no.mp4', *POINT, *OUT], 'no.mp4 does not exist'),
        (['cut.mp4', *POINT, *OUT], 'cannot be opened as a video'),
        (['noise.mp4', *POINT, *OUT], 'cannot be opened as a video'),
        (['noise.mcap', *POINT, *OUT], 'cannot be read as a bag'),
        (['empty', *POINT, *OUT], 'has no image file'),
        (['words.mcap', *POINT, *OUT], 'has no image topic'),
        (['bad_images.mcap', *POINT, *OUT], 'no usable image on /image: data is too short'),
        (['two.mcap', *POINT, *OUT], "/right (Image 'rgb8', 8 messages); choose it with --topic"),
        (['two.mcap', *POINT, *OUT, '--topic', '/up'], "no image topic '/up'; it has /left"),
        (['two.mcap', *POINT, *OUT, '--topic', '/left', '--rate', '5'], 'stamps give the rate'),
        (['VIDEO', *POINT, *OUT, '--topic', 'x'], 'no topic'),
        (['VIDEO', *POINT, *OUT, '--rate', '0'], 'not usable'),
        # Prompts
        (['VIDEO', *OUT], 'nothing to track'),
        (['VIDEO', *OUT, '--prompt', ''], 'no prompt given'),
        (['VIDEO', *OUT, '--prompt', '1:dot:5,6'], 'neither point nor box'),
        (['VIDEO', *OUT, '--prompt', '1:point:500,6'], 'outside the image'),
        (['VIDEO', *OUT, '--prompt', '1:box:200,6,220,9@2'], 'outside the image'),
        (['VIDEO', *OUT, '--prompt', '1:point:5,6@8'], 'the frames are 0 to 7'),
        (['VIDEO', *OUT, *POINT, '--prompt', '1:point:5,6@99'], 'is for frame 99'),
        (['VIDEO', *OUT, '--prompt', '70000:point:5,6'], '70000'),  # ids are 16 bits wide
        # Each can be used, but not all of them on one frame.
        (['VIDEO', *OUT, *[part for x in range(30) for part in ('--prompt', f'1:point:{x},9')]],
         'points for object 1 on one image'),
        # Masks
        (['VIDEO', *OUT, '--masks', 'no.png'], 'no.png does not exist'),
        (['VIDEO', *OUT, '--masks', 'broken.png'], 'broken.png cannot be read as a mask'),
        (['VIDEO', *OUT, '--masks', 'empty.png'], 'empty.png cannot be read as a mask'),
        (['VIDEO', *OUT, '--masks', 'cut.mp4'], 'cut.mp4 cannot be read as a mask'),
        (['VIDEO', *OUT, '--masks', 'taken'], 'taken cannot be read as a mask'),
        (['VIDEO', *OUT, '--masks', 'colour.png'], 'colour.png is a colour image'),
        (['VIDEO', *OUT, '--masks', 'nothing.png'], 'nothing.png has no object'),
        (['VIDEO', *OUT, '--masks', 'other_size.png'],
         "'object 1 of other_size.png' cannot be used: the mask is 160x60 but the image 160x120"),
        (['VIDEO', *OUT, '--masks', 'turned.png'], 'the image 160x120; the sides are exchanged'),
        (['VIDEO', *OUT, '--masks', 'good.png@8'], 'the frames are 0 to 7'),
        (['VIDEO', *OUT, '--masks', 'good.png@last'], 'the frame after @'),
        (['VIDEO', '--out', 'o', '--masks', 'wide.png'], 'has object ids up to 255'),
        # Results
        (['VIDEO', *POINT], 'nothing to write'),
        (['VIDEO', *POINT, '--out', 'taken.mcap'], 'taken.mcap exists'),
        (['VIDEO', *POINT, '--out', 'taken'], 'taken exists'),
        (['VIDEO', *POINT, '--out', '/dev/full'], '/dev/full exists'),
        (['VIDEO', *POINT, *OUT, '--overlay', 'cut.mp4'], 'cut.mp4 exists'),
        (['VIDEO', *POINT, '--overlay', 'o.avi'], 'end in .mp4'),
        (['VIDEO', *POINT, '--overlay', 'no/o.mp4'], 'no is not a folder'),
        (['VIDEO', *POINT, '--out', 'taken.mcap/o.mcap'], 'taken.mcap is not a folder'),
        (['VIDEO', *POINT, '--out', 'o.mp4'], 'written by --overlay'),
        (['VIDEO', *POINT, '--out', 'o.bag'], '--out writes NAME.mcap'),
        (['VIDEO', *POINT, '--out', 'o.mcap', '--format', 'coco'], 'contradict'),
        (['VIDEO', *POINT, '--out', 'o.json', '--copy', 'all'], 'are for bags'),
        (['VIDEO', *POINT, '--out', 'o', '--labels', 'png'], 'are for bags'),
        (['VIDEO', *POINT, '--out', 'o', '--masks-as', 'polygons'], 'are for COCO annotations'),
        (['VIDEO', *POINT, '--overlay', 'o.mp4', '--write-frames'], 'are for COCO annotations'),
        (['VIDEO', *POINT, '--out', 'o.json', '--write-frames', 'taken'], 'taken exists'),
        (['VIDEO', *POINT, '--out', 'o.json', '--write-frames', 'o.json'], 'the same file'),
        (['VIDEO', *POINT, '--overlay', 'o.mp4', '--format', 'png'], 'give --out as well'),
        (['VIDEO', *POINT, *OUT, '--copy', '/up'], "no topic '/up' to copy; it has /image"),
        (['two.mcap', *POINT, *OUT, '--topic', 'left', '--copy', '/up'], 'it has /left, /right'),
        # Models
        (['VIDEO', *POINT, *OUT, '--model', 'huge'], "'huge'"),
        (['VIDEO', *POINT, *OUT, '--weights', 'no.pt'], 'no.pt'),
        # Weights that were not downloaded.
        (['VIDEO', *POINT, *OUT, '--model', 'efficienttam_s'], 'tam weights get efficienttam_s'),
    ],
)  # fmt: skip
def test_refused_before_anything_is_written(place, video, tam_fake, capsys, arguments, words):
    before = sorted(place.rglob('*'))
    arguments = [str(video) if word == 'VIDEO' else word for word in arguments]
    run = main if {'--weights', '--model'} & set(arguments) else lambda words: tam_fake(*words)
    assert run(['track', *arguments]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith('tam: ')]
    assert lines and words in lines[-1], error
    assert 'Traceback' not in error
    assert sorted(place.rglob('*')) == before, 'no file may be left behind'


def test_coco_without_its_package(place, video, tam, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    monkeypatch.setitem(sys.modules, 'pycocotools.mask', None)
    assert tam(video, *POINT, '--out', 'o.json') == 2
    assert 'pip install pycocotools' in capsys.readouterr().err
    assert not Path('o.json').exists()
    assert tam(video, *POINT, '--out', 'o.json', '--masks-as', 'polygons') == 0


@pytest.mark.parametrize('folder', ['test_bag_mcap', 'test_bag_sqlite3'])
def test_odd_bags(tam, tmp_path, shared_data, capsys, folder):
    bag = shared_data / 'bags' / 'odd' / folder
    topic = ('--topic', '/test/sensor_msgs/image')
    assert tam(bag, *topic, *POINT, '--out', tmp_path / 'o.mcap') == 2
    assert 'too short: 30 bytes' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_bag_folder_without_metadata(tam, place, capsys):
    """A killed recorder leaves one; its files are read if they are one recording."""
    shutil.move('two.mcap', 'taken/two_0.mcap')
    assert tam('taken', '--topic', '/left', *POINT, '--out', 'o.mcap') == 0
    shutil.copy('taken/two_0.mcap', 'taken/two_1.mcap')
    assert tam('taken', '--topic', '/left', *POINT, '--out', 'o2.mcap') == 0
    shutil.copy('taken/two_0.mcap', 'taken/other.mcap')
    assert tam('taken', '--topic', '/left', *POINT, '--out', 'o3.mcap') == 2
    assert 'several recordings: choose one of other.mcap, two_0.mcap' in capsys.readouterr().err
