"""The unit types that signatures speak in."""

from typing import NewType

Instant = NewType("Instant", float)  # seconds on a monotonic clock of unknown origin
Seconds = float  # a duration
WallTime = NewType("WallTime", float)  # seconds since 1970-01-01 UTC
ByteCount = int
BytesPerSecond = float

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
