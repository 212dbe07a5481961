# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Opens bags of every kind and reports what is wrong with them as `SourceError`.

The files with the messages say everything that is needed. So `metadata.yaml`, which people edit,
lose and copy, is used only for bags that are compressed as whole files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from tam_ros.io.bag_files import (
    METADATA,
    ZSTD_MAGIC,
    BagKind,
    bag_files,
    bag_kind,
    has_metadata,
    named_like_bag,
    recordings,
)
from tam_ros.io.frames import SourceError

if TYPE_CHECKING:
    from tam_ros.io.mcap_reader import McapFile

_REPAIR = {
    BagKind.ROS1: '; `rosbag reindex` may restore it',
    BagKind.SQLITE: '; `sqlite3 OLD.db3 .recover | sqlite3 NEW.db3` may recover the rest',
}


class BagReader:
    """The files of a bag, one after another, with the interface of `AnyReader`.

    Attributes:
        is2: whether the messages are those of ROS 2.
        connections: the topics, once for each file, and in ROS 1 for each publisher.
        typestore: their message types.
        notes: what is missing or was skipped, in words.
    """

    def __init__(self, readers: Sequence[AnyReader | McapFile], notes: Sequence[str]) -> None:
        """Join the files.

        Args:
            readers: open, of the same kind.
            notes: about missing files.
        """
        self._readers = readers
        self.is2 = readers[0].is2
        self.connections: list[Connection] = [
            connection for reader in readers for connection in reader.connections
        ]
        self.typestore: Typestore = readers[0].typestore
        if len(readers) > 1:
            self.typestore = get_typestore(Stores.EMPTY)
            for reader in readers:
                self.typestore.register(reader.typestore.fielddefs)
        skipped = sorted({item for reader in readers for item in getattr(reader, 'skipped', ())})
        self.notes = list(notes)
        if skipped:
            self.notes.append(f'not ROS 2 messages, skipped: {", ".join(skipped)}')

    def messages(
        self, connections: Collection[Connection] = ()
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, time of recording in nanoseconds, data) of the connections' messages.

        Raises:
            Exception: the bag is damaged.
        """
        for reader in self._readers:
            own = [one for one in reader.connections if not connections or one in connections]
            for connection, recorded_ns, data in reader.messages(own) if own else ():
                # rosbag2 may compress each message. The data of one that is not compressed begin
                # with the encapsulation header of CDR, whose first byte is 0.
                if self.is2 and data[: len(ZSTD_MAGIC)] == ZSTD_MAGIC:
                    data = _unpack(data)
                yield connection, recorded_ns, data

    def deserialize(self, data: bytes, message_type: str) -> Any:
        """Return a message from its serialized form.

        Raises:
            Exception: the data are not such a message.
        """
        if self.is2:
            return self.typestore.deserialize_cdr(data, message_type)
        return self.typestore.deserialize_ros1(data, message_type)


@contextmanager
def open_bag(path: Path) -> Iterator[BagReader]:
    """Open a bag. Of a truncated MCAP file, everything before the damage can be read.

    Args:
        path: the file, or the folder that contains it.

    Raises:
        SourceError: not a bag, or a damaged one; also raised when reading reaches the damage.
    """
    if not path.exists():
        raise SourceError(f'{path} does not exist')
    files, notes = _files_of(path)
    try:
        with ExitStack() as stack:
            yield BagReader([_open(file, stack) for file in files], notes)
    except (SourceError, GeneratorExit):
        raise
    except PermissionError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    except Exception as error:  # a damaged file can cause many kinds of error
        detail = str(error) or type(error).__name__
        kind = _kind(files[0])
        advice = _REPAIR.get(kind, '') if kind is not None else ''
        raise SourceError(
            f'{path} cannot be read as a bag, it is damaged: {detail}{advice}'
        ) from error


def _unpack(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _files_of(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files of a bag, and notes on what is missing.

    The folder itself stands for files that are compressed as a whole.
    """
    if path.is_file():
        return [path], []
    present = bag_files(path)
    listed = _listed_files(path)
    missing = [name for name in listed if not (path / name).exists()]
    if any(name.endswith('.zstd') for name in listed) and not missing:
        return [path], []
    chosen = [file for file in present if file.name in listed] or present
    if not chosen:
        chosen = [file for file in sorted(path.iterdir()) if named_like_bag(file)]
    if not chosen:
        raise SourceError(
            f'{path} is a bag whose files are missing: {", ".join(missing)}'
            if missing
            else f'{path} contains no bag'
        )
    if len({_kind(file) for file in chosen}) > 1 or len(recordings(chosen)) > 1:
        raise SourceError(
            f'{path} contains several recordings: choose one of '
            f'{", ".join(file.name for file in chosen)}'
        )
    if missing and any(file.name in listed for file in chosen):
        return chosen, [f'missing, though {METADATA} lists them: {", ".join(missing)}']
    return chosen, []


def _listed_files(folder: Path) -> list[str]:
    """Return the names of the files in `metadata.yaml`; empty if it cannot be read."""
    if not has_metadata(folder):
        return []
    try:
        information = yaml.safe_load((folder / METADATA).read_text(encoding='utf-8'))
        paths = information['rosbag2_bagfile_information']['relative_file_paths']
        return [Path(path).name for path in paths]  # Foxy wrote the folder as well
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def _kind(file: Path) -> BagKind | None:
    return bag_kind(file) or named_like_bag(file)


def _open(path: Path, stack: ExitStack) -> AnyReader | McapFile:
    kind = None if path.is_dir() else _kind(path)
    if kind is BagKind.MCAP:
        try:
            from tam_ros.io.mcap_reader import McapFile
        except ModuleNotFoundError as error:
            missing = error
        else:
            return McapFile(path)
    # rosbags goes by the suffix, and opens SQLite by a URI, in which some characters have a
    # meaning: it gets a link with a plain name.
    if kind is not None and (path.suffix != kind.value or set('%?#') & set(str(path))):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='tam_'))
        link = Path(folder, f'bag{kind.value}')
        link.symlink_to(path.resolve())
        path = link
    # The default types are for bags without message definitions, such as early SQLite ones.
    reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
    if kind is not BagKind.MCAP:
        return stack.enter_context(reader)
    try:
        return stack.enter_context(reader)
    except Exception as error:
        raise SourceError(
            f'{path} cannot be read as a bag: {error}. Damaged files, and those of other '
            f'recorders, can be read with the package mcap, which is missing ({missing.name}): '
            'pip install mcap'
        ) from error
