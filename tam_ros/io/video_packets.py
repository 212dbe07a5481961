# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of H.264, H.265, AV1 and VP9 packets, as cameras send them in messages; needs PyAV."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from tam_ros.interfaces import FFMPEG_TYPE, FOXGLOVE_TYPE
from tam_ros.io.image_data import MAX_PIXELS, ImageFormatError, as_bytes, check_size

T = TypeVar('T')

PACKET_TYPES = (FFMPEG_TYPE, FOXGLOVE_TYPE)

# Parts of `FFMPEGPacket.encoding` (the name of an encoder, such as libx264, hevc_nvenc, or, in
# newer versions, `h264;yuv420p;...`) and of `CompressedVideo.format`, and decoders of FFmpeg.
_CODECS = {
    '264': ('h264',),
    'avc': ('h264',),
    '265': ('hevc',),
    'hevc': ('hevc',),
    'av1': ('libdav1d', 'av1'),
    'vp9': ('vp9',),
    'vp8': ('vp8',),
}

# Some drivers send packets as `CompressedImage`.
_VIDEO_FORMAT = re.compile(r'\b(h\.?26[45]|hevc|av1|vp[89])\b', re.IGNORECASE)

# "Picture size 16000x16000 exceeds specified max pixel count", "Frame size 16000x16000 exceeds".
_TOO_LARGE = re.compile(r'(\d+)x(\d+) exceeds')

_WAITING = 100  # packets whose picture has not come out of the decoder


def is_installed() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec('av') is not None


def is_video_format(image_format: str) -> bool:
    """Return whether the `format` of a `CompressedImage` is that of a video."""
    return _VIDEO_FORMAT.search(image_format) is not None


def packet_encoding(message: Any) -> str:
    """Return the codec of a packet, as the sender calls it.

    Args:
        message: a `FFMPEGPacket`, `CompressedVideo` or `CompressedImage`.
    """
    return str(message.format if hasattr(message, 'format') else message.encoding)


class VideoPicture:
    """A decoded picture, converted to RGB when it is asked for. May be passed between threads."""

    def __init__(self, frame: Any) -> None:
        """Wrap a frame of PyAV."""
        self._frame = frame
        self.height: int = frame.height
        self.width: int = frame.width

    def rgb(self) -> np.ndarray:
        """Convert it to uint8 RGB [H, W, 3]."""
        array: np.ndarray = self._frame.to_ndarray(format='rgb24')
        return array


class VideoDecoder(Generic[T]):
    """Decodes one stream, every packet in order: a picture depends on those before it.

    After a lost packet, pictures are wrong until the next key frame.

    Attributes:
        waiting: whether no picture can be decoded before the next key frame.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        """Start a stream, which may begin anywhere.

        Args:
            max_pixels: most pixels of a picture.
        """
        self._max_pixels = max_pixels
        self.waiting = True
        self._codec = ''
        self._context: Any = None
        self._count = 0
        self._tags: OrderedDict[int, T] = OrderedDict()

    def decode(self, encoding: str, data: Any, tag: T) -> list[tuple[T, VideoPicture]]:
        """Decode a packet: a whole picture, in Annex B for H.264 and H.265.

        Args:
            encoding: `FFMPEGPacket.encoding` or `CompressedVideo.format`.
            data: the packet.
            tag: what is returned with the picture, such as its header.

        Returns:
            The pictures that are complete, each with the tag of its packet. None before the first
            key frame; usually one afterwards.

        Raises:
            ImageFormatError: the codec is unknown, PyAV is not installed, or the packet is
                damaged, or has too large a picture, which is not decoded then.
        """
        if encoding != self._codec:
            self._context = _open(encoding, self._max_pixels)
            self._codec, self.waiting = encoding, True
            self._tags.clear()
        import av

        packet = av.Packet(as_bytes(data).tobytes())
        packet.pts = self._count
        self._tags[self._count] = tag
        self._count += 1
        while len(self._tags) > _WAITING:
            self._tags.popitem(last=False)
        logs: list[Any] = []
        try:
            with _errors_of_ffmpeg(logs):
                frames = self._context.decode(packet)
        except av.FFmpegError as error:
            if large := _TOO_LARGE.search(' '.join(text for _, _, text in logs)):
                self._check_size(int(large[2]), int(large[1]))
            if self.waiting:
                return []
            self.waiting = True
            raise ImageFormatError(f'video packet ({encoding!r}) is damaged: {error}') from error
        pictures = []
        for frame in frames:
            if frame.is_corrupt or frame.pts not in self._tags:
                continue
            self._check_size(frame.height, frame.width)
            pictures.append((self._tags.pop(frame.pts), VideoPicture(frame)))
        self.waiting = self.waiting and not pictures
        return pictures

    def _check_size(self, height: int, width: int) -> None:
        try:
            check_size(height, width, self._max_pixels)
        except ImageFormatError:
            # Some decoders say nothing about the next packet: begin with a new one.
            self._codec, self.waiting = '', True
            raise


@contextlib.contextmanager
def _errors_of_ffmpeg(logs: list[Any]) -> Iterator[None]:
    """Add to `logs` what FFmpeg says about an error in this thread."""
    import av

    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as captured:
            try:
                yield
            finally:
                logs += captured
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)


def _open(encoding: str, max_pixels: int) -> Any:
    """Return a decoder of PyAV that returns each picture at once, and refuses too large ones.

    Raises:
        ImageFormatError: there is none for this encoding.
    """
    if not is_installed():
        raise ImageFormatError('video packets need PyAV: python3 -m pip install av')
    import av

    name = encoding.partition(';')[0].lower()
    decoders = next((found for part, found in _CODECS.items() if part in name), ())
    for decoder in decoders:
        if decoder in av.codecs_available:
            context = av.CodecContext.create(decoder, 'r')
            # With several threads the pictures come out later.
            context.thread_count = 1
            context.options = {
                'flags': 'low_delay',
                # Before it allocates pictures. Decoders count what they add at the edges.
                'max_pixels': str(max_pixels + max_pixels // 8),
            }
            return context
    raise ImageFormatError(
        f'video packets have the encoding {encoding!r}, for which there is no decoder; known are '
        f'H.264, H.265, AV1, VP8 and VP9'
    )
