"""A listener's token is for one claimer: the others are told, and disturb nobody."""

import os
import signal
import subprocess

import pytest
from desk import Desk, token_of

pytestmark = pytest.mark.e2e

MIB = 1 << 20


def test_a_second_claimer_is_refused_and_the_first_goes_on_undisturbed(desk: Desk) -> None:
    first_half, second_half = os.urandom(MIB), os.urandom(2 * MIB + 5)
    listen = desk.listen()
    token = token_of(listen)
    first = desk.pipe(token, stdin=subprocess.PIPE, name="first")
    first.feed(first_half)
    listen.await_output(len(first_half))

    second = desk.pipe(token, stdin=b"from the second claimer", name="second")
    second.ends_with(1, "^already in use: somebody else uses this token now; ask the other side")

    assert first.is_running
    first.feed(second_half)
    first.end_input()
    first.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    assert listen.stdout == first_half + second_half


def test_a_second_claimer_is_refused_while_the_first_floods(desk: Desk) -> None:
    size = 64 * MIB
    listen = desk.listen()
    token = token_of(listen)
    first = desk.pipe(token, stdin=subprocess.PIPE, name="first")
    first.feed(bytes(MIB))
    listen.await_output(MIB)

    second = desk.pipe(token, "--json", stdin=b"from the second claimer", name="json")
    first.feed(bytes(size - MIB))
    assert second.wait() == 1
    first.end_input()

    assert second.events[-1]["code"] == "already-in-use"
    first.ends_with(0, "^sent 64.0MiB")
    listen.ends_with(0, "^received 64.0MiB")
    assert listen.stdout == bytes(size)


def test_a_used_token_finds_nobody_and_says_so(desk: Desk) -> None:
    listen = desk.listen()
    token = token_of(listen)
    desk.pipe(token, stdin=b"the one stream").ends_with(0)
    listen.ends_with(0)

    again = desk.pipe(token, "--timeout", "3", stdin=b"once more", name="again")

    again.await_line(
        r"^waiting for the listener to answer \(2 s of at most 3 s\): the relay says that nobody is",
        10.0,
    )
    again.ends_with(
        1,
        "^timed out after 3 s waiting for the listener to answer: the relay says that nobody is "
        "there; the command that printed the token .* has ended, or the token was used or has ",
    )
    assert listen.stdout == b"the one stream"


def test_a_claimer_that_died_before_its_first_byte_leaves_its_place_to_another(
    desk: Desk,
) -> None:
    listen = desk.listen("--verbose")
    token = token_of(listen)
    dead = desk.pipe(token, stdin=subprocess.PIPE, name="dead")
    listen.await_line("^connected-relay$")
    dead.send_signal(signal.SIGKILL)
    assert dead.wait() == -signal.SIGKILL

    pipe = desk.pipe(token, stdin=b"from the second claimer")

    pipe.ends_with(0, "^sent 23B")
    listen.ends_with(0, "^received 23B")
    assert listen.stdout == b"from the second claimer"


def test_a_claimer_that_died_after_its_first_byte_keeps_its_place(desk: Desk) -> None:
    listen = desk.listen()
    token = token_of(listen)
    dead = desk.pipe(token, stdin=subprocess.PIPE, name="dead")
    dead.feed(b"a beginning")
    listen.await_output(11)
    dead.send_signal(signal.SIGKILL)
    assert dead.wait() == -signal.SIGKILL

    second = desk.pipe(token, stdin=b"from the second claimer", name="second")

    second.ends_with(1, "^already in use: ")
    assert listen.is_running
    assert listen.stdout == b"a beginning"
