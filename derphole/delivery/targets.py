"""Decides where an offer goes, by what it is and what the person wants, or why nowhere."""

import os
import sys
from collections.abc import Callable

from derphole.delivery.file_target import FileTarget
from derphole.delivery.keeper import Keeper
from derphole.delivery.target import StreamTarget, Target, WordsTarget
from derphole.delivery.tree_target import TreeTarget
from derphole.delivery.wishes import Wishes
from derphole.edges.destination import Destination, target_in
from derphole.edges.kept_state import KeptState
from derphole.edges.stdio import ByteSink, reason_text
from derphole.errors import (
    DeclinedHere,
    KindRefused,
    OutputUnusable,
    TargetExists,
    TargetSkipped,
    TargetUnwritable,
)
from derphole.speech.transfer_messages import NOT_KNOWN, Kind, Offer
from derphole.transfer.journal import TokenKept
from derphole.transfer.names import (
    is_reserved,
    journal_name,
    local_part,
    numbered,
    part_fault,
    shown,
    system_named,
)
from derphole.transfer.placing import Policy, Present
from tunnel.values import frozen

# Chosen.
STDOUT = "-"


@frozen
class Place:
    """What `target_for` needs beside offer and wishes.

    Args:
        state: where journals are kept in mind.
        token: what this side was started with.
        output: opens standard output.
        show: shows text on the terminal that standard output is; None where it is none.
    """

    state: KeptState
    token: TokenKept | None
    output: Callable[[], ByteSink]
    show: Callable[[str], None] | None


def check_output(output: str | None) -> None:
    """Raise `OutputUnusable` where nothing can be written, whatever is offered."""
    if output is None or output == STDOUT:  # text may be shown where nothing can be written
        return
    path = os.fsencode(output)
    if os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path):
        raise OutputUnusable(shown(path), "it is neither a file nor a folder")
    try:
        folder, _ = target_in(output, b"")
        destination = Destination(folder)
        try:
            destination.check_writable()
        finally:
            destination.close()
    except TargetUnwritable as error:
        raise OutputUnusable(error.target, error.reason) from error


def target_for(offer: Offer, wishes: Wishes, place: Place) -> Target:
    """Return where an offer goes.

    Raises `NotTaken` with the reason why it goes nowhere, `PartialUnusable`.
    """
    is_tree = offer.kind in (Kind.FOLDER, Kind.SEVERAL)
    if wishes.output == STDOUT or (wishes.output is None and offer.kind is Kind.TEXT):
        if is_tree:
            raise KindRefused(_kind_text(offer), "standard output")
        if offer.kind is Kind.TEXT and wishes.output is None and place.show is not None:
            return WordsTarget(place.show)
        return StreamTarget(place.output())
    if offer.kind is Kind.SEVERAL:
        return _several(offer, wishes, place)
    fault = part_fault(offer.name)
    if fault is None and is_reserved(offer.name):
        fault = "belongs to unfinished transfers"
    if fault is not None:
        raise KindRefused(f"something whose name {fault}", "a folder")
    here = local_part(offer.name, system_named(sys.platform))
    folder, name = target_in(wishes.output, here)
    destination = Destination(folder)
    try:
        return (_folder if is_tree else _file)(offer, wishes, place, destination, name)
    except BaseException:
        destination.close()
        raise


def _keeper(offer: Offer, place: Place, destination: Destination, name: bytes) -> Keeper:
    return Keeper(destination, journal_name(name), offer, place.state, place.token)


