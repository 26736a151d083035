"""Places: which of the claimers that were let in by a claim hold one, and who loses it to whom.

    first sealed packet of a pending link --> knock
        a place is free                    --> admitted
        its process holds a place, and it
        proved to be that process          --> the old link is pinged, as below, and no other
        others hold them all               --> they are pinged for PROBE_S:
            all answer                     --> the newcomer is closed with IN_USE
            one is silent                  --> it is replaced (PROBE_S grows with its round trip)

    PENDING --knock--> ADMITTED                  a place is free
                   --> KNOCKING --> ADMITTED     one became free
                                --> CLOSING      none did, or it left
                   --> CLOSING                   too many knock already

Nothing is taken by a claim alone, nor by naming another process.  The frames that a relay holds for
us are shared out among the holders.  This module knows no claims and no keys.  Source: design,
sections 4 and 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from tunnel.crypto.keys import DerpKey
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import Trace, Transmit
from tunnel.proto.meeting.owner import Declined, OtherVersionClaimed
from tunnel.proto.rate.relay import RELAY_GRANT_MINIMUM, RELAY_GRANT_TOTAL
from tunnel.units import Instant, Seconds
from tunnel.values import frozen

# Fixed by the protocol: close codes of this machine.
IN_USE = 2
REPLACED = 3
# Chosen (design, section 5).
PROBE_S: Seconds = 2.0
MAX_PROBE_S: Seconds = 12.0  # of a holder whose answers take long
CLOSED_S: Seconds = 30.0  # a closed link repeats its close for so long, whatever arrives
# Chosen: a peer that missed its close comes back to it within seconds; whoever makes links that are
# refused, or are closed at once, gets no more than so many remembered.
MAX_CLOSED = 32
# Chosen: as many as there may be claims unanswered; those that come then are refused at once.
MAX_KNOCKING = 64


@frozen
class LinkAdmitted:
    """A claimer has a place; its link may be used."""

    link: PeerLink
    header: bytes
    instance: bytes
    is_proven: bool = False  # whether it proved to be that process


IssuerEvent = LinkAdmitted | Declined | OtherVersionClaimed


class ApplicantState(IntEnum):
    """What is true of a claimer whose claim was accepted."""

    PENDING = 0  # never heard
    KNOCKING = 1  # heard, while the holders are asked whether they live
    ADMITTED = 2  # it has a place, until its link is closed
    CLOSING = 3  # it left or was refused before it had one; our close goes out, again if need be


@dataclass(slots=True, repr=False)
class Applicant:
    """A claimer whose claim was accepted.

    Args:
        link: its link.
        index: by which it names the link.
        claimer: its DERP key.
        header: of its claim, in the clear.
        instance: the id of its process.
        accepted_at: when its claim was answered.
        is_proven: whether it proved to be that process.
    """

    link: PeerLink
    index: int
    claimer: DerpKey
    header: bytes
    instance: bytes
    accepted_at: Instant
    is_proven: bool = False
    state: ApplicantState = ApplicantState.PENDING
    knocked_at: Instant | None = None

    @property
    def is_holder(self) -> bool:
        """Whether it has a place."""
        return self.state is ApplicantState.ADMITTED and not self.link.is_closed

    @property
    def may_be_sent_to(self) -> bool:
        """Whether its link may send: one that waits for a place says nothing."""
        return self.state in (ApplicantState.ADMITTED, ApplicantState.CLOSING)

    @property
    def forget_at(self) -> Instant | None:
        """When its link is to be forgotten, once that is closed."""
        closed_at = self.link.closed_at
        return None if closed_at is None else Instant(closed_at + CLOSED_S)

    def answer_due(self, asked_at: Instant) -> Instant:
        """Return when what was asked then should have been answered."""
        return Instant(asked_at + max(PROBE_S, min(self.link.answer_s, MAX_PROBE_S)))

    def is_silent_since(self, instant: Instant) -> bool:
        """Tell whether nothing was heard from it after `instant`."""
        return self.link.last_heard is None or self.link.last_heard < instant


class Places:
    """The places of one issuer.

    Args:
        count: how many links may live at once.
        tell: takes what the issuer's owner is to know.
        trace: see `PeerLink`.
    """

    def __init__(self, count: int, tell: Callable[[IssuerEvent], None], trace: Trace) -> None:
        self.may_replace = True  # whether a silent holder loses its place to a newcomer
        self.by_index: dict[int, Applicant] = {}
        self._turn = 0  # which link is asked first
        self._count = count
        self._tell = tell
        self._trace = trace

    @property
    def holders(self) -> list[Applicant]:
        """Those who have a place."""
        return [applicant for applicant in self.by_index.values() if applicant.is_holder]

    def holds(self, instance: bytes) -> bool:
        """Tell whether a link of this process has a place."""
        return any(holder.instance == instance for holder in self.holders)

    def grant_for(self, newcomers: int) -> int:
        """Return how many relay frames each link may have in flight to us with so many more."""
        links = len(self.holders) + newcomers
        return max(RELAY_GRANT_MINIMUM, RELAY_GRANT_TOTAL // max(1, links))

    def add(self, applicant: Applicant) -> None:
        """Remember a claimer whose claim was accepted; the oldest closed link may go for it."""
        self.by_index[applicant.index] = applicant
        closed = sorted(
            (each.link.closed_at, index)
            for index, each in self.by_index.items()
            if each.link.closed_at is not None
        )
        for _, index in closed[:-MAX_CLOSED]:
            del self.by_index[index]

    def forget_pending(self, applicant: Applicant) -> None:
        """Drop an applicant that never knocked."""
        if applicant.state is ApplicantState.PENDING:
            self.by_index.pop(applicant.index, None)

    def knock(self, now: Instant, applicant: Applicant) -> None:
        """Note the first sealed packet of an applicant: it asks for a place."""
        if applicant.link.is_closed:
            return
        applicant.link.expect_answers_after(now - applicant.accepted_at)
        asked = self._own(applicant) or self._in_the_way()
        if not asked:
            self._admit(now, applicant)
            return
        states = [each.state for each in self.by_index.values()]
        if states.count(ApplicantState.KNOCKING) >= MAX_KNOCKING:
            self._refuse(now, applicant)
            return
        applicant.state, applicant.knocked_at = ApplicantState.KNOCKING, now
        self._trace("place.knocked", {"holders": len(asked)})
        for holder in asked:
            holder.link.ping()

    def _own(self, applicant: Applicant) -> list[Applicant]:
        """Return the holders that an applicant proved to be the same process as."""
        if not applicant.is_proven:
            return []
        return [holder for holder in self.holders if holder.instance == applicant.instance]

    def _in_the_way(self) -> list[Applicant]:
        """Return every holder if no place is free."""
        holders = self.holders
        return holders if len(holders) >= self._count else []

    def settle(self, now: Instant) -> None:
        """Decide about the knocks that can be decided now."""
        for applicant in list(self.by_index.values()):
            if applicant.state is ApplicantState.KNOCKING and applicant.knocked_at is not None:
                self._settle(now, applicant, applicant.knocked_at)

    def _settle(self, now: Instant, applicant: Applicant, knocked_at: Instant) -> None:
        if applicant.link.is_closed:  # it left while it waited
            applicant.state = ApplicantState.CLOSING
            return
        own = self._own(applicant)
        asked = own or self._in_the_way()
        silent = [holder for holder in asked if holder.is_silent_since(knocked_at)]
        is_over = now >= self._answers_due(asked, knocked_at)
        if not asked:
            self._admit(now, applicant)
        elif not silent or (is_over and not (own or self.may_replace)):
            self._refuse(now, applicant)
        elif is_over:
            self._trace("place.replaced", {"is_same_instance": bool(own)})
            who = "a newer link of the same process" if own else "another claimer"
            silent[0].link.close(now, REPLACED, f"{who} took over after a silence")
            self._admit(now, applicant)

    def _answers_due(self, asked: list[Applicant], knocked_at: Instant) -> Instant:
        return max([each.answer_due(knocked_at) for each in asked], default=knocked_at)

    def _admit(self, now: Instant, applicant: Applicant) -> None:
        applicant.state = ApplicantState.ADMITTED
        applicant.link.admit(now)
        applicant.link.ping()  # the first sealed packet tells the claimer that it is in
        self._share_grant()
        who = applicant.header, applicant.instance, applicant.is_proven
        self._tell(LinkAdmitted(applicant.link, *who))

    def _refuse(self, now: Instant, applicant: Applicant) -> None:
        applicant.state = ApplicantState.CLOSING
        self._trace("place.refused", {"verdict": IN_USE})
        applicant.link.close(now, IN_USE, "already in use")
        self._tell(Declined(IN_USE))

    def _share_grant(self) -> None:
        grant = self.grant_for(0)
        for holder in self.holders:
            holder.link.our_grant = grant

    # -- time and sending -------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due."""
        times: list[Instant | None] = []
        for applicant in self.by_index.values():
            # A link that may not send yet would name deadlines that nobody can meet.
            if applicant.may_be_sent_to:
                times += [applicant.link.next_timeout(), applicant.forget_at]
            elif applicant.knocked_at is not None:
                asked = self._own(applicant) or self._in_the_way()
                times.append(self._answers_due(asked, applicant.knocked_at))
        return min((time for time in times if time is not None), default=None)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        self.settle(now)
        for applicant in list(self.by_index.values()):
            if applicant.may_be_sent_to:
                applicant.link.handle_timeout(now)
                self._forget_closed(now, applicant)

    def packets_to_send(self, now: Instant, limit: int) -> list[Transmit]:
        """Return about `limit` packets of links that may send; they take turns to be first."""
        self.settle(now)
        links = [each.link for each in self.by_index.values() if each.may_be_sent_to]
        packets: list[Transmit] = []
        self._turn += 1
        for i in range(len(links)):
            if len(packets) >= limit:
                break
            link = links[(self._turn + i) % len(links)]
            packets += link.packets_to_send(now, limit - len(packets))
        return packets

    def _forget_closed(self, now: Instant, applicant: Applicant) -> None:
        """Drop a link that was closed a while ago; until then it repeats its close."""
        if applicant.forget_at is not None and now >= applicant.forget_at:
            del self.by_index[applicant.index]
            self._share_grant()
