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

GNU tar, bsdtar and Python's tarfile read what the writer makes.  The reader
(`derphole.transfer.archive_reader`) takes that, plus types that it tells and leaves out; all else
ends it, since a peer that says something else is broken or hostile.  Source: docs/protocol.md,
section "Trees".  Pure.
"""

from collections.abc import Sequence

from derphole.transfer.entries import (
    Ending,
    Entry,
    EntryType,
    Extent,
)
from derphole.transfer.tar_header import (
    END,
    LINK_SIZE,
    MAX_OCTAL,
    encode_global,
    encode_header,
    encode_records,
    encode_time,
    fits_time,
    padding,
    split_name,
)
from tunnel.errors import MisuseError
from tunnel.units import KIB, ByteCount

# Fixed by the protocol.
MAX_RECORDS: ByteCount = 64 * KIB  # of one member
MAX_MAP: ByteCount = 64 * KIB  # of one file
MAX_EXTENTS = 1500  # lines of a map: that many fit, two numbers of 19 digits each
MAX_ENTRIES = 1 << 32
# Chosen: holes below this are sent as zeros, since a map and a seek cost more.
MIN_HOLE: ByteCount = 64 * KIB

OFFSET, CHANGE, SIZE = b"DERPHOLE.offset", b"DERPHOLE.change", b"DERPHOLE.size"
SPARSE = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
REAL_SIZE, REAL_NAME = b"GNU.sparse.realsize", b"GNU.sparse.name"
FILE_TYPE, LINK_TYPE, FOLDER_TYPE = b"0", b"2", b"5"
_TYPES = {EntryType.FILE: FILE_TYPE, EntryType.LINK: LINK_TYPE, EntryType.FOLDER: FOLDER_TYPE}


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
        name = entry.path + (b"/" if entry.type is EntryType.FOLDER else b"")
        size = entry.size - offset
        records: dict[bytes, bytes] = {}
        sparse_map = b""
        if offset:
            records[OFFSET] = b"%d" % offset
        if extents is not None:
            sparse_map = _encode_map(extents, entry.size)
            size = len(sparse_map) + sum(extent.size for extent in extents)
            records |= SPARSE | {REAL_SIZE: b"%d" % entry.size, REAL_NAME: name}
        if not fits_time(entry.mtime_ns):
            records[b"mtime"] = encode_time(entry.mtime_ns)
        if size > MAX_OCTAL:
            records[b"size"] = b"%d" % size
        if split_name(name) is None and extents is None:
            records[b"path"] = name
        if len(entry.target) > LINK_SIZE:
            records[b"linkpath"] = entry.target
        head = encode_header(
            name, _TYPES[entry.type], entry.mode, size, entry.mtime_ns, entry.target
        )
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
        flags = {CHANGE: ending.change.value.encode(), SIZE: b"%d" % ending.size}
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


def _encode_map(extents: Sequence[Extent], size: ByteCount) -> bytes:
    spans = [*extents, Extent(size, 0)]  # by which GNU tar knows of a hole at the end
    lines = [b"%d\n" % len(spans)]
    lines += [b"%d\n%d\n" % span for span in spans]
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
    while len(joined) >= MAX_EXTENTS:  # the map has one more
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
