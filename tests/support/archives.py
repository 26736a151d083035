"""Archives for tests: what the product makes of entries, and what only somebody hostile would make."""

from derphole.transfer.archive import ArchiveWriter
from derphole.transfer.archive_reader import ArchiveReader
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.tar_header import (
    checksum,
    encode_header,
    encode_records,
    padding,
)

FILE, FOLDER, LINK = EntryType.FILE, EntryType.FOLDER, EntryType.LINK


def file(path, size=0, mode=0o644, mtime_ns=10**18):
    return Entry(path, FILE, size, mtime_ns, mode)


def folder(path, mode=0o755, mtime_ns=10**18):
    return Entry(path, FOLDER, 0, mtime_ns, mode)


def link(path, target, mtime_ns=10**18):
    return Entry(path, LINK, 0, mtime_ns, 0o777, target)


def archive_of(*members, ends=True):
    """Return the archive of entries, files as pairs of entry and content."""
    writer = ArchiveWriter()
    parts = []
    for member in members:
        entry, content = member if isinstance(member[0], Entry) else (member, b"")
        parts.append(writer.begin(entry))
        writer.took(len(content))
        parts += [content, writer.end()]
    return b"".join(parts) + (writer.finish() if ends else b"")


def member(name, kind=b"0", content=b"", target=b"", size=None, mode=None, **records):
    """Return one member whose header says whatever is wanted, its checksum right."""
    size = len(content) if size is None else size
    mode = (0o755 if kind == b"5" else 0o644) if mode is None else mode
    head = encode_header(name, kind, mode, size, 10**18, target)
    pax = encode_records({key.replace("__", ".").encode(): value for key, value in records.items()})
    return pax + head + content + bytes(padding(len(content)))


def patched(block, at, text):
    """Return a header block with other bytes somewhere, and the checksum that goes with them."""
    block = block[:at] + text + block[at + len(text) :]
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % checksum(blank) + blank[156:]


def read(data, step=None):
    """Return the events of an archive that comes in pieces of some size."""
    reader = ArchiveReader()
    events = []
    for at in range(0, len(data), step or max(1, len(data))):
        events += reader.feed(data[at : at + (step or len(data))])
    return events


TOP = member(b"top/", b"5")
