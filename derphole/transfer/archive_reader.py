"""Reads the archive of a tree: what `derphole.transfer.archive` makes, and nothing else.

What comes back are events, in the order of the archive:

    Entered ( Entered ... Left | Began Data* Ended | Linked | LeftOut )* Left      a folder
    ... Finished                                                                  and at last

A folder is above whatever comes between its `Entered` and its `Left`, so who extracts an archive
never has to take a path apart.  Pure.
"""

from collections.abc import Iterator
from typing import NamedTuple

from derphole.transfer.archive import (
    CHANGE,
    FILE_TYPE,
    FOLDER_TYPE,
    LINK_TYPE,
    MAX_ENTRIES,
    MAX_EXTENTS,
    MAX_MAP,
    MAX_RECORDS,
    OFFSET,
    REAL_NAME,
    REAL_SIZE,
    SIZE,
    SPARSE,
)
from derphole.transfer.entries import (
    PERMISSIONS,
    Change,
    Ending,
    Entry,
    EntryType,
    Extent,
    link_fault,
)
from derphole.transfer.names import (
    MAX_DEPTH,
    MAX_PATH,
    order_key,
    part_fault,
    path_fault,
    shown,
)
from derphole.transfer.tar_header import (
    BLOCK,
    END,
    GLOBAL_TYPE,
    MAX_NUMBER,
    PAX_TYPE,
    Header,
    decode_header,
    decode_number,
    decode_records,
    decode_time,
    padding,
)
from tunnel.errors import ProtocolViolation
from tunnel.units import Buffer, ByteCount
from tunnel.values import frozen

# Types that are told and left out.
LEFT_OUT = {b"1": "hard link", b"3": "device", b"4": "device", b"6": "named pipe"}


class Entered(NamedTuple):
    """A folder begins; what follows, up to its `Left`, is in it."""

    entry: Entry


@frozen
class Left:
    """The folder that was entered last is complete."""


class Began(NamedTuple):
    """A file begins; its `Data`, if any, and its `Ended` follow.

    Attributes:
        entry: the file.
        offset: what is before it is held already.
    """

    entry: Entry
    offset: ByteCount


class Data(NamedTuple):
    """Bytes of the file under way, rising; what is between them is a hole.

    Attributes:
        offset: where they are in the file.
        view: of the buffer that was fed.
    """

    offset: ByteCount
    view: memoryview


class Ended(NamedTuple):
    """The file under way is complete."""

    ending: Ending


class Linked(NamedTuple):
    """A symbolic link.

    Attributes:
        entry: the link.
        fault: why it must not be made, if it must not.
    """

    entry: Entry
    fault: str | None


class LeftOut(NamedTuple):
    """A member of a type that is not taken.

    Attributes:
        path: its name.
        what: such as "hard link".
    """

    path: bytes
    what: str


@frozen
class Finished:
    """The archive is complete."""


Event = Entered | Left | Began | Data | Ended | Linked | LeftOut | Finished


