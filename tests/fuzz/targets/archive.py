# Invariant: an archive gives events that fit together and paths that stay inside, or a PeerError.
from collections.abc import Iterator
from contextlib import suppress

from derphole.transfer.archive import ArchiveWriter
from derphole.transfer.archive_reader import (
    ArchiveReader,
    Began,
    Data,
    Ended,
    Entered,
    Finished,
    Left,
    LeftOut,
    Linked,
)
from derphole.transfer.entries import Change, Ending, Entry, EntryType, Extent
from derphole.transfer.names import MAX_DEPTH, order_key, path_fault
from derphole.transfer.tar_header import BLOCK, MAGIC, checksum
from tunnel.errors import PeerError

WORDS = (
    b"ustar\x0000",
    b"DERPHOLE.offset=",
    b"DERPHOLE.change=",
    b"GNU.sparse.realsize=",
    b"path=",
    b"linkpath=",
    b"size=",
    b"../",
    b"././@PaxHeader",
)
CUTS = (1, 100, 511, 512, 4096)


class Model:
    """What must hold between the events of an archive."""

    def __init__(self) -> None:
        self.folders: list[bytes] = []
        self.latest = b""
        self.file: Entry | None = None
        self.at = 0
        self.is_finished = False

    def see(self, event: object) -> None:
        assert not self.is_finished
        assert (self.file is not None) == isinstance(event, Data | Ended)
        match event:
            case Entered(entry):
                self.place(entry.path)
                self.folders.append(entry.path)
                assert len(self.folders) <= MAX_DEPTH
            case Left():
                self.folders.pop()
            case Began(entry, offset):
                self.place(entry.path)
                assert 0 <= offset <= entry.size < 1 << 63
                self.file, self.at = entry, offset
            case Data(offset, view):
                assert self.file is not None
                assert view
                assert self.at <= offset
                self.at = offset + len(view)
                assert self.at <= self.file.size
            case Ended(ending):
                assert self.file is not None
                assert 0 <= ending.size <= self.file.size
                self.file = None
            case Linked(entry, fault):
                self.place(entry.path)
                assert fault or not entry.target.startswith(b"/")
            case LeftOut(path, _):
                self.place(path)
            case Finished():
                assert not self.folders
                self.is_finished = True

    def place(self, path: bytes) -> None:
        assert path_fault(path) is None
        assert path.rpartition(b"/")[0] == (self.folders[-1] if self.folders else b"")
        assert order_key(path) > self.latest
        self.latest = order_key(path)


def cost(data: bytes) -> None:
    reader = ArchiveReader()
    with suppress(PeerError):
        reader.feed(data)


def told(data: bytes, step: int) -> list[object]:
    """Return what an archive tells in all, in whatever pieces it comes."""
    reader, model, seen = ArchiveReader(), Model(), []
    try:
        for at in range(0, len(data), step):
            for event in reader.feed(data[at : at + step]):
                model.see(event)
                if not isinstance(event, Data):
                    seen.append(event)
        assert reader.is_finished == model.is_finished
    except PeerError as error:
        seen.append(type(error))
    return seen


def repaired(data: bytes) -> bytes:
    """Return the input with right checksums: a fuzzer would never get past them."""
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    return b"".join(_repaired(b) if b[257:265] == MAGIC else b for b in blocks)


def _repaired(block: bytes) -> bytes:
    blank = (block[:148] + bytes(b" " * 8) + block[156:]).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % checksum(blank) + block[156:]


def run(data: bytes) -> None:
    data = repaired(data)
    whole = told(data, max(1, len(data)))
    cut = told(data, CUTS[len(data) % len(CUTS)])
    # In one piece, an error hides what that piece told before.
    assert cut == whole or isinstance(whole[-1], type)


def seeds() -> Iterator[bytes]:
    top = Entry(b"top", EntryType.FOLDER, 0, 10**18, 0o755)
    entry = Entry(b"top/file", EntryType.FILE, 5, 10**18 + 1, 0o644)
    link = Entry(b"top/link", EntryType.LINK, 0, 10**18, 0o777, b"file")
    long = Entry(b"top/" + b"n" * 200, EntryType.LINK, 0, -1, 0o777, b"t" * 150)

    writer = ArchiveWriter()
    data = writer.begin(top) + writer.begin(entry)
    writer.took(5)
    data += b"hello" + writer.end() + writer.begin(link) + writer.begin(long)
    yield data + writer.finish()
    writer = ArchiveWriter()
    data = writer.begin(top) + writer.begin(entry, 2)
    writer.took(3)
    yield data + b"llo" + writer.end(Ending(4, Change.SHRANK)) + writer.finish()
    writer = ArchiveWriter()
    sparse = Entry(b"top/sparse", EntryType.FILE, 1 << 30)
    data = writer.begin(top) + writer.begin(sparse, 0, [Extent(0, 3), Extent(1 << 20, 4)])
    writer.took(7)
    yield data + b"abcdefg" + writer.end() + writer.finish()
    writer = ArchiveWriter()
    yield writer.begin(Entry(b"huge", EntryType.FILE, 1 << 50)) + bytes(1000)
    yield ArchiveWriter().finish()
