"""What the receiving person wants: where things go, and what may be replaced.  Pure."""

from collections.abc import Callable

from derphole.transfer.placing import Policy
from tunnel.units import ByteCount
from tunnel.values import frozen

# Asks the person; None where there is nobody to ask.  Blocks the greenlet.
Ask = Callable[[str], bool | None]


def nobody(question: str) -> bool | None:
    """Ask nobody."""
    del question
    return None


@frozen
class Wishes:
    """What the person wants.

    Args:
        output: where it goes; None for the current folder, "-" for standard output.
        policy: what happens where something is already.
        accepts: whether a size above `ask_above` is taken unasked.
        ask_above: sizes above are asked about; None for never.
        checks_space: whether what does not fit is declined.
        only_looks: whether nothing is written.
        verifies: whether what an earlier run finished is compared by its content.
        umask: permissions that nothing gets.
        ask: asks the person.
    """

    output: str | None = None
    policy: Policy = Policy.REFUSE
    accepts: bool = False
    ask_above: ByteCount | None = None
    checks_space: bool = True
    only_looks: bool = False
    verifies: bool = False
    umask: int = 0o022
    ask: Ask = nobody
