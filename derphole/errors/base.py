"""Errors that belong to no subject, and what every error has.

A class says what happened in `says` and what to do about it in `next_step`.  Both are templates:

    {reason}         a fact that the instance knows
    [ ({reason})]    the same, left out together with what is around it when the fact is None

docs/errors.md is printed from these templates by `scripts/error_list.py`.  A class that only groups
others, such as `TokenError`, has neither of them and no code; it is never raised.
"""

import re
from string import Formatter
from typing import ClassVar

from derphole import SIGNAL_EXIT_BASE

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


class DerpholeError(Exception):
    """The command failed.

    Args:
        next_step: what to do, where it differs from what the class says.
        facts: the values of the places in `says` and `next_step`.
    """

    code: ClassVar[str]
    exit_code: ClassVar[int] = 1
    says: ClassVar[str]
    next_step: ClassVar[str]

    def __init__(self, *, next_step: str | None = None, **facts: object) -> None:
        step = filled(self.next_step, facts) if next_step is None else next_step
        self.sentence = f"{filled(self.says, facts)}; {step}"
        super().__init__(self.sentence)


class UsageError(DerpholeError):
    """The command was called in a way it does not understand.

    Args:
        sentence: what is wrong with the call.
        hint: a second line for people.
        shows_help: whether the usage line of the command, and where its help is, follow.
    """

    code = "usage"
    exit_code = 2
    says = "{sentence}"
    next_step = "correct the command line (`derphole help COMMAND` explains it)"

    def __init__(self, sentence: str, *, hint: str | None = None, shows_help: bool = True) -> None:
        Exception.__init__(self, sentence)
        self.sentence = sentence  # what to do is in it, or in the usage line that follows
        self.hint = hint
        self.shows_help = shows_help


class InternalError(DerpholeError):
    """The program met a case it has no sentence for: a bug.

    Args:
        kind: the name of the unexpected exception.
        detail: its text.
    """

    code = "internal"
    says = "unexpected {kind}[ ({detail})], which is a bug in the program"
    next_step = (
        "run the command again with DERPHOLE_DEBUG=1 and report what it prints, together with the "
        "output of `version`"
    )

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind=kind, detail=detail or None)


class UdpPortUnusable(DerpholeError):
    """The port that direct paths were to use is not to be had.

    Args:
        port: which one.
        is_taken: whether another program has it; else it needs special rights.
    """

    code = "udp-port"
    says = "UDP port {port} cannot be used: {reason}"
    next_step = "choose another port with --udp-port, or leave the option out"

    def __init__(self, port: int, *, is_taken: bool) -> None:
        reason = "another program uses it" if is_taken else "it needs special rights"
        super().__init__(port=port, reason=reason)


class ThreadsRefused(DerpholeError):
    """The system lets this process start no more threads."""

    code = "threads-refused"
    says = "this system lets the program start no more threads: a limit of processes is reached"
    next_step = (
        "end other programs of this user, or raise the limit (`ulimit -u`, TasksMax of systemd, "
        "the pids limit of a container)"
    )


class Interrupted(BaseException):
    """A signal ended the command; not an `Exception`, so that no cleanup code swallows it.

    Args:
        signum: the signal's number.
        name: the signal's name, such as "SIGINT".
    """

    code: ClassVar[str] = "interrupted"
    says: ClassVar[str] = "interrupted by {signal}"
    next_step: ClassVar[str] = "run the command again if that was not intended"

    def __init__(self, signum: int, name: str | None = None) -> None:
        self.signum = signum
        self.sentence = filled(self.says, {"signal": name or f"signal {signum}"})
        super().__init__(self.sentence)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return SIGNAL_EXIT_BASE + self.signum


def filled(template: str, facts: dict[str, object]) -> str:
    """Return a template with its facts, without the optional parts whose fact is None."""

    def keep(match: re.Match[str]) -> str:
        names = (name for _, name, _, _ in Formatter().parse(match[1]) if name)
        return "" if any(facts[name] is None for name in names) else match[1]

    return _OPTIONAL.sub(keep, template).format_map(facts)
