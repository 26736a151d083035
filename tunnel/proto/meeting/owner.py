"""What the owner of an issuer or a claimer decides, and what it is told of meetings.

    issuer    decides by its `Gate` whom a claim's header names, and who is let in
              is told `Declined`, `OtherVersionClaimed`
    claimer   is told `Refused`, `NotUnderstood`: the claim is over; `NotHere`: it goes on
              with a code: `CodeAnswered`, and it can claim; `CodeFailed`

Links are told by the machines themselves.  What the numbers of verdicts mean is the owner's affair,
but for those of features.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from tunnel.units import WallTime
from tunnel.values import frozen, frozen_secret
from tunnel.wire.handshake import ACCEPTED, CLAIMER_LACKS, HEADER_SIZE, ISSUER_LACKS, VERSION

__all__ = [
    "ACCEPTED",
    "CLAIMER_LACKS",
    "HEADER_SIZE",
    "ISSUER_LACKS",
    "VERSION",
    "CodeAnswered",
    "CodeFailed",
    "CodeFault",
    "Declined",
    "Gate",
    "HeaderMaker",
    "Named",
    "NotHere",
    "NotUnderstood",
    "OtherVersionClaimed",
    "Refused",
]


@frozen
class Declined:
    """A claim with a good MAC was refused: by the gate, or since every place is taken.

    Args:
        verdict: why.
        program: name and version of the claimer's program, untrusted.
    """

    verdict: int
    program: bytes = b""


@frozen
class OtherVersionClaimed:
    """A claim with a good MAC, but of a version that we do not speak, was told so."""

    version: int


# Makes the 64 bytes that name a grant, for the ephemeral key of the claim they stand in.
HeaderMaker = Callable[[bytes], bytes]


@frozen
class Refused:
    """The issuer refused the claim.

    Args:
        verdict: its reason, whose meaning the owner knows.
        clock_s: the issuer's wall clock, seconds since 1970.
        program: name and version of the issuer's program, untrusted.
    """

    verdict: int
    clock_s: float
    program: bytes = b""


@frozen
class NotUnderstood:
    """The issuer speaks another version, or answered what this one does not understand.

    Args:
        version: of the protocol that it speaks.
        program: name and version of its program, untrusted.
    """

    version: int
    program: bytes


@frozen
class NotHere:
    """A relay says that the issuer is not connected to it."""

    relay: int


class CodeFault(Enum):
    """Why a code led to nothing."""

    ABSENT = "absent"  # the relay says that nobody is at the meeting
    SILENT = "silent"  # whoever is there does not answer
    WRONG = "wrong"  # other words
    IMPOSTOR = "impostor"  # whoever is there does not know the words


@frozen_secret
class CodeAnswered:
    """The text that a code stands for."""

    text: bytes


@frozen
class CodeFailed:
    """A code led to nothing.

    Args:
        fault: why.
        is_spent: whether a proof went out, so that one guess may be gone.
    """

    fault: CodeFault
    is_spent: bool


@frozen_secret
class Named:
    """What a claim's header names.

    Args:
        grant: what the limits of one grant are counted by.
        secret: the 16 bytes that the claim must be made with.
        instance: the process that alone has this secret, if there is one: it was here before.
    """

    grant: bytes
    secret: bytes
    instance: bytes | None = None


class Gate(Protocol):
    """What the owner decides: whom claim headers name, and who is let in."""

    def named(self, header: bytes, ephemeral: bytes) -> Named | None:
        """Return what a claim's header and ephemeral key name, or None if that is nothing."""

    def verdict(self, header: bytes, instance: bytes | None, wall: WallTime) -> int:
        """Return ACCEPTED or a reason of refusal; called only after the MAC was checked.

        `instance` is that of `Named`.
        """
