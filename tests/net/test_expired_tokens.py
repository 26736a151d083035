"""A token that has expired is not tried for ever: the issuer's answer, or the likely reason."""

import time

import gevent
import pytest
from conversations import WAIT_S, relay_options
from support.processes import free_port

from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import NobodyThere, TokenExpired
from derphole.rendezvous.claimer import EXPIRED_ABSENCE_S, ClaimerRendezvous
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import OwnRelay
from derphole.token.text import SessionToken, session_token
from derphole.token.validity import READER_GRACE_S
from tunnel.values import replace

pytestmark = pytest.mark.net

MINT = Mint.from_seed(bytes(range(32)))
GRACE_S = 0.5


def token_at(relay: RelayAddress, expires_in_s: float) -> SessionToken:
    grant = Grant(b"\x07" * 8, int(time.time() + expires_in_s), Capability.LISTEN)
    return session_token(MINT, grant, OwnRelay(relay.host, relay.port, 0, False))


def claim(options: NetworkOptions, expires_in_s: float) -> None:
    """Claim from nobody; the settings set no limit."""
    assert options.relay is not None
    token = token_at(options.relay, expires_in_s)
    with ClaimerRendezvous(options, lambda status: None, token) as rendezvous:
        rendezvous.claim("the listener to answer", expired_absence_s=GRACE_S)


@pytest.mark.parametrize("expires_in_s", [-4, -300, 2])
def test_nobody_there_and_an_expired_token_ends_soon_with_the_likely_reason(expires_in_s):
    with relay_options() as options:
        unbounded = replace(options, timeout_s=None)
        began = time.monotonic()
        with gevent.Timeout(WAIT_S), pytest.raises(NobodyThere, match="the token expired at 20"):
            claim(unbounded, expires_in_s)

    assert time.monotonic() - began >= max(0, expires_in_s - 1) + GRACE_S
    assert EXPIRED_ABSENCE_S == 10.0


def test_a_limit_of_one_s_own_is_not_waited_for():
    with relay_options() as options:
        bounded = replace(options, timeout_s=3600.0)
        with gevent.Timeout(WAIT_S), pytest.raises(NobodyThere, match="the token expired at 20"):
            claim(bounded, -4)


@pytest.mark.parametrize("is_patient", [False, True])
def test_beyond_the_grace_the_sentence_comes_whatever_the_relay_does(is_patient):
    nowhere = RelayAddress("127.0.0.1", free_port(), tls=False)
    options = NetworkOptions(relay=nowhere, is_patient=is_patient)
    with gevent.Timeout(WAIT_S), pytest.raises(TokenExpired, match="this machine's clock says 20"):
        claim(options, -(READER_GRACE_S + 1))


def test_a_patient_person_waits_within_the_grace():
    with relay_options() as options:
        patient = replace(options, timeout_s=None, is_patient=True)
        with gevent.Timeout(4 * GRACE_S) as limit, pytest.raises(gevent.Timeout) as caught:
            claim(patient, -4)
        assert caught.value is limit
