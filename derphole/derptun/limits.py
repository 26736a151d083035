"""What bounds a tunnel: how long silence is borne, how many may come, what is announced when.

Pure.
"""

from tunnel.units import Seconds

# Design, section 8: silence after which a link is over, once something is unanswered.
GIVE_UP_S: Seconds = 600.0
# Design, section 5: silence after which the client asks whether the server holds its link still.
RENEW_AFTER_S: Seconds = 3.0
# Chosen: links at once; each costs some 100 KiB.
DEFAULT_CLIENTS = 256
MOST_CLIENTS = 1024
# Design, section 4: how long before the end of a token that is announced.
ANNOUNCED_S: tuple[Seconds, ...] = (14 * 86400.0, 86400.0, 3600.0)
