"""What identifies a source and what is in it, and whether what is held came from what is offered.

    source id   16 bytes, BLAKE2b keyed with a secret of the sending user, over its absolute paths:
                a new process of the same sender is recognised, and nobody learns paths from it
    entry key   see `derphole.transfer.entries`: a change of anything it covers makes another entry

Contents are in neither: what is held of an entry that was begun is compared with the source piece
by piece, a finished one is known by its key.  Pure.  Source: docs/protocol.md, section
"Conversations".
"""

from collections.abc import Iterable
from enum import Enum
from hashlib import blake2b

from derphole.speech.transfer_messages import SOURCE_ID_SIZE, Kind, Offer
from derphole.transfer.entries import Entry, EntryType

# Chosen.
SOURCE_SECRET_SIZE = 32
# What is never held: there is nothing that a later run could go on with.
NO_SOURCE = bytes(SOURCE_ID_SIZE)
RESUMABLE = (Kind.FILE, Kind.FOLDER, Kind.SEVERAL)


def file_key(offer: Offer) -> bytes:
    """Return the key of the one file that is offered."""
    return Entry(offer.name, EntryType.FILE, offer.size, offer.mtime_ns, offer.mode).key


def source_id(secret: bytes, paths: Iterable[bytes]) -> bytes:
    """Return the id of a source.

    Args:
        secret: 32 bytes that this user alone has.
        paths: what is sent, absolute, in any order.
    """
    hashed = blake2b(key=secret, digest_size=SOURCE_ID_SIZE, person=b"derphole source")
    for path in sorted(set(paths)):
        hashed.update(len(path).to_bytes(4, "little") + path)
    return hashed.digest()


class Fit(Enum):
    """Whether what is held can be gone on with; the value says it in words."""

    FITS = "it goes on where it stopped"
    NEVER = "nothing of this kind can be gone on with"
    OTHER_SOURCE = "what is held came from somewhere else"
    CHANGED = "the file has changed since"


def fit(held: Offer, offer: Offer) -> Fit:
    """Return whether what was held of an earlier offer fits one of now.

    A file fits only unchanged; of a folder each entry is looked at on its own.
    """
    if offer.kind not in RESUMABLE or offer.source == NO_SOURCE:
        return Fit.NEVER
    if (held.kind, held.source) != (offer.kind, offer.source):
        return Fit.OTHER_SOURCE
    if offer.kind is Kind.FILE and file_key(held) != file_key(offer):
        return Fit.CHANGED
    return Fit.FITS
