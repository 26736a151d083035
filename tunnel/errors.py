"""The error tree of the tunnel library.

The first line of each docstring is the sentence a person may be shown; what is raised carries the
particulars.  A datagram can never raise out of a machine (it is dropped and counted); a framed TCP
stream must raise, since it cannot resynchronise.
"""

from enum import StrEnum
from typing import ClassVar, Self


class TunnelError(Exception):
    """The tunnel failed."""


class MisuseError(TunnelError):
    """The library was called in a way its contract forbids; a bug of ours, never caught."""


class PeerError(TunnelError):
    """The other side, or the network, sent bytes that break the protocol."""


class DecodeError(PeerError):
    """Bytes could not be decoded."""


class Truncated(DecodeError):
    """The bytes end before the value does."""


class BadMagic(DecodeError):
    """The bytes do not start with the expected mark."""


class UnknownVersion(DecodeError):
    """The bytes belong to a version this program does not speak."""


class AuthenticationFailed(PeerError):
    """A seal or proof did not verify."""


class ProtocolViolation(PeerError):
    """An authenticated peer broke the rules of the protocol."""


class HostUnreachable(TunnelError):
    """A host could not be reached.

    Args:
        reason: why, as a sentence about it: "its name was not found".
        is_name_unknown: whether there is no such name, or none with an address.
        is_refused: whether the host is there and nothing listens at the port.
    """

    def __init__(
        self, reason: str, *, is_name_unknown: bool = False, is_refused: bool = False
    ) -> None:
        super().__init__(reason)
        self.is_name_unknown = is_name_unknown
        self.is_refused = is_refused


class RelayFault(StrEnum):
    """What was seen of a relay that could not be used; stable words."""

    UNREACHABLE = "unreachable"
    UNKNOWN_NAME = "unknown-name"
    PROXY = "proxy"
    BROKEN = "broken"
    NOT_DERP = "not-derp"
    REDIRECTED = "redirected"
    CERTIFICATE = "certificate"
    KEY_REFUSED = "key-refused"


class RelayError(TunnelError):
    """A relay could not be used.

    Attributes:
        fault: what was seen, in a word.
        is_lasting: trying again brings the same answer until somebody changes something.
        is_misdirected: no relay is at the address, as when it was mistyped; one that worked before
            may come back to it.
    """

    fault: ClassVar[RelayFault] = RelayFault.UNREACHABLE
    is_lasting: ClassVar[bool] = False
    is_misdirected: ClassVar[bool] = False

    def about(self, relay: str) -> Self:
        """Return the same error with the relay's name before its text."""
        named = type(self).__new__(type(self))
        named.__dict__.update(self.__dict__)
        named.args = (f"{relay} {self}",)
        return named


class RelayUnreachable(RelayError):
    """A relay could not be reached."""


class RelayLate(RelayUnreachable):
    """A relay did not answer in time."""


class RelaySilent(RelayUnreachable):
    """A connected relay is silent, or does not receive what we send."""


class RelayNameUnknown(RelayUnreachable):
    """The name of a relay has no address."""

    fault = RelayFault.UNKNOWN_NAME
    is_misdirected = True


class RelayNotListening(RelayUnreachable):
    """Nothing listens at the address of a relay."""

    is_misdirected = True


class RelayRefused(RelayError):
    """A relay answered and refused us."""

    fault = RelayFault.BROKEN


class ProxyRefused(RelayRefused):
    """The proxy in front of a relay refused."""

    fault = RelayFault.PROXY


class ProxyLoginRefused(ProxyRefused):
    """The proxy in front of a relay does not accept our user name and password."""

    is_lasting = True


class ProxyUnsupported(ProxyRefused):
    """The proxy that the settings name is of a kind that is not supported."""

    is_lasting = True


class RelayNotDerp(RelayRefused):
    """The server at the address of a relay does not speak DERP."""

    fault = RelayFault.NOT_DERP
    is_misdirected = True


class RelayRedirected(RelayRefused):
    """The server at the address of a relay redirects us.

    Args:
        sentence: what was seen.
        location: where to.
    """

    fault = RelayFault.REDIRECTED
    is_misdirected = True

    def __init__(self, sentence: str, location: str) -> None:
        super().__init__(sentence)
        self.location = location


class RelayDistrusted(RelayRefused):
    """The certificate of a relay cannot be trusted.

    Args:
        sentence: what was seen.
        seen_pin: SHA-256 of the public key it showed, 32 bytes; None when that is not known.
    """

    fault = RelayFault.CERTIFICATE
    is_lasting = True

    def __init__(self, sentence: str, seen_pin: bytes | None = None) -> None:
        super().__init__(sentence)
        self.seen_pin = seen_pin


class RelayKeyRefused(RelayRefused):
    """A relay does not admit our key."""

    fault = RelayFault.KEY_REFUSED
    is_lasting = True


class LinkEnded(TunnelError):
    """The link to the other side has ended."""


class PeerClosed(LinkEnded):
    """The other side closed the link.

    Args:
        code: its close code; what it means belongs to the owner of the link.
        text: its words, untrusted.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the other side closed the link ({code}): {text}")
        self.code = code
        self.text = text


class PeerSilent(LinkEnded):
    """The other side did not answer for too long.

    Args:
        silent_s: for how long.
    """

    def __init__(self, silent_s: float) -> None:
        super().__init__(f"no answer from the other side for {silent_s:.0f} s")
        self.silent_s = silent_s


class ClosedHere(LinkEnded):
    """We closed the link ourselves.

    Args:
        code: the close code that was sent.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the link was closed on this side ({code})")
        self.code = code


class StreamReset(TunnelError):
    """A stream was given up by one of the sides.

    Args:
        code: the reason, whose meaning belongs to the owner.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"the stream was reset ({code})")
        self.code = code
