"""Keep the C heap from giving memory back between packets.

glibc returns the top of its heap to the kernel whenever more than a threshold of it is free, which
a stream of 60 KiB buffers makes happen at every packet: each then costs fifteen page faults.  The
threshold rises by itself once a large block that was mapped on its own is freed (mallopt(3),
M_MMAP_THRESHOLD: "dynamic"), so one such block, never touched, is made and freed.
"""

# Chosen: freed memory up to twice this stays in the process; measured in docs/performance.md.
LARGEST_BLOCK = 8 << 20


def keep_freed_memory() -> None:
    """Raise glibc's thresholds; does nothing on other C libraries."""
    bytes(LARGEST_BLOCK)