def _file(
    offer: Offer, wishes: Wishes, place: Place, destination: Destination, name: bytes
) -> Target:
    if offer.kind is Kind.FILE and offer.size == NOT_KNOWN:
        raise KindRefused("a file of unknown size", destination.path_of(name))
    keeper = _keeper(offer, place, destination, name)
    try:
        there = destination.present(name)
        replaces = False
        if there is not Present.NOTHING:
            if keeper.goes_on:
                target = FileTarget(offer, destination, name, wishes, keeper, replaces=False)
                if target.is_there:
                    return target
            if there is Present.FOLDER or there is Present.OTHER:
                raise KindRefused("a file", f"{destination.path_of(name)}, where {there.value} is")
            chosen, replaces = _settled(destination, name, wishes)
            if chosen != name:
                keeper.close()
                name = chosen
                keeper = _keeper(offer, place, destination, name)
        if wishes.policy is not Policy.OVERWRITE:
            keeper.check_no_other(name)
        return FileTarget(offer, destination, name, wishes, keeper, replaces=replaces)
    except BaseException:
        keeper.close()
        raise


def _settled(destination: Destination, name: bytes, wishes: Wishes) -> tuple[bytes, bool]:
    """Return under which name a file goes where something is, and whether it replaces that."""
    match wishes.policy:
        case Policy.RENAME:
            return destination.free_name(name), False
        case Policy.OVERWRITE:
            return name, True
        case Policy.REFUSE:
            target = destination.path_of(name)
            answer = None if wishes.only_looks else wishes.ask(f"{target} exists; replace it?")
            if answer:
                return name, True
            raise DeclinedHere if answer is False else TargetExists(target)
        case Policy.SKIP:
            raise TargetSkipped(destination.path_of(name))


def _folder(
    offer: Offer, wishes: Wishes, place: Place, destination: Destination, name: bytes
) -> Target:
    keeper = _keeper(offer, place, destination, name)
    try:
        policy = wishes.policy
        if not keeper.goes_on and destination.present(name) is not Present.NOTHING:
            if policy is Policy.RENAME:
                keeper.close()
                name, keeper = _numbered(offer, place, destination, name)
            else:
                policy = _settled_folder(destination, name, wishes)
        return TreeTarget(offer, destination, name, wishes, keeper, policy)
    except BaseException:
        keeper.close()
        raise


def _numbered(
    offer: Offer, place: Place, destination: Destination, name: bytes
) -> tuple[bytes, Keeper]:
    """Return the numbered name that an earlier run of this began, or else the first free one."""
    for candidate in numbered(name):
        keeper = _keeper(offer, place, destination, candidate)
        if keeper.goes_on or destination.present(candidate) is Present.NOTHING:
            return candidate, keeper
        keeper.close()
    raise TargetExists(destination.path_of(name))


def _settled_folder(destination: Destination, name: bytes, wishes: Wishes) -> Policy:
    """Return what happens to what is in a folder that is there; raises `NotTaken`."""
    target = destination.path_of(name)
    there = destination.present(name)
    if there is not Present.FOLDER:
        is_refused = wishes.policy is Policy.REFUSE
        clash = KindRefused("a folder", f"{target}, where {there.value} is")
        raise TargetExists(target) if is_refused else clash
    if wishes.policy is not Policy.REFUSE:
        return wishes.policy
    question = f"{target} exists; write into it, and replace files that are in both?"
    answer = None if wishes.only_looks else wishes.ask(question)
    if not answer:
        raise DeclinedHere if answer is False else TargetExists(target)
    return Policy.OVERWRITE


def _several(offer: Offer, wishes: Wishes, place: Place) -> Target:
    path = b"." if wishes.output is None else os.fsencode(wishes.output)
    if not os.path.lexists(path) and not wishes.only_looks:
        try:
            os.mkdir(path)
        except OSError as error:
            raise TargetUnwritable(shown(path), reason_text(error)) from error
    if os.path.lexists(path) and not os.path.isdir(path):
        raise KindRefused("several files and folders", shown(path))
    destination = Destination(path if os.path.lexists(path) else os.path.dirname(path) or b".")
    try:
        keeper = _keeper(offer, place, destination, offer.source.hex().encode())
        return TreeTarget(offer, destination, None, wishes, keeper, wishes.policy)
    except BaseException:
        destination.close()
        raise


def _kind_text(offer: Offer) -> str:
    return "a folder" if offer.kind is Kind.FOLDER else "several files and folders"
