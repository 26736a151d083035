"""Codes with real processes: every pair of commands, wrong ones, guessers, squatters, and kills."""

import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import Desk
from faults import start_relay
from sending import names, part_size
from stranger import Stranger
from support.processes import Process, await_true
from tcp_servers import PATIENCE_S

from derphole.token.code import Code
from derphole.token.code_words import WORDS
from derphole.token.typed_code import parse_code
from tunnel.crypto.cpace import Role
from tunnel.crypto.keys import DerpKey
from tunnel.wire.code import (
    Answer,
    Hello,
    Proof,
    Share,
    Wrong,
    decode_code_message,
    encode_code_message,
)

pytestmark = pytest.mark.e2e

CODE_EVENT = r'"event": "code", .*"code": "([^"]+)"'
PAYLOAD = b"by a code"
LARGE = 40 << 20


def offer(desk: Desk, command: str, *words: str | Path, **rest: object) -> tuple[Process, str]:
    """Start a command that offers a code; returns it with the code."""
    where = ("--json", "--relay", desk.relay_url)
    process = desk.derphole(command, *command.split(), *where, *words, **rest)
    return process, process.await_line(CODE_EVENT).group(1)


def use(desk: Desk, command: str, code: str, *words: str | Path, **rest: object) -> Process:
    """Start a command with a code."""
    where = ("--relay", desk.relay_url)
    name = str(rest.pop("name", command))
    return desk.derphole(name, *command.split(), *where, *words, code, **rest)


def token_in(process: Process) -> str:
    """Return the token that came before the code."""
    return process.await_line(r'"event": "token", .*"token": "([^"]+)"').group(1)


def other_words(code: str, seed: int = 1) -> str:
    """Return the code with other words."""
    rng, right = random.Random(seed), parse_code(code)
    while (words := tuple(rng.choices(WORDS, k=len(right.words)))) == right.words:
        pass
    return Code(right.region, right.digits, words).text


def port_of(desk: Desk) -> int:
    return int(desk.relay_url.rpartition(":")[2])


# -- every pair ---------------------------------------------------------------------------------


def test_listen_and_pipe(desk: Desk):
    listen, code = offer(desk, "listen")
    pipe = use(desk, "pipe", code, stdin=PAYLOAD)
    pipe.ends_with(0, f"^using the code {code}$")
    listen.ends_with(0)
    assert listen.stdout == PAYLOAD


def test_send_and_receive(desk: Desk, tmp_path: Path, there: Path):
    (tmp_path / "a file").write_bytes(PAYLOAD)
    sender, code = offer(desk, "send", tmp_path / "a file")
    use(desk, "receive", code, "-o", there).ends_with(0)
    sender.ends_with(0)
    assert (there / "a file").read_bytes() == PAYLOAD


def test_receive_and_send_to(desk: Desk, tmp_path: Path, there: Path):
    (tmp_path / "a file").write_bytes(PAYLOAD)
    receiver, code = offer(desk, "receive", "-o", there)
    words = ("send", "--relay", desk.relay_url, "--to", code, tmp_path / "a file")
    desk.derphole("send", *words).ends_with(0)
    receiver.ends_with(0)
    assert (there / "a file").read_bytes() == PAYLOAD


def test_share_and_open(desk: Desk):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        share, code = offer(desk, "share", str(server.getsockname()[1]))
        opened = use(desk, "open", code)
        port = int(opened.await_line(r"^listening on 127\.0\.0\.1:(\d+)$").group(1))
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.sendall(PAYLOAD)
            taken, _ = server.accept()
            with taken:
                assert taken.recv(100) == PAYLOAD
    for process in (opened, share):
        process.send_signal(signal.SIGTERM)
        process.ends_with(0)


