# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Names and contents with which FFmpeg would open a connection, or other files."""

from __future__ import annotations

import os
import select
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from tam_ros.io.av_video import AvVideo
from tam_ros.io.frames import SourceError
from tam_ros.io.open_source import open_source
from tam_ros.io.video_file import open_capture
from tam_ros.io.video_writer import VideoWriter

PROTOCOLS = ('http', 'https', 'tcp', 'tls', 'rtmp', 'rtsp', 'ftp', 'gopher', 'srt', 'icecast')


@pytest.fixture
def listener(tmp_path, monkeypatch):
    """A socket that nobody may connect to; the working directory is a new one."""
    monkeypatch.chdir(tmp_path)
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        host, port = server.getsockname()
        yield f'{host}:{port}'
        waiting, _, _ = select.select([server], [], [], 0)
        assert not waiting, 'a connection was opened'


def make_clip(path: Path, frames: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path.absolute()), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    writer.release()
    return path


def read_with(reader, path):
    if reader == 'pyav':
        pytest.importorskip('av')
        return AvVideo(path)
    return open_source(path)


READERS = pytest.mark.parametrize('reader', ['opencv', 'pyav'])


@READERS
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_folder_named_like_a_protocol(listener, reader, protocol):
    """Path removes one of two slashes, and FFmpeg does not need the second one."""
    path = Path(f'{protocol}://{listener}/clip.avi')
    make_clip(path)
    assert len(list(read_with(reader, path))) == 3


@READERS
@pytest.mark.parametrize('name', ['concat:a.avi|b.avi', 'file:a.avi', 'subfile,,a.avi', 'async:a'])
def test_a_file_named_like_a_protocol(listener, reader, name):
    make_clip(Path('a.avi'), 1)
    shutil.move(make_clip(Path('b.avi'), 2), name)
    assert len(list(read_with(reader, Path(name)))) == 2


def test_a_file_named_like_a_sequence(listener):
    for index in range(4):
        cv2.imwrite(f'im{index:03d}.png', np.full((8, 8, 3), 10, np.uint8))
    cv2.imwrite('one.png', np.full((8, 8, 3), 200, np.uint8))
    os.rename('one.png', 'im%03d.png')
    (frame,) = open_source('im%03d.png')
    assert (frame.rgb == 200).all()
    # The file is named in full, also where it is no image.
    Path('im%03d.png').write_bytes(b'\0 not an image')
    with pytest.raises(SourceError, match=r'im%03d\.png cannot be opened as a video'):
        open_source('im%03d.png')
    shutil.copy(make_clip(Path('a.avi'), 2), 'clip%02d.avi')
    assert len(list(open_source('clip%02d.avi'))) == 2


HLS = '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n'
PLAYLISTS = {
    'hls.m3u8': HLS,
    'hls.mp4': HLS,
    'hls.ts': '\n ' + HLS,
    'binary.m3u8': '#EXTM3U\n#\0\1\n' + HLS,
    'list.txt': 'ffconcat version 1.0\nfile {}\n',
    'list.avi': '# a comment\nffconcat version 1.0\nfile {}\n',
    'stream.sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n'
    'm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    'manifest.mpd': '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
    'type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    'list.pls': '[playlist]\nFile1={}\n',
    'list.asx': '[Reference]\nRef1={}\n',
}


@READERS
@pytest.mark.parametrize('target', ['address', 'file'])
@pytest.mark.parametrize('name', PLAYLISTS)
def test_playlists_are_not_followed(listener, reader, name, target):
    make_clip(Path('a.avi'))
    address = f'http://{listener}/a.ts' if target == 'address' else 'a.avi'
    Path(name).write_text(PLAYLISTS[name].format(address))
    with pytest.raises(SourceError, match=f'{name} is text, not a video; playlists are not'):
        read_with(reader, Path(name))


@READERS
def test_formats_that_open_other_files_are_unknown_to_ffmpeg_as_well(
    listener, reader, monkeypatch
):
    """As if a playlist had been taken for a video."""
    make_clip(Path('a.avi'))
    monkeypatch.setattr('tam_ros.io.video_file._is_text', lambda _: False)
    for name in ('list.avi', 'hls.m3u8', 'stream.sdp', 'manifest.mpd'):
        Path(name).write_text(PLAYLISTS[name].format('a.avi'))
        with pytest.raises(SourceError, match='cannot be'):
            read_with(reader, Path(name))
    Path('list.avi').write_text(PLAYLISTS['list.avi'].format(f'http://{listener}/a.avi'))
    with pytest.raises(SourceError, match='cannot be'):
        read_with(reader, Path('list.avi'))


@pytest.mark.parametrize(
    ('content', 'is_text'),
    [
        (b'YUV4MPEG2 W8 H8 F10:1\nFRAME\n' + b'a' * 96, False),
        ('hello, wörld'.encode(), True),
        (('a' * 511 + 'ö').encode(), True),  # cut within a character
        (b'\0\0\0\x18ftypmp42', False),
        (b'\xef\xbb\xbf#EXTM3U\n\0', True),
    ],
)
def test_what_is_text(tmp_path, content, is_text):
    path = tmp_path / 'file'
    path.write_bytes(content)
    if is_text:
        with pytest.raises(SourceError, match='is text'):
            open_capture(path)
    else:
        open_capture(path).release()


def test_the_options_of_the_user_are_kept(tmp_path, monkeypatch):
    path = make_clip(tmp_path / 'a.avi')
    seen = []

    def capture(*_):
        seen.append(os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'])

    monkeypatch.setattr(cv2, 'VideoCapture', capture)
    monkeypatch.setenv('OPENCV_FFMPEG_CAPTURE_OPTIONS', 'threads;1')
    open_capture(path)
    assert seen[0].startswith('threads;1|format_whitelist;')
    assert os.environ['OPENCV_FFMPEG_CAPTURE_OPTIONS'] == 'threads;1'
    monkeypatch.delenv('OPENCV_FFMPEG_CAPTURE_OPTIONS')
    open_capture(path)
    assert seen[1].endswith('|protocol_whitelist;file')
    assert 'OPENCV_FFMPEG_CAPTURE_OPTIONS' not in os.environ


@pytest.mark.parametrize('encoder', ['opencv', 'pyav'])
def test_a_video_is_written_into_a_folder_named_like_a_protocol(listener, encoder, monkeypatch):
    if encoder == 'pyav':
        pytest.importorskip('av')
    else:
        monkeypatch.setattr('tam_ros.io.video_encoders._h264_encoder', lambda: None)
    path = Path(f'http://{listener}/out.mp4')
    path.parent.mkdir(parents=True)
    with VideoWriter(path, 10) as writer:
        for index in range(3):
            writer.write(np.full((48, 64, 3), 40 * index, np.uint8))
    assert len(list(open_source(path))) == 3
