"""Codes that lead nowhere: typed wrongly, known to nobody, or held by somebody else."""

from derphole.errors.base import DerpholeError
from derphole.errors.tokens import TokenError

EXAMPLE = "12-048219-cactus-dentist"


class CodeMistyped(TokenError):
    """What was typed cannot be a code; nothing was sent.

    Args:
        detail: what does not fit.
    """

    code = "code-mistyped"
    says = "this cannot be the code ({detail})"
    next_step = f"type it as the other side shows it, such as {EXAMPLE}; no try is spent yet"

    def __init__(self, detail: str) -> None:
        super().__init__(detail=detail)


class CodeNeedsRelay(DerpholeError):
    """The code is for a relay that both sides were given, and this one was not."""

    code = "code-needs-relay"
    says = "the code is for a relay that both sides were told, and this side was told none"
    next_step = "use the --relay URL of the other side here too, or ask there for the token"


class CodeElsewhere(DerpholeError):
    """The code names a region that the relay map does not have.

    Args:
        region: its number.
    """

    code = "code-elsewhere"
    says = "the code names relay region {region}, which is not on this machine's relay map"
    next_step = (
        "compare the first number with the other side's (it is 0 for a relay given by --relay), "
        "and give both the same --derp-map"
    )

    def __init__(self, region: int) -> None:
        super().__init__(region=region)


class CodeUnknown(DerpholeError):
    """The relay says that nobody is at the code's meeting.

    Args:
        place: region and digits.
    """

    code = "code-unknown"
    says = "nobody waits under the code {place}"
    next_step = (
        "compare its digits with those the other side shows now, which must still be waiting: a "
        "code that was used, or tried wrongly three times, is over"
    )

    def __init__(self, place: str) -> None:
        super().__init__(place=place)


class CodeUnanswered(DerpholeError):
    """Somebody is at the meeting, and no answer came.

    Args:
        place: region and digits.
        is_spent: whether a try is spent.
    """

    code = "code-unanswered"
    says = "whoever waits under the code {place} did not answer[; {spent}]"
    next_step = "try again, or ask for the token, which --no-code prints there"

    def __init__(self, place: str, *, is_spent: bool) -> None:
        spent = "one of its three tries may be spent" if is_spent else None
        super().__init__(place=place, spent=spent)


class CodeWrong(DerpholeError):
    """The other side has other words.

    Args:
        place: region and digits.
    """

    code = "code-wrong"
    says = "wrong words for the code {place}"
    next_step = (
        "compare them with what the other side shows now, and try again; three wrong tries end a "
        "code, and if none is told of there, somebody else sits on this one: ask for the token, "
        "which --no-code prints"
    )

    def __init__(self, place: str) -> None:
        super().__init__(place=place)


class CodeNotProven(DerpholeError):
    """Whoever is at the meeting does not know the words.

    Args:
        place: region and digits.
    """

    code = "code-not-proven"
    says = "whoever waits under the code {place} does not know its words, and was told nothing"
    next_step = (
        "compare the digits with the other side's; if they agree, somebody else sits on the code: "
        "ask for the token, which --no-code prints there"
    )

    def __init__(self, place: str) -> None:
        super().__init__(place=place)