class ArchiveReader:
    """Cuts a stream into what is in it.

    Raises `ProtocolViolation` or `DecodeError` for what no writer of ours makes, and is of no use
    from then on.

    Attributes:
        is_finished: whether the end of the archive was read.
    """

    def __init__(self) -> None:
        self.is_finished = False
        self._pending = bytearray()
        self._need = BLOCK
        self._records: dict[bytes, bytes] | None = None
        self._reads: bytes = b""  # the type of the pax header whose body comes next
        self._folders: list[bytes] = []
        self._latest = b""
        self._count = 0
        self._zero_blocks = 0
        self._skip = 0  # padding, or data that is not wanted
        self._file: _File | None = None

    @property
    def under_way(self) -> bytes | None:
        """The path of the file whose data is not complete."""
        return self._file.entry.path if self._file else None

    def feed(self, data: Buffer) -> list[Event]:
        """Take bytes of the stream and return what they complete; views of them are in it."""
        events: list[Event] = []
        view = memoryview(data).cast("B")
        at, end = 0, len(view)
        while at < end:
            file = self._file
            if file is not None and file.data_left:
                at += file.take(view[at:], events)
                if not file.data_left:
                    self._skip = file.filler
            elif self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
            else:
                need = self._need - len(self._pending)
                block = bytes(view[at : at + need])
                at += len(block)
                if len(block) < need:
                    self._pending += block
                    break
                if self._pending:
                    block = bytes(self._pending) + block
                    self._pending.clear()
                self._take_block(block, events)
        return events

    def _take_block(self, block: bytes, events: list[Event]) -> None:
        if self._reads:
            self._take_records(block, events)
        elif self._file is not None and self._file.wants_map:
            self._file.take_map(block)
        elif not block[0] and block.count(0) == BLOCK:
            self._take_zeros(events)
        else:
            self._take_header(decode_header(block), events)

    def _take_zeros(self, events: list[Event]) -> None:
        if self.is_finished or self._records is not None:
            raise ProtocolViolation("the archive goes on where it should not")
        self._zero_blocks += 1
        if self._zero_blocks == len(END) // BLOCK:
            self._end_file(events, None)
            events += [Left() for _ in self._folders]
            self._folders.clear()
            self.is_finished = True
            events.append(Finished())

    def _take_header(self, header: Header, events: list[Event]) -> None:
        if self._zero_blocks:
            raise ProtocolViolation("the archive goes on behind its end")
        if header.kind in (PAX_TYPE, GLOBAL_TYPE):
            if self._records is not None or not 0 < header.size <= MAX_RECORDS:
                raise ProtocolViolation("the archive has records of a wrong size, or twice")
            if header.kind == GLOBAL_TYPE and self._file is None:
                raise ProtocolViolation("the archive tells of a change of no file")
            self._reads = header.kind
            self._need = header.size + padding(header.size)
            self._record_size = header.size
            return
        self._end_file(events, None)
        records, self._records = self._records or {}, None
        self._begin(header, records, events)

    def _take_records(self, block: bytes, events: list[Event]) -> None:
        records = decode_records(block[: self._record_size])
        kind, self._reads, self._need = self._reads, b"", BLOCK
        if kind == PAX_TYPE:
            self._records = records
            return
        assert self._file is not None
        try:
            change = Change(records.get(CHANGE, b"").decode("ascii", "replace"))
        except ValueError:
            change = Change.BROKEN  # whatever a later version means, it is no copy
        size = decode_number(records.get(SIZE, b""))
        if size > self._file.entry.size:
            raise ProtocolViolation("a file of the archive ends behind its end")
        self._end_file(events, Ending(size, change))

    def _end_file(self, events: list[Event], ending: Ending | None) -> None:
        """Tell of the end of a file, which is known only when the next thing comes."""
        if self._file is not None:
            events.append(Ended(ending or Ending(self._file.entry.size)))
            self._file = None

    def _begin(self, header: Header, records: dict[bytes, bytes], events: list[Event]) -> None:
        if header.kind == FILE_TYPE and not records:  # as nearly all are
            path, _, mode, size, mtime_ns, _ = header
            self._place(path, events)
            entry = Entry(path, EntryType.FILE, size, mtime_ns, mode & PERMISSIONS)
            self._file = _File(entry, 0, size, is_sparse=False)
            events.append(Began(entry, 0))
            return
        is_sparse = REAL_SIZE in records
        path = records.get(REAL_NAME if is_sparse else b"path", header.name)
        size = decode_number(records[b"size"]) if b"size" in records else header.size
        mtime = records.get(b"mtime")
        mtime_ns = header.mtime_ns if mtime is None else decode_time(mtime)
        if header.kind == FOLDER_TYPE:
            path = path.removesuffix(b"/")
        self._place(path, events)
        mode = header.mode & PERMISSIONS
        if header.kind == FILE_TYPE:
            self._file = _begun(path, mode, mtime_ns, size, records)
            events.append(Began(self._file.entry, self._file.at))
        elif header.kind == FOLDER_TYPE and not size:
            self._folders.append(path)
            events.append(Entered(Entry(path, EntryType.FOLDER, 0, mtime_ns, mode)))
        elif header.kind == LINK_TYPE and not size:
            target = records.get(b"linkpath", header.target)
            entry = Entry(path, EntryType.LINK, 0, mtime_ns, mode, target)
            events.append(Linked(entry, link_fault(path, target)))
        elif header.kind in LEFT_OUT:
            self._skip = size + padding(size)
            events.append(LeftOut(path, LEFT_OUT[header.kind]))
        else:
            raise ProtocolViolation(f"{shown(path)} in the archive is of no known type")

    def _place(self, path: bytes, events: list[Event]) -> None:
        """Leave the folders that a path is not in; raises `ProtocolViolation`."""
        parent, _, name = path.rpartition(b"/")
        folders = self._folders
        while folders and folders[-1] != parent:
            folders.pop()
            events.append(Left())
        # The folder's own parts were looked at when it was entered.
        is_deep = len(path) > MAX_PATH or len(folders) >= MAX_DEPTH
        if part_fault(name) or is_deep or (path != name and not folders):
            fault = path_fault(path) or "comes without its folder"
            raise ProtocolViolation(f"the name {shown(path)!r} in the archive {fault}")
        key = order_key(path)
        if key <= self._latest:
            raise ProtocolViolation(f"{shown(path)!r} in the archive comes twice, or too late")
        self._latest = key
        self._count += 1
        if self._count > MAX_ENTRIES:
            raise ProtocolViolation("the archive has too many entries")


