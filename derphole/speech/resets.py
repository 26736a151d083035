"""Why one forwarded connection ended before its time: the codes of its stream, and their words.

    refused, unreachable, timed out, too many    share could not, or would not, reach its target
    aborted                                      a TCP connection was reset; so is the other one
    no link                                      the two sides lost each other; never on the wire

Pure.  Source: docs/protocol.md, section "Conversations".
"""

from enum import IntEnum


class ResetCode(IntEnum):
    """Codes of RESET and STOP on the streams of `share` and `open`."""

    ABORTED = 1
    REFUSED = 2
    UNREACHABLE = 3
    TARGET_TIMED_OUT = 4
    TOO_MANY = 5
    INTERNAL = 6
    NO_LINK = 7


# Whoever shares could not, or would not, have the connection made.
NOT_MADE = frozenset(
    (
        ResetCode.REFUSED,
        ResetCode.UNREACHABLE,
        ResetCode.TARGET_TIMED_OUT,
        ResetCode.TOO_MANY,
        ResetCode.INTERNAL,
    )
)

WORDS = {
    ResetCode.ABORTED: "reset",
    ResetCode.REFUSED: "the target refused the connection",
    ResetCode.UNREACHABLE: "the target cannot be reached",
    ResetCode.TARGET_TIMED_OUT: "the target did not answer in time",
    ResetCode.TOO_MANY: "too many connections",
    ResetCode.INTERNAL: "an error on the other side",
    ResetCode.NO_LINK: "the link to the other side was lost",
}


def reset_words(code: int) -> str:
    """Return the reason of a reset in words; codes of later versions are told by number."""
    try:
        return WORDS[ResetCode(code)]
    except ValueError:
        return f"reset for reason {code}, unknown to this version"
