"""Decisions: what a stream's proof has its owner do, as values.

Returned by `derphole.speech.stream_proof` in the order in which they are to be carried out; those
of transfers alone are in `derphole.speech.transfer_decisions`.  Pure.
"""

from collections.abc import Sequence

from derphole.errors import DerpholeError
from derphole.speech.endings import Ending
from derphole.speech.messages import Buffer
from derphole.speech.transfer_decisions import TransferDecision
from tunnel.values import frozen


@frozen
class Write:
    """Pass the next bytes on: to the link where they are sent, to the output where they come."""

    chunks: Sequence[Buffer]


@frozen
class EndData:
    """End the data stream behind everything that was written to it."""


@frozen
class Say:
    """Write these bytes to the control stream."""

    data: bytes


@frozen
class KeepPlace:
    """Let nobody take over this link's place any more: half a stream is written."""


@frozen
class Flush:
    """Have the output keep what was written, which agrees, then call `handle_flushed`."""


@frozen
class Proved:
    """The run has succeeded.  The sender calls `handle_acknowledged` once its last word arrived."""


@frozen
class Close:
    """Close the link."""

    code: Ending
    text: str


@frozen
class Over:
    """Leave: nothing more is to be done after a success."""


@frozen
class Replaced:
    """Leave this link, and wait for that of the claimer who took over."""


@frozen
class KeyOffered:
    """Decide about a public key, keep it if it is wanted, then call `answer`."""

    line: bytes


@frozen
class Fail:
    """End the run with this error; `ending_of` is how the other side is told."""

    error: DerpholeError


Decision = (
    Write
    | EndData
    | Say
    | KeepPlace
    | Flush
    | Proved
    | Close
    | Over
    | Replaced
    | KeyOffered
    | Fail
    | TransferDecision
)
