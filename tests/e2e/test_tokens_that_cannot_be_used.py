"""A token that cannot work is named for what it is, before a byte of the input is read."""

import os
import re
import time

import pytest
from desk import Desk, token_of, unread_bytes
from tokens import ISSUER, grant_for, session_text

from derphole.token.grant import Capability
from derphole.token.hints import RegionHints
from derphole.token.text import ServerToken, client_token, token_text

pytestmark = pytest.mark.e2e

INPUT = b"not for this token\n"
GOOD = session_text(Capability.LISTEN, port=9)
OTHER = session_text(Capability.LISTEN, port=10)
MIDDLE = len(GOOD) // 2
EXPIRES_S = 8  # a busy machine takes seconds to start two processes
OTHER_LETTER = "A" if GOOD[MIDDLE] != "A" else "B"
SERVER = token_text(ServerToken(bytes(range(32)), int(time.time()) + 3600, RegionHints((1,))))
CLIENT = token_text(client_token(ISSUER, grant_for(Capability.TUNNEL), RegionHints((1,))))

REFUSED = {
    "one letter changed": (
        GOOD[:MIDDLE] + OTHER_LETTER + GOOD[MIDDLE + 1 :],
        "token-damaged",
        "the token is damaged .*copy it again",
    ),
    "no token at all": ("hello", "not-a-token", "it does not begin with dhp1_"),
    "two tokens": (f"{GOOD}\n{OTHER}", "several-tokens", "there are 2 tokens .*; give one"),
    "end missing": (GOOD[:-7], "token-cut", "the token is cut short .*to its very end"),
    "expired an hour ago": (
        session_text(Capability.LISTEN, port=9, expires_in_s=-3600),
        "token-expired",
        r"the token expired at \S+Z \(this machine's clock says \S+Z\); ask the other side for",
    ),
    "a server's": (SERVER, "token-wrong-role", "a server token.*use it with `derptun serve`"),
    "a client's": (CLIENT, "token-wrong-role", "a client token.*use it with `derptun open`"),
    "for another command": (
        session_text(Capability.SHARE, port=9),
        "token-wrong-capability",
        "was printed by `derphole share`; use it with `derphole open`",
    ),
    "of the Go tool": ("dts1_" + "Ab3-" * 40, "token-foreign", "the Go version .* both machines"),
    "of the Go tool, without a prefix": ("Ab3_" * 50, "token-foreign", "the Go version"),
    "of a later version": ("dhp2_" + "Ab3-" * 40, "token-foreign", "another version .* same"),
}


def without_times(sentence: str) -> str:
    """Return a sentence without the times of day in it."""
    return re.sub(r"\d\d:\d\d:\d\dZ", "", sentence)


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_that_cannot_work_is_refused_before_the_input_is_read(
    desk: Desk, case: str
) -> None:
    token, code, sentence = REFUSED[case]
    read_end, write_end = os.pipe()
    os.write(write_end, INPUT)

    told = desk.pipe(token, stdin=read_end)
    json_told = desk.pipe(token, "--json", stdin=read_end, name="json")

    told.ends_with(1, sentence)
    assert json_told.wait() == 1
    (error,) = json_told.events
    assert error["event"] == "error"
    assert error["code"] == code
    assert error["exit_code"] == 1
    # Two processes: the clock in the sentence may have gone on between them.
    assert without_times(str(error["message"])) == without_times(told.lines[-1])
    assert unread_bytes(read_end) == len(INPUT)
    assert told.stdout == json_told.stdout == b""
    os.close(read_end)
    os.close(write_end)


def test_every_kind_of_refusal_has_a_code_and_a_sentence_of_its_own() -> None:
    codes = {code for _, code, _ in REFUSED.values()}

    assert codes == {
        "not-a-token",
        "several-tokens",
        "token-damaged",
        "token-cut",
        "token-expired",
        "token-wrong-role",
        "token-wrong-capability",
        "token-foreign",
    }


def test_nothing_is_read_while_the_listener_is_away(desk: Desk) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, INPUT)
    port = int(desk.relay_url.rpartition(":")[2])

    pipe = desk.pipe(session_text(Capability.LISTEN, port), "--timeout", "1", stdin=read_end)

    pipe.ends_with(1, "^timed out after 1 s waiting for the listener to answer: the relay says ")
    assert unread_bytes(read_end) == len(INPUT)
    os.close(read_end)
    os.close(write_end)


def test_a_token_that_expired_a_moment_ago_is_not_tried_for_ever(desk: Desk) -> None:
    port = int(desk.relay_url.rpartition(":")[2])

    pipe = desk.pipe(session_text(Capability.LISTEN, port, expires_in_s=-4), stdin=b"")

    pipe.ends_with(
        1, r"nobody is there, and by this machine's clock the token expired at \S+Z; .* run that"
    )


def test_a_token_nobody_uses_ends_the_listener_when_it_expires(desk: Desk) -> None:
    listen = desk.listen("--expires", "1s")
    token_of(listen)

    listen.ends_with(1, "^token expired unclaimed; run the command again for a new token$")
    assert listen.stdout == b""


def test_expiry_never_cuts_a_transfer_that_has_begun(desk: Desk) -> None:
    listen = desk.listen("--expires", f"{EXPIRES_S}s")
    read_end, write_end = os.pipe()
    expires_before = time.time() + EXPIRES_S + 0.5
    pipe = desk.pipe(token_of(listen), stdin=read_end)
    os.close(read_end)
    os.write(write_end, b"before ")
    assert listen.await_output(7) == b"before "

    time.sleep(max(0.0, expires_before - time.time()))  # the condition is the clock itself
    os.write(write_end, b"and after")
    os.close(write_end)

    pipe.ends_with(0, "^sent 16B")
    listen.ends_with(0, "^received 16B")
    assert listen.stdout == b"before and after"


def test_an_expiry_out_of_range_is_refused_before_anything_starts(desk: Desk) -> None:
    past = desk.listen("--expires", "2020-01-01")
    far = desk.listen("--expires", "30d")
    nonsense = desk.listen("--expires", "soon")

    past.ends_with(1, "expiry must be in the future")
    far.ends_with(1, "expiry must be within 7 days")
    nonsense.ends_with(2, 'invalid --expires value "soon"; use RFC3339')
