"""What both ends say: a relay that others share, what is waited for, what limited it, entries."""

from collections.abc import Callable

import gevent

from derphole.delivery.bottleneck import Bottleneck
from derphole.delivery.standstill import Standstill
from derphole.delivery.statuses import EntryTold
from derphole.progress import Measuring
from derphole.rendezvous.common import Rendezvous
from derphole.status import Notice, Report
from derphole.transfer.names import shown
from derphole.transfer.outcome import Told
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link
from tunnel.units import Seconds

# Chosen: most direct paths are found within two seconds, and a short transfer is over by then.
RELAYED_S: Seconds = 10.0
LOOK_S: Seconds = 1.0
UNHEARD_S: Seconds = 3.0  # while bytes are on their way to the other side
MAX_TOLD = 20  # entries that a person reads about, of each sort


def tell_entries(report: Report, what: str, told: Told) -> None:
    """Tell of entries, the first ones by name.

    Args:
        report: who is told.
        what: in one word, as in `EntryTold`.
        told: the entries.
    """
    for path, phrase in told.first[:MAX_TOLD]:
        report(EntryTold(shown(path), what, phrase))
    if told.count > MAX_TOLD:
        report(Notice(f"{told.count - MAX_TOLD} more were {what}"))


def tell_relayed(rendezvous: Rendezvous, link: Link, after_s: Seconds = RELAYED_S) -> None:
    """Say that a transfer uses a relay of somebody else, why, and what would make it direct."""
    if not rendezvous.uses_public_relays:
        return
    gevent.sleep(after_s)
    reason = rendezvous.reason_relayed(link)
    if reason is None:
        return
    rendezvous.report(
        Notice(
            f"this goes through a relay of the public map, which others share: {reason}; "
            "`derphole netcheck` on both machines says what would make it direct, and "
            "`derphole relay` runs a relay of your own"
        )
    )


def tell_standstill(
    report: Report, link: Link, measuring: Measuring, waits_for: Callable[[], str | None]
) -> None:
    """Say when nothing moves, and what is waited for; runs as long as the transfer does.

    Args:
        report: who is told.
        link: of the transfer.
        measuring: how far it is.
        waits_for: what is waited for if the other side is there; None where that is no news.
    """
    standstill: Standstill | None = None
    while True:
        gevent.sleep(LOOK_S)
        measure, now = measuring(), monotonic()
        if measure is None:  # it has not begun
            continue
        standstill = standstill or Standstill(now)
        cause = None if link.is_silent else waits_for()  # of silence the rendezvous tells
        words = standstill.take(now, measure.done, cause)
        if words is not None:
            report(Notice(words))


def is_unheard(link: Link) -> bool:
    """Tell whether nothing was heard of the other side, to which bytes are on their way."""
    return link.last_heard is not None and monotonic() - link.last_heard >= UNHEARD_S


def tell_bottleneck(bottleneck: Bottleneck | None, rendezvous: Rendezvous, link: Link) -> None:
    """Say what most of the time went into waiting for; nothing where that is not clear."""
    if bottleneck is None:
        return
    words = bottleneck.words(monotonic(), rendezvous.reason_relayed(link))
    if words is not None:
        rendezvous.report(Notice(f"most of that time went into waiting for {words}"))
