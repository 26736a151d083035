"""How a token is handed over: to a script as a bare line, to a person as the command to run."""

import io
import json

import pytest

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.issuing import Counterpart, instruction, token_reporter
from derphole.cli.frame.output import Output
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
