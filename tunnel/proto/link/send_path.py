"""SendPath: a way out of a link, with its rate controller and what is in flight on it.

Path 0 is the relay; a direct path is one address pair (`tunnel.proto.paths.direct_path`).
"""

from dataclasses import dataclass

from tunnel.proto.machine import RelayEndpoint
from tunnel.proto.paths.direct_path import DirectPath
from tunnel.proto.rate.relay import RelayController
from tunnel.proto.recovery.loss import SentLedger
from tunnel.units import Instant
from tunnel.wire.packet import RELAY_PATH


@dataclass(slots=True)
class RelayPath:
    """Path 0, by whichever relay connection is in use.

    Args:
        endpoint: the relay connection and the peer's key.
        controller: keeps to the frames that the peer granted.
        heard_at: when this relay last delivered an authentic packet.
        ledger: what is in flight.
        moved_at: when an acknowledgement of it last moved a stream on.
    """

    endpoint: RelayEndpoint
    controller: RelayController
    heard_at: Instant
    ledger: SentLedger
    moved_at: Instant | None = None
    id: int = RELAY_PATH


SendPath = RelayPath | DirectPath
