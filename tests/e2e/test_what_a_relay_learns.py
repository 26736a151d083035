"""A hostile relay records every byte and talks to everybody: it learns sizes and times alone."""

import base64
import os
import subprocess
import zlib
from collections.abc import Iterator

import pytest
from desk import Desk, token_of
from stranger import Stranger
from support.processes import await_true
from tcp_servers import RecordingProxy

from derphole.token.admission import ClaimHeader, encode_header
from derphole.token.text import SessionToken, parse_token, token_text
from tunnel.values import replace
from tunnel.wire.handshake import is_handshake

pytestmark = pytest.mark.e2e

PHRASE = b"It was the best of times, it was the worst of times. "
TEXT = PHRASE * 5000
MANY_JUNK_PACKETS = 200


@pytest.fixture
def proxy(desk: Desk) -> Iterator[RecordingProxy]:
    """The desk's relay, behind a proxy that keeps every byte; the desk's processes use it."""
    with RecordingProxy(port_of(desk.relay_url)) as proxy:
        desk.relay_url = proxy.url
        yield proxy
        desk.close()


def test_a_recording_holds_no_plaintext_and_no_secret_of_the_token(
    desk: Desk, proxy: RecordingProxy
) -> None:
    listen = desk.listen()
    text = token_of(listen)
    pipe = desk.pipe(text, "--force-relay", stdin=TEXT)
    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == TEXT

    recorded = [bytes(side) for r in proxy.recordings for side in (r.to_relay, r.to_client)]

    assert len(proxy.recordings) == 2
    assert sum(map(len, recorded)) > 2 * len(TEXT), "the recording is not of the whole transfer"
    for name, secret in secrets_of(text).items():
        for spelling in spellings(secret):
            assert not any(spelling in side for side in recorded), f"{name} was sent in the clear"
    for side in recorded:
        assert not any(PHRASE[at : at + 8] in side for at in range(len(PHRASE) - 8))
        assert len(zlib.compress(side)) > 0.95 * len(side) - 4096, "what is sealed looks random"


def test_without_the_secret_nothing_is_learned_from_the_listener(
    desk: Desk, proxy: RecordingProxy
) -> None:
    listen = desk.listen()
    good = parsed(token_of(listen))
    guess = replace(good, secret=bytes(16))

    pipe = desk.pipe(token_text(guess), "--timeout", "3", stdin=b"to whom?", name="guesser")
    pipe.ends_with(1, "^timed out after 3 s waiting for the listener to answer; ")

    _, guesser = proxy.recordings
    claims = [packet for to, packet in guesser.packets_to_relay() if to == good.issuer_derp]
    assert len(claims) > 1, "it tried more than once"
    assert all(is_handshake(memoryview(claim)) for claim in claims)
    assert guesser.packets_to_client() == []
    desk.pipe(token_text(good), stdin=b"the true one").ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"the true one"


def test_replayed_and_forged_packets_are_unanswered_and_disturb_nothing(
    desk: Desk, proxy: RecordingProxy
) -> None:
    before, after = os.urandom(100_000), os.urandom(3_000_000)
    listen = desk.listen()
    token = parsed(token_of(listen))
    pipe = desk.pipe(token_text(token), stdin=subprocess.PIPE)
    pipe.feed(before)
    listen.await_output(len(before))
    of_pipe = proxy.recordings[1]
    recorded = [packet for _, packet in of_pipe.packets_to_relay()]
    claim = next(packet for packet in recorded if is_handshake(memoryview(packet)))

    with Stranger(proxy.port) as stranger:
        for packet in recorded:
            stranger.send(token.issuer_derp, packet)
        for junk in forgeries(claim):
            stranger.send(token.issuer_derp, junk)
        stranger.process()
        pipe.feed(after)
        pipe.end_input()
        pipe.ends_with(0, "^sent ")
        listen.ends_with(0, "^received ")
        stranger.process()

        assert stranger.packets == []
    assert listen.stdout == before + after
    assert listen.lines[-1].startswith("received ")


def test_a_listener_under_fire_still_lets_its_claimer_in(desk: Desk, proxy: RecordingProxy) -> None:
    listen = desk.listen()
    token = parsed(token_of(listen))
    earlier = desk.pipe(token_text(replace(token, secret=bytes(16))), stdin=b"", name="guesser")
    await_true(lambda: len(proxy.recordings) > 1 and claims_in(proxy), "a claim was recorded")
    earlier.stop()
    claim = claims_in(proxy)[0]

    with Stranger(proxy.port) as stranger:
        for _ in range(MANY_JUNK_PACKETS):
            stranger.send(token.issuer_derp, claim)
        stranger.process()
        pipe = desk.pipe(token_text(token), stdin=b"the true one")
        for junk in forgeries(claim):
            stranger.send(token.issuer_derp, junk)
        pipe.ends_with(0, "^sent ")
        stranger.process()

        assert stranger.packets == []
    listen.ends_with(0)
    assert listen.stdout == b"the true one"


def claims_in(proxy: RecordingProxy) -> list[bytes]:
    packets = [packet for _, packet in proxy.recordings[1].packets_to_relay()]
    return [packet for packet in packets if is_handshake(memoryview(packet))]


def forgeries(claim: bytes) -> list[bytes]:
    """Packets that look like a claim, or like nothing at all."""
    flipped = [
        claim[:at] + bytes((claim[at] ^ 1,)) + claim[at + 1 :] for at in range(0, len(claim), 7)
    ]
    cut = [claim[:size] for size in (0, 1, 5, 6, 7, 61, 62, len(claim) - 1)]
    noise = [os.urandom(size) for size in (1, 24, 40, 100, 1500, 60_000)]
    return [*flipped, *cut, claim + b"\0", *noise]


def secrets_of(text: str) -> dict[str, bytes]:
    """What a relay must not see of a token; the issuer's DERP key it must know."""
    token = parsed(text)
    return {
        "the token": text.encode(),
        "the grant's secret": token.secret,
        "the grant's id": token.grant.id,
        "the issuer's Noise key": token.issuer_noise,
        "the claim's header": encode_header(ClaimHeader(token.grant))[:16],
    }


def spellings(secret: bytes) -> set[bytes]:
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=")
    return {secret, secret.hex().encode(), encoded, base64.b64encode(secret).rstrip(b"=")}


def parsed(text: str) -> SessionToken:
    token = parse_token(text)
    assert isinstance(token, SessionToken)
    return token


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])
