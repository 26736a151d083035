"""What bounds `share` and `open`: how many at once, and how long a lost side is awaited.

These are what both commands, or a command and its conversation, have to agree on.
"""

from tunnel.units import Seconds

# Chosen (design, section 4): how long either side waits for one that it lost.
COME_BACK_S: Seconds = 600.0
# Chosen: connections at once, and the most that may be asked for: a link has at most 4096 streams,
# and those that are being refused need some as well.
DEFAULT_CONNECTIONS = 1024
MOST_CONNECTIONS = 3072
# Chosen: clients at once.
MOST_CLIENTS = 64
