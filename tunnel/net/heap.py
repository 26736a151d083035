"""What the C heap of the process does with freed memory, where that is glibc's.

A command keeps it.  glibc returns the top of its heap to the kernel whenever more than a
threshold of it is free, which a stream of 60 KiB buffers makes happen at every packet: each then
costs fifteen page faults.  The threshold rises by itself once a large block that was mapped on its
own is freed (mallopt(3), M_MMAP_THRESHOLD: "dynamic"), so one such block, never touched, is made
and freed.

A relay gives it back when a crowd has left.  What is free below the top of the heap stays with the
process by itself, for as long as it runs (malloc_trim(3)).
"""

from contextlib import suppress

# Chosen: freed memory up to twice this stays in the process; measured in docs/performance.md.
LARGEST_BLOCK = 8 << 20


def keep_freed_memory() -> None:
    """Raise glibc's thresholds; does nothing on other C libraries."""
    bytes(LARGEST_BLOCK)


def give_back_freed_memory() -> None:
    """Return free pages to the system; does nothing on other C libraries."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
