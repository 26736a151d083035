"""The types that signatures everywhere speak in, and the sizes that every layer knows."""

from typing import NewType

Instant = NewType("Instant", float)  # seconds on a monotonic clock of unknown origin
Seconds = float  # a duration
WallTime = NewType("WallTime", float)  # seconds since 1970-01-01 UTC
ByteCount = int
BytesPerSecond = float
Buffer = bytes | bytearray | memoryview

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# Fixed by the protocol.
KEY_SIZE: ByteCount = 32  # of every key: Curve25519's, and those of the AEADs