@pytest.mark.parametrize(
    "typed",
    [
        lambda code: code.upper().replace("-", " ").split(),
        lambda code: [
            "-".join(part[:6] if part.isdigit() else part[:4] for part in code.split("-"))
        ],
        lambda code: ["derphole", "pipe", code],
        lambda code: ["--token", code.title()],
    ],
    ids=["in pieces", "four letters", "with the command", "as an option"],
)
def test_a_code_as_people_type_it(desk: Desk, typed: Callable[[str], list[str]]):
    listen, code = offer(desk, "listen", "--code-words", "3")
    where = ("--relay", desk.relay_url)
    pipe = desk.derphole("pipe", "pipe", *where, *typed(code), stdin=PAYLOAD)
    pipe.ends_with(0, f"^using the code {code}$")
    listen.ends_with(0)


def test_a_code_by_file_variable_and_standard_input(desk: Desk, tmp_path: Path):
    path = tmp_path / "code"
    for words, stdin, variables in (
        (("--token-file", path), b"", {}),
        (("--token-stdin",), b"%s\n", {}),
        ((), b"", {"DERPHOLE_TOKEN": "%s"}),
    ):
        listen, code = offer(desk, "listen")
        path.write_text(code)
        path.chmod(0o600)
        given = stdin.replace(b"%s", code.encode()) + PAYLOAD
        environment = dict.fromkeys(variables, code)
        where = ("--relay", desk.relay_url)
        pipe = desk.derphole("pipe", "pipe", *where, *words, stdin=given, variables=environment)
        pipe.ends_with(0)
        listen.ends_with(0)
        assert listen.stdout == PAYLOAD


def test_a_code_of_a_region_of_a_map(desk: Desk, tmp_path: Path):
    relay = desk.derphole(
        "relay", "relay", "--json", "--listen", "127.0.0.1:0", "--stun-port", "off"
    )
    url = relay.await_line(r'"derp_map_url": "([^"]+)"').group(1)
    listen = desk.derphole("listen", "listen", "--json", "--derp-map", url)
    found = listen.await_line(CODE_EVENT)
    code = found.group(1)
    assert f"--derp-map {url}" in found.string
    assert not code.startswith("0-")
    pipe = desk.derphole("pipe", "pipe", "--derp-map", url, code, stdin=PAYLOAD)
    pipe.ends_with(0)
    listen.ends_with(0)
    elsewhere = f"4711{code[code.index('-') :]}"
    lost = desk.derphole("pipe", "pipe", "--derp-map", url, elsewhere, stdin=PAYLOAD)
    lost.ends_with(1, "the code names relay region 4711, which is not on this machine's relay map")
    relay.stop()


# -- what a person does wrong -------------------------------------------------------------------


def test_wrong_words_are_told_on_both_sides_and_three_end_the_code(desk: Desk):
    listen, code = offer(desk, "listen")
    for count in (1, 2, 3):
        wrong = use(desk, "pipe", other_words(code, count), stdin=b"")
        wrong.ends_with(1, "wrong words for the code 0-[0-9]{6}")
        listen.await_line(rf'"event": "wrong-code", .*"count": {count}, "limit": 3')
    listen.await_line(r'"event": "code-over", .*"is_last": false')
    await_true(lambda: len(codes_of(listen)) == 2, "a new code")
    new = codes_of(listen)[-1]
    assert new != code
    use(desk, "pipe", code, stdin=b"", name="old").ends_with(1, "nobody waits under the code")
    use(desk, "pipe", new, stdin=PAYLOAD).ends_with(0)
    listen.ends_with(0)


def codes_of(process: Process) -> list[str]:
    return [str(event["code"]) for event in process.events if event["event"] == "code"]


def test_a_code_that_nobody_waits_under_is_told_within_seconds(desk: Desk):
    began = time.monotonic()
    lost = use(desk, "receive", "0-048219-cactus-dentist")
    lost.ends_with(1, "nobody waits under the code 0-048219; compare its digits")
    assert time.monotonic() - began < 15.0


