"""What every message outside of links begins with: the magic of Tailscale's disco messages.

A DERP server treats what begins so, and has 62 bytes at least, apart from bulk data: it answers
NotHere for it, and keeps it in a queue of its own.
"""

# Fixed by the protocol.
MAGIC = bytes.fromhex("5453f09f92ac")
VERSION = 1
TAG_SIZE = 16  # of what is sealed in them
