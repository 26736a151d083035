"""A tree as one stream: a pax tar archive, in the one order that needs no memory to check.

    order     a folder before what is in it, everything in it before its next sibling, siblings by
              the bytes of their names, rising; so no path comes twice, and a reader knows with
              the folders above it alone that nothing is put through a link
    member    [pax records] header, data, padding to 512 bytes
    records   path linkpath size mtime hdrcharset, where a header cannot hold them; and
              DERPHOLE.offset   the data begins there: the receiver holds what is before it
              GNU.sparse.*      version 1.0: the data begins with a map of what is no hole
    change    a global pax header behind a file that changed while it was read, with
              DERPHOLE.change   what befell it: the values of `entries.Change`
              DERPHOLE.size     its size; bytes behind that are zeros, to fill what was announced
    end       1024 zeros; nothing follows

GNU tar, bsdtar and Python's tarfile read what the writer makes.  The reader takes what the writer
makes, plus types that it tells and leaves out; all else ends it, since a peer that says something
else is broken or hostile.  Source: docs/protocol.md, section "Trees".  Pure.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from derphole.transfer.entries import (
    PERMISSIONS,
    Change,
    Ending,
    Entry,
    Extent,
    Kind,
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
    LINK_SIZE,
    MAX_NUMBER,
    MAX_OCTAL,
    PAX_TYPE,
    Header,
    decode_header,
    decode_number,
    decode_records,
    decode_time,
    encode_global,
    encode_header,
    encode_records,
    encode_time,
    fits_time,
    padding,
    split_name,
)
from tunnel.errors import MisuseError, ProtocolViolation
from tunnel.units import KIB, Buffer, ByteCount

# Fixed by the protocol.
MAX_RECORDS: ByteCount = 64 * KIB  # of one member
MAX_MAP: ByteCount = 64 * KIB  # of one file
MAX_EXTENTS = 1500  # that many fit in a map, two numbers of 19 digits each
MAX_ENTRIES = 1 << 32
# Chosen: holes below this are sent as zeros, since a map and a seek cost more.
MIN_HOLE: ByteCount = 64 * KIB

_OFFSET, _CHANGE, _SIZE = b"DERPHOLE.offset", b"DERPHOLE.change", b"DERPHOLE.size"
_SPARSE = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
_REAL_SIZE, _REAL_NAME = b"GNU.sparse.realsize", b"GNU.sparse.name"
_LEFT_OUT = {b"1": "hard link", b"3": "device", b"4": "device", b"6": "named pipe"}


# -- writing -------------------------------------------------------------------------------------


class ArchiveWriter:
    """Makes everything of an archive but the bytes of files, which the caller puts in between.

    For each file: `begin`, its data, `took` for whatever was put in, `end`; at last `finish`.

    Attributes:
        data_left: bytes of data that the file under way still needs.
    """

    def __init__(self) -> None:
        self.data_left: ByteCount = 0
        self._filler: ByteCount = 0

    def begin(
        self, entry: Entry, offset: ByteCount = 0, extents: Sequence[Extent] | None = None
    ) -> bytes:
        """Return what goes before the data of an entry.

        Args:
            entry: paths rise as the head of this module says.
            offset: of a file: its data begins there.
            extents: of a file with holes: where it has data, from `extents_from`.
        """
        if self.data_left:
            raise MisuseError("a file of the archive is not at its end")
        name = entry.path + (b"/" if entry.kind is Kind.FOLDER else b"")
        size = entry.size - offset
        records: dict[bytes, bytes] = {}
        sparse_map = b""
        if offset:
            records[_OFFSET] = b"%d" % offset
        if extents is not None:
            sparse_map = _encode_map(extents)
            size = len(sparse_map) + sum(extent.size for extent in extents)
            records |= _SPARSE | {_REAL_SIZE: b"%d" % entry.size, _REAL_NAME: name}
        if not fits_time(entry.mtime_ns):
            records[b"mtime"] = encode_time(entry.mtime_ns)
        if size > MAX_OCTAL:
            records[b"size"] = b"%d" % size
        if split_name(name) is None and extents is None:
            records[b"path"] = name
        if len(entry.target) > LINK_SIZE:
            records[b"linkpath"] = entry.target
        head = encode_header(name, entry.kind.value, entry.mode, size, entry.mtime_ns, entry.target)
        self.data_left = size - len(sparse_map)
        self._filler = padding(size)
        return (encode_records(_marked(records)) if records else b"") + head + sparse_map

    def took(self, size: ByteCount) -> None:
        """Count bytes of data that were put in."""
        if size > self.data_left:
            raise MisuseError("a file of the archive has more data than it announced")
        self.data_left -= size

    def end(self, ending: Ending | None = None) -> bytes:
        """Return what goes behind the data of an entry; with an ending that is not as announced."""
        if self.data_left:
            raise MisuseError("a file of the archive has less data than it announced")
        filler, self._filler = bytes(self._filler), 0
        if ending is None or ending.change is None:
            return filler
        flags = {_CHANGE: ending.change.value.encode(), _SIZE: b"%d" % ending.size}
        return filler + encode_global(flags)

    def finish(self) -> bytes:
        """Return the end of the archive."""
        return self.end() + END


def _marked(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return records with the one before them that tells of values that are not UTF-8."""
    try:
        b"".join(records.values()).decode()
    except UnicodeDecodeError:
        return {b"hdrcharset": b"BINARY", **records}
    return records


