"""Decisions of transfers: what their machines have their owners do beside what every stream needs.

Returned by the machines of `derphole.transfer` among those of `derphole.speech.decisions`, in the
order in which they are to be carried out.  Pure.
"""

from collections.abc import Iterable, Sequence

from derphole.speech.transfer_messages import Offer, Origin
from tunnel.units import Buffer, ByteCount
from tunnel.values import frozen


@frozen
class Piece:
    """A stretch of an entry that the receiver holds already.

    Args:
        number: among all that is held, from 0.
        key: of the entry.
        offset: of its first byte in the entry.
        size: in bytes, at least 1.
    """

    number: int
    key: bytes
    offset: ByteCount
    size: ByteCount


# -- the receiver's -------------------------------------------------------------------------


@frozen
class Offered:
    """Decide about an offer: `go`, `look` or `decline`."""

    offer: Offer


@frozen
class Counted:
    """The sender has counted on: `totals` is another."""


@frozen
class Begin:
    """Read the data stream from now on; what is held is kept with `Origin.HELD` alone."""

    origin: Origin


@frozen
class ReadPieces:
    """Read the repair stream as well, and beside all that what is held, into `handle_pieces`."""

    pieces: Iterable[Piece]


@frozen
class WritePiece:
    """Write bytes over what is held of an entry."""

    key: bytes
    offset: ByteCount
    data: Buffer


# -- the sender's ---------------------------------------------------------------------------


@frozen
class Heard:
    """Everything that is held was told: begin with `start`."""


@frozen
class Skip:
    """Leave the entry out: the receiver has it."""


@frozen
class SendFrom:
    """Send the entry from this offset on."""

    offset: ByteCount


@frozen
class Compare:
    """Read a piece of the source beside all that, and tell `handle_compared` its digest.

    There is one at a time, the `ReadRepair` that may follow included.
    """

    piece: Piece


@frozen
class ReadRepair:
    """Read a piece of the source again, into `handle_repair`."""

    piece: Piece


@frozen
class OpenRepairs:
    """Open the repair stream, the next one behind the data stream."""


@frozen
class WriteRepair:
    """Write these bytes to the repair stream."""

    chunks: Sequence[Buffer]


@frozen
class EndRepairs:
    """End the repair stream behind everything that was written to it."""


TransferDecision = (
    Offered
    | Counted
    | Begin
    | ReadPieces
    | WritePiece
    | Heard
    | Skip
    | SendFrom
    | Compare
    | ReadRepair
    | OpenRepairs
    | WriteRepair
    | EndRepairs
)
