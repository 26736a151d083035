"""What is said at the end of a long transfer: what limited it."""

from derphole.delivery.bottleneck import Bottleneck
from derphole.rendezvous.common import Rendezvous
from derphole.status import Notice
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link


def tell_bottleneck(bottleneck: Bottleneck | None, rendezvous: Rendezvous, link: Link) -> None:
    """Say what most of the time went into waiting for; nothing where that is not clear."""
    if bottleneck is None:
        return
    words = bottleneck.words(monotonic(), rendezvous.reason_relayed(link))
    if words is not None:
        rendezvous.report(Notice(f"most of that time went into waiting for {words}"))
