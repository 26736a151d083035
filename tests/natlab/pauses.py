"""How long a fault may stop the traffic, and how tests hold it to that.

Pauses are held to LENIENCE times their limit, since the machine may do much else; what was seen is
recorded beside the limit.
"""

import time

from live_transfer import Ending
from support.processes import record_figure

# Design, section 12 and the issues' texts: traffic again, and direct again.
TRAFFIC_LIMIT_S = 3.0
DIRECT_LIMIT_S = 5.0
LENIENCE = 3
# Chosen: where the connection to the relay is gone as well, it is noticed, then dialled anew.
NETWORK_LIMIT_S = 5.0
# Chosen: a link's first direct path, and the rest of a transfer.
FIRST_DIRECT_LIMIT_S = 15.0
END_LIMIT_S = 120.0


def assert_exact(ending: Ending) -> None:
    assert ending.is_exact, ending.story
    assert ending.codes == (0, 0), ending.story


def assert_pause(what: str, pause_s: float, limit_s: float) -> None:
    """Record a pause, and hold it to its limit with lenience."""
    record_figure(what, f"{pause_s:.2f} s", f"{limit_s:g} s")
    assert pause_s <= LENIENCE * limit_s, f"{what}: {pause_s:.2f} s"


def wait_until(instant: float) -> None:
    time.sleep(max(0.0, instant - time.monotonic()))  # the fault has a length, and no end to await
