"""`receive --forget`: what broken transfers left behind, listed and removed.

Only what a journal of this user tells of is touched: its temporary files, then the journal.
Blocks: nothing else runs then.
"""

import os
from contextlib import suppress

from derphole.edges.destination import Destination
from derphole.edges.journal_file import JournalFile
from derphole.edges.kept_state import KeptState
from derphole.edges.left_behind import LeftBehind
from derphole.errors import NotTaken, PartialUnusable
from derphole.speech.transfer_messages import Kind
from derphole.status import Notice, Report, size_text
from derphole.transfer.names import JOURNAL_SUFFIX, shown
from tunnel.units import ByteCount


def forget_all(state: KeptState, report: Report) -> int:
    """Remove all of it, and say what it was; returns the exit code."""
    count = 0
    for path in state.remembered():
        count += _forget(path, report)
        state.forget(path)
    if not count:
        report(Notice("no broken transfer has left anything behind"))
    return 0


def _forget(path: bytes, report: Report) -> int:
    """Remove one journal and what it tells of; returns how many there were."""
    folder, name = os.path.split(path)
    try:
        destination = Destination(folder)
    except NotTaken:
        return 0
    try:
        journal = JournalFile(destination.fd, name)
    except PartialUnusable:
        destination.close()
        return 0
    try:
        offer = journal.replay.offer
        if offer is None:
            return 0
        # A file or folder may have got another name here: the journal is called by that.
        called = name.removeprefix(b".").removesuffix(JOURNAL_SUFFIX)
        tops = {} if offer.kind is Kind.SEVERAL else {offer.name: called}
        left = LeftBehind(destination.fd, top_names=tops)
        size: ByteCount = 0
        for entry in journal.replay.begun.values():
            size += left.held(entry.path)
            with suppress(OSError):
                left.forget(entry.path)
        what = shown(offer.name) if offer.name else "several files and folders"
        report(Notice(f"forgot {what} in {shown(folder)}: {size_text(size)} were not complete"))
        journal.remove()
        return 1
    finally:
        journal.close()
        destination.close()
