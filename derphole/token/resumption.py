"""Resumptions: the processes that may come back to an issuer, by the secrets it handed out to them.

    hand_out() --> HERE --part(): lost--> LOST --comes back, hand_out()--> HERE
                     |                      | of more than 64, the one lost first
                     +--part(): left--> GONE <+   of more than 64, the first is forgotten

A resuming claim says who makes it by a proof: 16 bytes of BLAKE2b, keyed with the secret, over the
claim's ephemeral key.  A relay, and whoever else can open its header, learns nothing from it.
Those who are gone are remembered so that they can be told.  Pure.  Source: docs/protocol.md,
section "Meeting".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest

from derphole.token.grant import resumption_proofs, resumption_secret
from tunnel.crypto.kdf import Derivation

# Design, section 4.
MAX_LOST = 64
# Chosen: as many again can be told that they are awaited no longer; others hear nothing.
MAX_GONE = 64


class Standing(Enum):
    """What is true of a process that was handed a secret."""

    HERE = "here"
    LOST = "lost"
    GONE = "gone"


@dataclass(slots=True, repr=False)
class _Known:
    secret: bytes
    proofs: Derivation
    standing: Standing


class Resumptions:
    """Who may come back.

    Args:
        minting: the issuer's minting key.
        bare_header: the header of the token's claim.
    """

    def __init__(self, minting: bytes, bare_header: bytes) -> None:
        self._minting = minting
        self._bare_header = bare_header
        self._known: dict[bytes, _Known] = {}  # by instance; of each standing, the oldest first

    def __contains__(self, instance: bytes) -> bool:
        return instance in self._known

    def hand_out(self, instance: bytes) -> bytes:
        """Return what lets a process that is here come back later; 16 secret bytes."""
        secret = resumption_secret(self._minting, self._bare_header, instance)
        self._known[instance] = _Known(secret, resumption_proofs(secret), Standing.HERE)
        return secret

    def part(self, instance: bytes, may_come_back: bool) -> None:
        """Note that a process is lost, or has left; one that was handed nothing is nobody."""
        known = self._known.pop(instance, None)
        if known is None:
            return
        known.standing = Standing.LOST if may_come_back else Standing.GONE
        self._known[instance] = known
        lost = self._of(Standing.LOST)
        for pushed_out in lost[: max(0, len(lost) - MAX_LOST)]:
            self.part(pushed_out, may_come_back=False)
        gone = self._of(Standing.GONE)
        for pushed_out in gone[: max(0, len(gone) - MAX_GONE)]:
            del self._known[pushed_out]

    def forget(self, instance: bytes) -> None:
        """Forget a process that claims anew, with the token's own secret."""
        self._known.pop(instance, None)

    def who(self, proof: bytes, ephemeral: bytes) -> tuple[bytes, bytes] | None:
        """Return instance and secret of the process that made a proof; None if nobody did.

        Takes as long whoever it was.
        """
        found = None
        for instance, known in self._known.items():
            if compare_digest(known.proofs.derive(ephemeral), proof):
                found = instance, known.secret
        return found

    def may_come_back(self, instance: bytes) -> bool:
        """Tell whether a process is here or was lost."""
        known = self._known.get(instance)
        return known is not None and known.standing is not Standing.GONE

    def _of(self, standing: Standing) -> list[bytes]:
        known: Iterable[tuple[bytes, _Known]] = self._known.items()
        return [instance for instance, each in known if each.standing is standing]
