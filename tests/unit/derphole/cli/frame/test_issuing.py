"""How a token is handed over: to a script as a bare line, to a person as the command to run."""

import io
import json

import pytest

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import (
    Counterpart,
    instruction,
    issuer_options,
    token_reporter,
)
from derphole.cli.frame.output import Output
from derphole.code_status import CodeIssued, CodeOver, NoCodeNow, WrongCode
from derphole.errors import UsageError
from derphole.status import Level, Notice, TokenIssued
from tunnel.units import WallTime

NOW = WallTime(1_800_000_000.4)  # 2027-01-15T08:00:00Z
ISSUED = TokenIssued("dhp1_x", WallTime(NOW + 3600))
SENDER = Counterpart("pipe", "There, input is sent; here it is received.", "for one sender")
COMMAND = ["On the other machine, run:", "    derphole pipe dhp1_x"]


class Stream(io.StringIO):
    """Standard error, a terminal or not."""

    def __init__(self, is_terminal):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


def told(is_terminal, values=(), **settings):
    """Report a token and a notice; returns the lines of standard output and of standard error."""
    stdout, stderr = io.StringIO(), Stream(is_terminal)
    output = Output(stdout, stderr, lambda: NOW, **settings)
    report = token_reporter(Arguments(dict(values), {}), output, SENDER)
    for status in (ISSUED, Notice("note")):
        report(status)
    output.close()
    return stdout.getvalue().splitlines(), stderr.getvalue().splitlines()


def test_a_person_at_a_terminal_gets_the_command_that_holds_the_token():
    stdout, stderr = told(is_terminal=True)

    assert stdout == []
    assert stderr[:2] == COMMAND
    assert stderr[2].startswith("There, input is sent; here it is received. The token is good for ")
    assert stderr[3:] == ["note"]
    assert sum("dhp1_x" in line for line in stderr) == 1


def test_a_person_who_wants_few_words_gets_it_too():
    _, stderr = told(is_terminal=True, level=Level.QUIET)

    assert stderr[:2] == COMMAND
    assert len(stderr) == 3


def test_a_script_gets_the_bare_token_on_a_line_of_its_own():
    assert told(is_terminal=False) == ([], ["dhp1_x", "note"])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_who_asks_for_the_token_alone_gets_it_on_standard_output(is_terminal):
    told_all = told(is_terminal, {"--print-token-only": True})

    assert told_all == (["dhp1_x"], ["note"])


def test_a_program_gets_the_token_and_its_end():
    _, lines = told(is_terminal=True, is_json=True)

    event = json.loads(lines[0])
    assert event == {
        "event": "token",
        "time": pytest.approx(NOW, abs=0.001),
        "token": "dhp1_x",
        "expires_at": int(NOW + 3600),
    }
    assert [json.loads(line)["event"] for line in lines] == ["token", "notice"]


def test_the_command_begins_as_this_one_was_typed_and_the_end_is_told_in_both_ways():
    lines = instruction(ISSUED, SENDER, "npx -y derphole@1", WallTime(NOW + 2))

    assert lines == [
        "On the other machine, run:",
        "    npx -y derphole@1 pipe dhp1_x",
        "There, input is sent; here it is received. The token is good for 1 hour "
        "(until 2027-01-15T09:00:00Z), for one sender.",
    ]


# -- codes --------------------------------------------------------------------------------------

FOLLOWED = TokenIssued("dhp1_x", WallTime(NOW + 3600), code_follows=True)
CODE = CodeIssued("0-048219-cactus-dentist", WallTime(NOW + 3600), "--relay http://relay")
WITH_CODE = [
    "On the other machine, run:",
    "    derphole pipe 0-048219-cactus-dentist --relay http://relay",
]
RECEIVER = Counterpart(
    "pipe", "There, input is sent; here it is received.", "for one", shows_token=False
)


def told_all(statuses, counterpart=SENDER, **settings):
    """Report statuses at a terminal; returns the lines of standard error."""
    stderr = Stream(is_terminal=True)
    output = Output(io.StringIO(), stderr, lambda: NOW, **settings)
    report = token_reporter(Arguments({}, {}), output, counterpart)
    for status in statuses:
        report(status)
    output.close()
    return stderr.getvalue().splitlines()


def test_the_token_comes_first_and_the_code_is_in_the_command():
    lines = told_all([FOLLOWED, CODE])
    assert lines[:3] == ["dhp1_x", *WITH_CODE]
    assert "The code is good for " in lines[3]
    assert len(lines) == 4


def test_where_only_the_code_is_shown_the_token_waits_for_it():
    assert told_all([FOLLOWED], RECEIVER) == []
    assert told_all([FOLLOWED, CODE], RECEIVER)[:2] == WITH_CODE
    assert not any("dhp1_x" in line for line in told_all([FOLLOWED, CODE], RECEIVER))


def test_without_a_code_the_command_has_the_token_after_all():
    lines = told_all([FOLLOWED, NoCodeNow("of the moon")], RECEIVER)
    assert lines[0] == "there is no short code this time, since of the moon: use the token"
    assert lines[1:3] == COMMAND


def test_after_the_last_code_the_command_has_the_token_and_before_it_has_not():
    over = CodeOver("0-048219", "of the moon", is_last=False)
    last = CodeOver("0-048219", "of the moon", is_last=True)
    lines = told_all([FOLLOWED, CODE, over, CODE, last], RECEIVER)
    assert lines.count(COMMAND[1]) == 1
    assert lines.index(COMMAND[1]) > lines.index(last.sentence) > lines.index(over.sentence)
    assert lines.count(WITH_CODE[1]) == 2


def test_a_program_gets_everything_as_events():
    events = [
        json.loads(line) for line in told_all([FOLLOWED, CODE, WrongCode(1, 3)], is_json=True)
    ]
    assert [event["event"] for event in events] == ["token", "code", "wrong-code"]
    assert events[1]["code"] == CODE.text
    assert events[1]["needs"] == CODE.needs


@pytest.mark.parametrize(
    ("values", "is_terminal", "is_json", "words"),
    [
        ({}, True, False, 2),
        ({}, False, True, 2),
        ({}, False, False, None),
        ({"--code-words": "5"}, True, False, 5),
        ({"--no-code": True}, True, True, None),
        ({"--print-token-only": True}, True, False, None),
    ],
)
def test_codes_are_for_people_and_for_programs_that_read_events(
    values, is_terminal, is_json, words
):
    output = Output(io.StringIO(), Stream(is_terminal), lambda: NOW, is_json=is_json)
    assert issuer_options(Arguments(values, {}), output).code_words == words


@pytest.mark.parametrize("text", ["1", "7", "", "two", "-3", "99999999999999"])
def test_codes_have_two_to_six_words(text):
    output = Output(io.StringIO(), Stream(is_terminal=True), lambda: NOW)
    with pytest.raises(UsageError, match="use 2 to 6"):
        issuer_options(Arguments({"--code-words": text}, {}), output)