def test_the_wrong_command_is_told_and_the_right_one_still_works(desk: Desk, tmp_path: Path):
    (tmp_path / "a file").write_bytes(PAYLOAD)
    sender, code = offer(desk, "send", tmp_path / "a file")
    wrong = use(desk, "pipe", code, stdin=b"")
    wrong.ends_with(1, "derphole receive|send")
    receiver = use(desk, "receive", code, "-o", "-")
    receiver.ends_with(0)
    sender.ends_with(0)
    assert receiver.stdout == PAYLOAD


def test_a_look_leaves_the_code_good(desk: Desk, tmp_path: Path, there: Path):
    (tmp_path / "a file").write_bytes(PAYLOAD)
    sender, code = offer(desk, "send", tmp_path / "a file")
    use(desk, "receive", code, "-o", there, "--dry-run").ends_with(0)
    sender.await_line("the other side only looked; the code is still good")
    assert not names(there)
    use(desk, "receive", code, "-o", there).ends_with(0)
    sender.ends_with(0)
    assert (there / "a file").read_bytes() == PAYLOAD


MALFORMED = (
    "12-048219-cactus",
    "12-048219",
    "12-04821-cactus-dentist",
    "12-0482190-cactus-dentist",
    "12-cactus-dentist",
    "048219-cactus-dentist",
    "12-048219-cactus-denim",
    "12-048219-cactusdentist",
    "70000-048219-cactus-dentist",
    "12-048219-zoo-zoo-zoo-zoo-zoo-zoo-zoo",
)


@pytest.mark.parametrize("code", MALFORMED)
def test_for_a_malformed_code_nothing_is_sent(desk: Desk, code: str):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(0.2)
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        lost = desk.derphole("receive", "receive", "--relay", url, code)
        lost.ends_with(1, r"this cannot be the code \(.+\); type it as the other side shows it")
        with pytest.raises(TimeoutError):
            nobody.accept()


def test_a_code_of_a_given_relay_needs_that_relay(desk: Desk):
    lost = desk.derphole("pipe", "pipe", "0-048219-cactus-dentist", stdin=b"")
    lost.ends_with(1, "this side was told none; use the --relay URL of the other side here too")


def test_a_tunnel_takes_no_code(desk: Desk):
    lost = desk.derptun("open", "open", "12-048219-cactus-dentist")
    lost.ends_with(1, "it is a short code of `derphole`")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--code-words", "1"), 'invalid --code-words value "1"; use 2 to 6'),
        (("--code-words", "7"), "use 2 to 6"),
        (("--code-words", "many"), "use 2 to 6"),
        (("--code-words", "3", "--no-code"), "only one of --code-words or --no-code may be set"),
    ],
)
def test_options_of_codes_that_make_no_sense(desk: Desk, words: tuple[str, ...], sentence: str):
    desk.derphole("listen", "listen", *words).ends_with(2, sentence)


@pytest.mark.parametrize("words", [(), ("--json", "--no-code"), ("--print-token-only",)])
def test_programs_get_the_token_alone(desk: Desk, words: tuple[str, ...]):
    listen = desk.derphole("listen", "listen", "--relay", desk.relay_url, *words)
    if "--print-token-only" in words:
        await_true(lambda: listen.output_size > 20, "the token")
    else:
        listen.await_line("dhp1_")
    pipe = use(desk, "pipe", "0-048219-cactus-dentist", stdin=b"")  # and time passes
    pipe.ends_with(1)
    assert "0-" not in re.sub(r"dhp1_\S+", "", listen.stderr)
    listen.stop()


def test_a_relay_without_room_for_a_meeting_leaves_the_token(desk: Desk):
    relay, address = start_relay(desk, "127.0.0.1:0", "--max-clients", "1")
    listen = desk.derphole("listen", "listen", "--json", "--relay", f"http://{address}")
    listen.await_line(r'"event": "no-code"', 20)
    token_in(listen)
    listen.stop()
    relay.stop()


