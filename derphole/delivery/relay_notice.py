"""What is said once of a transfer that goes on through a relay of the public map."""

import gevent

from derphole.rendezvous.common import Rendezvous
from derphole.status import Notice
from tunnel.net.endpoint import Link
from tunnel.units import Seconds

# Chosen: most direct paths are found within two seconds, and a short transfer is over by then.
RELAYED_S: Seconds = 10.0


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