class _File:
    """The file under way.

    Attributes:
        entry: what was announced.
        at: where the next of its bytes belongs.
        data_left: bytes of data that come now.
        filler: bytes behind the data.
        wants_map: whether blocks of a map come first.
    """

    __slots__ = (
        "_extent_left",
        "_extents",
        "_map",
        "_map_left",
        "at",
        "data_left",
        "entry",
        "filler",
        "wants_map",
    )

    def __init__(
        self, entry: Entry, offset: ByteCount, size: ByteCount, *, is_sparse: bool
    ) -> None:
        self.entry = entry
        self.at = offset
        self.wants_map = is_sparse
        self.data_left = 0 if is_sparse else size
        self.filler = padding(size)
        self._map_left = size
        self._map = b""
        self._extents: Iterator[Extent] | None = None
        self._extent_left = self.data_left

    def take(self, view: memoryview, events: list[Event]) -> int:
        """Take data; return how many bytes."""
        size = min(len(view), self._extent_left)
        events.append(Data(self.at, view[:size]))
        self.at += size
        self.data_left -= size
        self._extent_left -= size
        if not self._extent_left:
            self._next_extent()
        return size

    def _next_extent(self) -> None:
        extent = next(self._extents, None) if self._extents is not None else None
        if extent is not None:
            self.at, self._extent_left = extent.offset, extent.size

    def take_map(self, block: bytes) -> None:
        """Take a block of the map; raises `ProtocolViolation`, `DecodeError`."""
        self._map += block
        self._map_left -= len(block)
        if self._map_left < 0 or len(self._map) > MAX_MAP:
            raise ProtocolViolation("a map of holes in the archive is too long")
        count = decode_number(self._map.partition(b"\n")[0])
        if count > MAX_EXTENTS:
            raise ProtocolViolation("a map of holes in the archive has too many lines")
        if self._map.count(b"\n") <= 2 * count:
            return
        numbers = [decode_number(line) for line in self._map.split(b"\n")[1 : 2 * count + 1]]
        extents = [Extent(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        self._check(extents)
        self.wants_map = False
        self.data_left = self._map_left
        self._extents = iter([extent for extent in extents if extent.size])
        self._next_extent()

    def _check(self, extents: list[Extent]) -> None:
        at = self.at
        for extent in extents:
            if extent.offset < at:
                raise ProtocolViolation("a map of holes in the archive does not rise")
            at = extent.offset + extent.size
        if at > self.entry.size or sum(extent.size for extent in extents) != self._map_left:
            raise ProtocolViolation("a map of holes in the archive does not fit its file")


def _begun(
    path: bytes, mode: int, mtime_ns: int, size: ByteCount, records: dict[bytes, bytes]
) -> _File:
    """Return the file that begins; raises `ProtocolViolation`, `DecodeError`."""
    offset = decode_number(records.get(OFFSET, b"0"))
    is_sparse = REAL_SIZE in records
    if is_sparse:
        if any(records.get(key) != value for key, value in SPARSE.items()) or not size:
            raise ProtocolViolation("a file of the archive has a map of holes of another kind")
        real_size = decode_number(records[REAL_SIZE])
    else:
        real_size = offset + size
    if real_size > MAX_NUMBER or offset > real_size:
        raise ProtocolViolation("a file of the archive is larger than any can be")
    entry = Entry(path, EntryType.FILE, real_size, mtime_ns, mode)
    return _File(entry, offset, size, is_sparse=is_sparse)