# -- kills --------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_the_same_command_goes_on_after_a_kill(desk: Desk, tmp_path: Path, there: Path):
    (tmp_path / "large.bin").write_bytes(os.urandom(LARGE))
    sender, code = offer(desk, "send", "--force-relay", tmp_path / "large.bin")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    first = use(desk, "receive", code, "-o", there, variables=state)
    await_true(lambda: part_size(there) > LARGE // 8, "a part has come")
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = use(desk, "receive", code, "-o", there, variables=state, name="again")
    again.ends_with(0, f"^the code {code} was used here before: going on by its token$")
    sender.ends_with(0)
    assert (there / "large.bin").read_bytes() == (tmp_path / "large.bin").read_bytes()


def test_a_sender_that_never_gave_a_byte_leaves_the_code_good(desk: Desk):
    listen, code = offer(desk, "listen")
    reading, writing = os.pipe()
    first = use(desk, "pipe", code, stdin=reading, name="first")
    listen.await_line(r'"state": "connected-relay"')
    first.send_signal(signal.SIGKILL)
    first.wait()
    os.close(reading)
    os.close(writing)
    second = use(desk, "pipe", code, stdin=PAYLOAD, name="second")
    second.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == PAYLOAD


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_shared_service_is_opened_again_by_the_same_code(desk: Desk, ending: signal.Signals):
    share, code = offer(desk, "share", "9")
    for number in range(2):
        opened = use(desk, "open", code, name=f"open {number}")
        opened.await_line("^listening on ")
        opened.send_signal(ending)
        opened.wait()
    share.stop()


def test_a_file_that_is_named_by_a_date_is_a_file(desk: Desk, tmp_path: Path):
    path = tmp_path / "2024-05-06-backup.tar.gz"
    path.write_bytes(PAYLOAD)
    for order in (0, 1):
        listen, code = offer(desk, "listen")
        words = [str(path), code] if order else [code, str(path)]
        pipe = desk.derphole("pipe", "pipe", "--relay", desk.relay_url, *words)
        pipe.ends_with(0)
        listen.ends_with(0)
        assert listen.stdout == PAYLOAD


# -- strangers ----------------------------------------------------------------------------------


class Guesser(Stranger):
    """Somebody who knows the digits of a code and guesses its words."""

    def __init__(self, relay_port: int, code: str, seed: int) -> None:
        super().__init__(relay_port)
        right = parse_code(code)
        self.meeting = right.terms.meeting.public
        self.session = os.urandom(16)
        terms = parse_code(other_words(code, seed)).terms
        self.run = terms.run(Role.INITIATOR, DerpKey(self.public), self.session, os.urandom(32))

    def ask(self, message: object, kind: type) -> object | None:
        """Send a message until an answer of a kind comes; None when none does."""
        self.packets.clear()
        for _ in range(30):
            self.send(self.meeting, encode_code_message(message))
            for _ in range(10):
                self.process()
                for packet in self.packets:
                    answer = decode_code_message(packet)
                    if isinstance(answer, kind):
                        return answer
                time.sleep(0.01)
        return None

    def guess(self) -> object | None:
        """Return the verdict of a whole run."""
        share = self.ask(Hello(self.session, self.run.share), Share)
        if share is None:
            return None
        proof = Proof(self.session, self.run.agree(share.share).initiator_tag)
        return self.ask(proof, (Wrong, Answer))


class Squatter(Stranger):
    """Somebody who knows the digits and logs in at the meeting too."""

    def __init__(self, relay_port: int, code: str) -> None:
        super().__init__(relay_port, parse_code(code).terms.meeting.secret)
        self.insist()

    def insist(self) -> None:
        """Speak, so that the relay serves this connection and not the other one."""
        self.send(os.urandom(32), b"here I am")
        self.process()


@pytest.mark.timeout(180)
def test_a_guesser_gets_nine_verdicts_and_the_token_still_serves(desk: Desk):
    listen, code = offer(desk, "listen")
    verdicts = 0
    for number in range(3):
        await_true(lambda number=number: len(codes_of(listen)) == number + 1, "the next code")
        code = codes_of(listen)[-1]
        for seed in range(3):
            with Guesser(port_of(desk), code, seed) as guesser:
                verdicts += isinstance(guesser.guess(), Wrong)
    listen.await_line(r'"event": "code-over", .*"is_last": true')
    assert verdicts == 9
    with Guesser(port_of(desk), code, 9) as guesser:
        guesser.send(
            guesser.meeting, encode_code_message(Hello(guesser.session, guesser.run.share))
        )
        guesser.process()
        assert not guesser.packets
    desk.pipe(token_in(listen), stdin=PAYLOAD).ends_with(0)
    listen.ends_with(0)


@pytest.mark.timeout(180)
@pytest.mark.alongside("waits")
def test_a_squatter_is_noticed_and_a_new_code_follows(desk: Desk):
    listen, code = offer(desk, "listen")
    with Squatter(port_of(desk), code) as squatter:
        lost = use(desk, "pipe", code, stdin=b"")

        def is_noticed() -> bool:
            squatter.insist()
            return "somebody else has taken its place" in listen.stderr

        await_true(is_noticed, "the squatter is noticed", 90)
        lost.ends_with(1, "whoever waits under the code 0-[0-9]{6} did not answer")
        listen.await_line(r'"event": "code-over", .*somebody else has taken its place')
        await_true(lambda: len(codes_of(listen)) == 2, "a new code", 20)
        use(desk, "pipe", codes_of(listen)[-1], stdin=PAYLOAD, name="new").ends_with(0)
        listen.ends_with(0)


def _wrong_words(desk: Desk, code: str, listen: Process, seed: int) -> None:
    use(desk, "pipe", other_words(code, seed), stdin=b"", name=f"wrong {seed}").ends_with(1)


def _guess(desk: Desk, code: str, listen: Process, seed: int) -> None:
    with Guesser(port_of(desk), code, seed) as guesser:
        assert isinstance(guesser.guess(), Wrong)


def _scan(desk: Desk, code: str, listen: Process, seed: int) -> None:
    with Stranger(port_of(desk)) as scanner:
        rng = random.Random(seed)
        for _ in range(40):
            place = Code(0, f"{rng.randrange(10**6):06}", ("zoo", "zoo"))
            meeting = place.terms.meeting.public
            scanner.send(meeting, encode_code_message(Hello(os.urandom(16), os.urandom(32))))
        scanner.process()


def _replay(desk: Desk, code: str, listen: Process, seed: int) -> None:
    with Guesser(port_of(desk), code, seed) as guesser:
        hello = Hello(guesser.session, guesser.run.share)
        share = guesser.ask(hello, Share)
        for _ in range(5):
            assert guesser.ask(hello, Share) == share


def _junk(desk: Desk, code: str, listen: Process, seed: int) -> None:
    with Stranger(port_of(desk)) as stranger:
        rng = random.Random(seed)
        meeting = parse_code(code).terms.meeting.public
        good = encode_code_message(Hello(rng.randbytes(16), rng.randbytes(32)))
        for _ in range(60):
            stranger.send(meeting, good[: rng.randrange(len(good))])
            stranger.send(meeting, rng.randbytes(rng.randrange(1, 1200)))
        stranger.process()
        assert not stranger.packets


def _reflect(desk: Desk, code: str, listen: Process, seed: int) -> None:
    """What the issuer says comes back to it: its share as ours, its tag as our proof."""
    with Guesser(port_of(desk), code, seed) as first, Guesser(port_of(desk), code, seed) as second:
        share = first.ask(Hello(first.session, first.run.share), Share)
        back = second.ask(Hello(first.session, share.share), Share)
        assert back is not None
        assert back.share != share.share
        verdict = second.ask(Proof(first.session, bytes(64)), (Wrong, Answer))
        assert isinstance(verdict, Wrong)


def _wrong_command(desk: Desk, code: str, listen: Process, seed: int) -> None:
    use(desk, "receive", code, "-o", "-", name=f"wrong command {seed}").ends_with(1)


def _two_claimers(desk: Desk, code: str, listen: Process, seed: int) -> None:
    """Two who have the right words at once: one gets in and leaves without a byte."""
    readers = [os.pipe() for _ in range(2)]
    pipes = [
        use(desk, "pipe", code, stdin=reading, name=f"claimer {seed} {number}")
        for number, (reading, _) in enumerate(readers)
    ]
    listen.await_line('"state": "connected-relay"')
    for pipe in pipes:
        pipe.send_signal(signal.SIGKILL)
        pipe.wait()
    for ends in readers:
        for end in ends:
            os.close(end)


def _lost_answer(desk: Desk, code: str, listen: Process, seed: int) -> None:
    """Somebody with the right words asks for the answer, does not read it, and asks again."""
    right = parse_code(code)
    with Guesser(port_of(desk), code, seed) as guesser:
        run = right.terms.run(
            Role.INITIATOR, DerpKey(guesser.public), guesser.session, os.urandom(32)
        )
        share = guesser.ask(Hello(guesser.session, run.share), Share)
        proof = Proof(guesser.session, run.agree(share.share).initiator_tag)
        answers = [guesser.ask(proof, Answer) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]


def _burn(desk: Desk, code: str, listen: Process, seed: int) -> None:
    """Many begin a run and never prove anything: fewer than end a code."""
    for number in range(12):
        with Guesser(port_of(desk), code, seed + number) as guesser:
            hello = Hello(guesser.session, guesser.run.share)
            guesser.send(guesser.meeting, encode_code_message(hello))
            guesser.process()


def _squat_for_a_moment(desk: Desk, code: str, listen: Process, seed: int) -> None:
    with Squatter(port_of(desk), code):
        pass


HOSTILE = (
    _wrong_words,
    _guess,
    _scan,
    _replay,
    _junk,
    _reflect,
    _wrong_command,
    _two_claimers,
    _lost_answer,
    _burn,
    _squat_for_a_moment,
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_honest_meet_whatever_strangers_do(desk: Desk, is_full: bool):
    """Two hostile acts, with two counted guesses at most a counted guess, and then the right words."""
    for seed in range(50 if is_full else 6):
        rng = random.Random(seed)
        listen, code = offer(desk, "listen")
        for number, act in enumerate(rng.sample(HOSTILE, 2)):
            act(desk, code, listen, 100 * seed + number)
        pipe = use(desk, "pipe", code, stdin=PAYLOAD, name=f"right {seed}")
        pipe.ends_with(0)
        listen.ends_with(0)
        assert listen.stdout == PAYLOAD


# -- meant otherwise ----------------------------------------------------------------------------


def test_a_code_is_not_sent_as_text(desk: Desk):
    for word in ("0-170089-work-know", "WHAT"):
        done = desk.derphole("send", "send", "--relay", desk.relay_url, word)
        done.ends_with(2, "derphole receive|stands for what is to be sent")


@pytest.mark.timeout(120)
def test_a_used_code_whose_sender_has_ended_fails_soon(desk: Desk, tmp_path: Path, there: Path):
    (tmp_path / "large.bin").write_bytes(os.urandom(LARGE))
    sender, code = offer(desk, "send", "--force-relay", tmp_path / "large.bin")
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    first = use(desk, "receive", code, "-o", there, variables=state)
    await_true(lambda: part_size(there) > LARGE // 8, "a part has come")
    for process in (first, sender):
        process.send_signal(signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    again = use(desk, "receive", code, "-o", there, variables=state, name="again")
    again.ends_with(1, "has not started or has ended")
    assert time.monotonic() - began < 30.0
