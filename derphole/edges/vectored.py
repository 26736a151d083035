"""Many buffers in few system calls: each lets the other threads of the process go first."""

from collections.abc import Iterable, Iterator

from tunnel.units import Buffer, ByteCount

# Chosen.
MAX_WRITE_BYTES: ByteCount = 4 << 20  # 1 MiB batches write a fifth slower, larger ones no faster
MAX_WRITE_CHUNKS = 1024  # IOV_MAX of Linux and macOS


def batches(chunks: Iterable[Buffer]) -> Iterator[list[memoryview]]:
    """Yield the chunks in batches of at most `MAX_WRITE_BYTES` and `MAX_WRITE_CHUNKS`.

    A chunk that is longer than a batch is a batch of its own; empty ones are left out.
    """
    batch: list[memoryview] = []
    size = 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        if not len(view):
            continue
        if batch and (size + len(view) > MAX_WRITE_BYTES or len(batch) == MAX_WRITE_CHUNKS):
            yield batch
            batch, size = [], 0
        batch.append(view)
        size += len(view)
    if batch:
        yield batch


def drop_front(batch: list[memoryview], count: ByteCount) -> None:
    """Remove the first `count` bytes of the batch."""
    whole = 0
    while whole < len(batch) and count >= len(batch[whole]):
        count -= len(batch[whole])
        whole += 1
    del batch[:whole]
    if count:
        batch[0] = batch[0][count:]