def _encode_map(extents: Sequence[Extent]) -> bytes:
    lines = [b"%d\n" % len(extents)]
    lines += [b"%d\n%d\n" % (extent.offset, extent.size) for extent in extents]
    text = b"".join(lines)
    return text + bytes(padding(len(text)))


def extents_from(
    found: Sequence[Extent], offset: ByteCount, size: ByteCount
) -> list[Extent] | None:
    """Return where a file has data, from an offset on; None where no hole is worth a map.

    Args:
        found: where it has data, rising, from the file system.
        offset: what is before it is not sent.
        size: of the file.
    """
    smallest = MIN_HOLE
    joined = _joined(found, offset, size, smallest)
    while len(joined) > MAX_EXTENTS:
        smallest *= 2
        joined = _joined(joined, offset, size, smallest)
    return None if joined == [Extent(offset, size - offset)] or offset == size else joined


def _joined(
    extents: Sequence[Extent], offset: ByteCount, size: ByteCount, smallest: ByteCount
) -> list[Extent]:
    """Return extents between two places, without the holes that are below a size."""
    joined: list[Extent] = []
    begin = end = offset
    for extent in extents:
        extent_end = min(extent.offset + extent.size, size)
        if extent_end <= end:
            continue
        if extent.offset - end >= smallest:
            if end > begin:
                joined.append(Extent(begin, end - begin))
            begin = extent.offset
        end = extent_end
    if size - end < smallest:
        end = size
    if end > begin:
        joined.append(Extent(begin, end - begin))
    return joined


# -- reading -------------------------------------------------------------------------------------


class Entered(NamedTuple):
    """A folder begins; what follows, up to its `Left`, is in it."""

    entry: Entry


class Left(NamedTuple):
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


class Finished(NamedTuple):
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
        elif block.count(0) == BLOCK:
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
            change = Change(records.get(_CHANGE, b"").decode("ascii", "replace"))
        except ValueError:
            change = Change.BROKEN  # whatever a later version means, it is no copy
        size = decode_number(records.get(_SIZE, b""))
        if size > self._file.entry.size:
            raise ProtocolViolation("a file of the archive ends behind its end")
        self._end_file(events, Ending(size, change))

    def _end_file(self, events: list[Event], ending: Ending | None) -> None:
        """Tell of the end of a file, which is known only when the next thing comes."""
        if self._file is not None:
            events.append(Ended(ending or Ending(self._file.entry.size)))
            self._file = None

    def _begin(self, header: Header, records: dict[bytes, bytes], events: list[Event]) -> None:
        is_sparse = _REAL_SIZE in records
        path = records.get(_REAL_NAME if is_sparse else b"path", header.name)
        size = decode_number(records[b"size"]) if b"size" in records else header.size
        mtime = records.get(b"mtime")
        mtime_ns = header.mtime_ns if mtime is None else decode_time(mtime)
        if header.kind == Kind.FOLDER.value:
            path = path.removesuffix(b"/")
        self._place(path, events)
        mode = header.mode & PERMISSIONS
        if header.kind == Kind.FILE.value:
            self._file = _begun(path, mode, mtime_ns, size, records)
            self._skip = padding(size)
            events.append(Began(self._file.entry, self._file.at))
        elif header.kind == Kind.FOLDER.value and not size:
            self._folders.append(path)
            events.append(Entered(Entry(path, Kind.FOLDER, mode, mtime_ns)))
        elif header.kind == Kind.LINK.value and not size:
            target = records.get(b"linkpath", header.target)
            entry = Entry(path, Kind.LINK, mode, mtime_ns, target=target)
            events.append(Linked(entry, link_fault(path, target)))
        elif header.kind in _LEFT_OUT:
            self._skip = size + padding(size)
            events.append(LeftOut(path, _LEFT_OUT[header.kind]))
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
        wants_map: whether blocks of a map come first.
    """

    def __init__(self, entry: Entry, offset: ByteCount, size: ByteCount, is_sparse: bool) -> None:
        self.entry = entry
        self.at = offset
        self.wants_map = is_sparse
        self.data_left = 0 if is_sparse else size
        self._map_left = size
        self._map = b""
        self._extents: Iterator[Extent] = iter(())
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
        extent = next(self._extents, None)
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
    offset = decode_number(records.get(_OFFSET, b"0"))
    is_sparse = _REAL_SIZE in records
    if is_sparse:
        if any(records.get(key) != value for key, value in _SPARSE.items()) or not size:
            raise ProtocolViolation("a file of the archive has a map of holes of another kind")
        real_size = decode_number(records[_REAL_SIZE])
    else:
        real_size = offset + size
    if real_size > MAX_NUMBER or offset > real_size:
        raise ProtocolViolation("a file of the archive is larger than any can be")
    entry = Entry(path, Kind.FILE, mode, mtime_ns, real_size)
    return _File(entry, offset, size, is_sparse)
