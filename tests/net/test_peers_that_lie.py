"""`listen` and `pipe` with a peer that holds the token and lies: no success that is not true."""

from contextlib import suppress

import gevent
import pytest
from conversations import WAIT_S, Listening, Piping, ignore, relay_options
from xxhash import xxh3_128

from derphole.errors import AlreadyInUse, DigestMismatch, PeerLeft, SizeMismatch
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.control import Control
from derphole.speech.messages import Confirm, ConfirmAck, Fin
from derphole.speech.turns import Stage
from derphole.token.grant import Capability
from derphole.token.text import parse_token
from derphole.transfer_status import Receipt
from tunnel.errors import LinkEnded, StreamReset
from tunnel.proto.streams.credit import FLOOR
from tunnel.values import replace

DATA = b"what the sender sends"
DIGEST = xxh3_128(DATA).digest()
LIES = [
    (len(DATA), xxh3_128(b"").digest(), DigestMismatch),
    (len(DATA), bytes(16), DigestMismatch),
    (len(DATA), DIGEST[:-1] + bytes([DIGEST[-1] ^ 1]), DigestMismatch),
    (len(DATA) - 1, DIGEST, SizeMismatch),
    (len(DATA) + 1, DIGEST, SizeMismatch),
    (0, DIGEST, SizeMismatch),
]
NAMES = ["empty", "zeros", "a bit", "one less", "one more", "none"]


@pytest.fixture(scope="module")
def options():
    with relay_options() as chosen:
        yield chosen


@pytest.fixture(autouse=True)
def _bounded():
    with gevent.Timeout(40):
        yield


class SameProcess(ClaimerRendezvous):
    """Claims under a given instance id, as a process would that has a link already."""

    def __init__(self, options, token, instance):
        super().__init__(options, ignore, token)
        self._instance = instance

    def _open_relays(self, machine, choice, keys, count):
        machine._identity = replace(machine._identity, instance=self._instance)
        machine._claim = machine._new_claim()
        return super()._open_relays(machine, choice, keys, count)


def say(link, data, fin):
    """Speak as `pipe` does, but for the truth of `fin`; returns the control stream."""
    control = Control(link.open_stream(), Stage.PIPE_AFTER_FIN)
    stream = link.open_stream()
    stream.write(data)
    if fin is not None:
        stream.end()
        control.send(fin)
    return control


def acknowledge(control):
    with suppress(LinkEnded):
        control.receive()
        control.send(ConfirmAck())


@pytest.mark.parametrize(("size", "digest", "error"), LIES, ids=NAMES)
def test_listen_never_succeeds_with_a_fin_that_is_not_true(options, tmp_path, size, digest, error):
    listening = Listening(options, tmp_path / "out")
    with ClaimerRendezvous(options, ignore, listening.tokens.get(timeout=WAIT_S)) as claimer:
        control = say(claimer.claim("the listener"), DATA, Fin(size, digest))
        gevent.spawn(acknowledge, control)  # so that a success would not wait for it

        assert isinstance(listening.greenlet.get(timeout=WAIT_S), error)


@pytest.mark.parametrize(("size", "digest", "error"), LIES, ids=NAMES)
def test_pipe_never_succeeds_with_a_confirmation_of_something_else(options, size, digest, error):
    with IssuerRendezvous(options, ignore, Capability.LISTEN, None) as issuer:
        piping = Piping(options, parse_token(issuer.issue()))
        piping.feed(DATA)
        piping.end()
        link = issuer.wait_link("the sender")
        control = Control(link.accept_stream(), Stage.LISTEN_BEFORE_FIN)
        assert control.receive() == Fin(len(DATA), DIGEST)
        control.send(Confirm(size, digest))

        assert isinstance(piping.greenlet.get(timeout=WAIT_S), error)


def test_pipe_never_succeeds_without_a_confirmation_however_politely_the_link_is_closed(options):
    with IssuerRendezvous(options, ignore, Capability.LISTEN, None) as issuer:
        piping = Piping(options, parse_token(issuer.issue()))
        piping.feed(DATA)
        link = issuer.wait_link("the sender")
        link.accept_stream()
        assert link.accept_stream().read()
        link.close(16, "done")

        assert isinstance(piping.greenlet.get(timeout=WAIT_S), PeerLeft)


def is_refused(stream):
    """Write as much as the floor takes, and see that the other side gives the stream up."""
    with suppress(StreamReset):
        stream.write(bytes(FLOOR))
    with pytest.raises(StreamReset):
        stream.read()
    return True


def test_listen_gives_up_every_stream_but_its_two(options, tmp_path):
    """What nobody reads would be kept until the link's end: 64 MiB of it."""
    listening = Listening(options, tmp_path / "out")
    with ClaimerRendezvous(options, ignore, listening.tokens.get(timeout=WAIT_S)) as claimer:
        link = claimer.claim("the listener")
        control = say(link, DATA, None)

        with gevent.Timeout(WAIT_S):
            assert all(is_refused(link.open_stream()) for _ in range(50))

        link.machine.streams.end(2)
        control.send(Fin(len(DATA), DIGEST))
        acknowledge(control)
        listening.greenlet.get(timeout=WAIT_S)
    assert (tmp_path / "out").read_bytes() == DATA


def test_pipe_gives_up_every_stream_that_the_listener_opens(options):
    with IssuerRendezvous(options, ignore, Capability.LISTEN, None) as issuer:
        piping = Piping(options, parse_token(issuer.issue()))
        piping.feed(DATA)
        link = issuer.wait_link("the sender")

        with gevent.Timeout(WAIT_S):
            assert all(is_refused(link.open_stream()) for _ in range(50))

        piping.end()
        control = Control(link.accept_stream(), Stage.LISTEN_BEFORE_FIN)
        control.send(Confirm(*fin_of(control)))
        assert isinstance(piping.greenlet.get(timeout=WAIT_S), Receipt)


def fin_of(control):
    fin = control.receive()
    return fin.size, fin.digest


def test_a_process_that_begins_again_after_its_first_byte_cannot_make_a_stream_of_two(
    options, tmp_path
):
    """What was written cannot be taken back: the second stream would follow half of the first."""
    path = tmp_path / "out"
    listening = Listening(options, path)
    token = listening.tokens.get(timeout=WAIT_S)
    with SameProcess(options, token, b"i" * 16) as first:
        link = first.claim("the listener")
        say(link, b"half of ", None)
        with gevent.Timeout(WAIT_S):
            while not path.exists() or path.read_bytes() != b"half of ":
                gevent.sleep(0.01)
        with SameProcess(options, token, b"i" * 16) as second, pytest.raises(AlreadyInUse):
            second.claim("the listener")
        assert not listening.greenlet.ready()
        link.close(16, "done")
        assert isinstance(listening.greenlet.get(timeout=WAIT_S), PeerLeft)
    assert path.read_bytes() == b"half of "
