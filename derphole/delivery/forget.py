"""`receive --forget`: what broken transfers left behind, listed and removed.

Only what a journal of this user tells of is touched: its temporary files, then the journal.
Blocks: nothing else runs then.
"""

import os

from derphole.edges.destination import Destination
from derphole.edges.journal_file import JournalFile
from derphole.edges.kept_state import KeptState
from derphole.edges.left_behind import LeftBehind
from derphole.errors import NotTaken, PartialUnusable
from derphole.speech.transfer_messages import Kind
from derphole.status import Caution, Notice, Report, size_text
from derphole.transfer.entries import Entry
from derphole.transfer.names import JOURNAL_SUFFIX, shown
from tunnel.units import ByteCount


def forget_all(state: KeptState, report: Report) -> int:
    """Remove all of it, and say what it was; returns the exit code."""
    count = failures = 0
    for path in state.remembered():
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            report(Notice(f"{shown(folder)} is gone, and what was left in it too"))
            state.forget(path)
            count += 1
            continue
        try:
            count += _forget(path, report)
        except (NotTaken, PartialUnusable, OSError) as error:
            # It may be in use, or a disk may not let us just now.
            failures += 1
            report(Caution(f"{shown(path)} was left alone: {error}"))
            continue
        state.forget(path)
    if not count and not failures:
        report(Notice("no broken transfer has left anything behind"))
    return 1 if failures else 0


def _forget(path: bytes, report: Report) -> int:
    """Remove one journal and what it tells of; returns how many there were."""
    folder, name = os.path.split(path)
    destination = Destination(folder)
    try:
        journal = JournalFile(destination.fd, name)
        try:
            return _forget_in(destination, journal, name, report)
        finally:
            journal.close()
    finally:
        destination.close()


def _forget_in(destination: Destination, journal: JournalFile, name: bytes, report: Report) -> int:
    offer = journal.replay.offer
    if not journal.is_there:
        return 0
    size: ByteCount = 0
    what = "something"
    if offer is not None:
        # A file or folder may have got another name here: the journal is called by that.
        called = name.removeprefix(b".").removesuffix(JOURNAL_SUFFIX)
        tops = {} if offer.kind is Kind.SEVERAL else {offer.name: called}
        left = LeftBehind(destination.fd, top_names=tops)
        paths = {entry.path for entry in journal.replay.begun.values()}
        if offer.kind is not Kind.SEVERAL:
            paths.add(offer.name)
        paths |= {path for path in map(_path_of, journal.finished_entries()) if left.held(path)}
        for path in paths:
            size += left.held(path)
            left.forget(path)
        if offer.kind is Kind.FOLDER:
            size += left.sweep(offer.name)
        what = shown(offer.name) if offer.name else "several files and folders"
    journal.remove()
    report(Notice(f"forgot {what} in {destination.shown}: {size_text(size)} were not complete"))
    return 1


def _path_of(entry: Entry) -> bytes:
    return entry.path
