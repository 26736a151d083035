"""Keeper: the journal of one transfer, and where it is kept in mind."""

import os
from collections.abc import Callable
from contextlib import suppress

from derphole.edges.destination import Destination
from derphole.edges.journal_file import JournalFile
from derphole.edges.kept_state import KeptState
from derphole.edges.left_behind import LeftBehind
from derphole.edges.stdio import reason_text
from derphole.edges.worker import Worker
from derphole.errors import PartialUnusable, SinkFailed
from derphole.speech.transfer_messages import Offer
from derphole.status import size_text
from derphole.transfer.entries import Entry
from derphole.transfer.journal import OfferKept, TokenKept
from derphole.transfer.names import part_name, shown
from derphole.transfer.offer import NO_SOURCE, Fit, fit


class Keeper:
    """The journal of one transfer and where it is kept in mind.

    Attributes:
        journal: the file.
        goes_on: whether what it tells of fits what is offered.

    Args:
        destination: the folder that it lies in; it stays the caller's.
        name: of the journal.
        offer: what is offered.
        state: where journals are kept in mind.
        token: what this side was started with; None for nothing that is used again.
    """

    def __init__(
        self,
        destination: Destination,
        name: bytes,
        offer: Offer,
        state: KeptState,
        token: TokenKept | None,
    ) -> None:
        self._worker = Worker()
        self._destination = destination
        self._state = state
        self._token = token
        self._path = os.path.join(destination.real_path, name)
        self.journal = self._worker.call(JournalFile, destination.fd, name)
        kept = self.journal.replay.offer
        self.fit = None if kept is None else fit(kept, offer)
        self.goes_on = self.fit is Fit.FITS

    @property
    def begun(self) -> dict[bytes, Entry]:
        """Entries that an earlier run began and did not finish, by key."""
        return self.journal.replay.begun

    def check_no_other(self, name: bytes) -> None:
        """Raise `PartialUnusable` where what came of another transfer would be thrown away."""
        kept = self.journal.replay.offer
        if kept is None or self.fit in (Fit.FITS, Fit.CHANGED) or kept.source == NO_SOURCE:
            return
        left = LeftBehind(self._destination.fd, top_names={})
        held = self._worker.call(left.held, name)
        if held:
            raise PartialUnusable(
                shown(part_name(name)),
                f"{size_text(held)} of a transfer from somewhere else are in it",
                "use --overwrite to give them up, choose another place with -o, or remove what "
                "broken transfers left with `derphole receive --forget`",
            )

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Do something with the journal, in its thread."""
        try:
            self._worker.call(function, *args)
        except OSError as error:
            raise SinkFailed(shown(self._path), reason_text(error)) from error

    def begin(self, offer: Offer) -> None:
        """Go on with the journal if it fits, or begin a new one."""
        if self.goes_on:
            self.call(self.journal.go_on, self._token)
        else:
            self.call(self.journal.begin, OfferKept(offer), self._token)
        self.call(self._state.remember, self._path)

    def remove(self) -> None:
        """Remove it: everything is done."""
        with suppress(OSError):
            self._worker.call(self.journal.remove)
        self._worker.call(self._state.forget, self._path)

    def close(self) -> None:
        """Let go of the journal; it stays."""
        self._worker.close(self.journal.close)
