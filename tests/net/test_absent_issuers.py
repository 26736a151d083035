"""A claimer waits for an issuer that is not there, but not without end, and says what that means."""

import time

import gevent
import pytest
from conversations import WAIT_S, relay_options

from derphole.config import NetworkOptions
from derphole.errors import NobodyThere
from derphole.rendezvous.claimer import ABSENCE_S, ClaimerRendezvous
from derphole.status import Status, Waiting
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import OwnRelay
from derphole.token.text import SessionToken, session_token
from tunnel.values import replace

pytestmark = pytest.mark.net

MINT = Mint.from_seed(bytes(range(32)))
AWAITED = "the listener to answer"


def token_at(options: NetworkOptions, expires_in_s: float = 3600.0) -> SessionToken:
    """Return the token of an issuer that is not there, at the relay of these settings."""
    assert options.relay is not None
    grant = Grant(b"\x07" * 8, int(time.time() + expires_in_s), Capability.LISTEN)
    return session_token(MINT, grant, OwnRelay(options.relay.host, options.relay.port, 0, False))


def claim(options: NetworkOptions, absence_s: float, expires_in_s: float = 3600.0) -> list[Status]:
    """Claim in vain; returns what was reported."""
    told: list[Status] = []
    token = token_at(options, expires_in_s)
    with ClaimerRendezvous(options, told.append, token) as rendezvous:
        rendezvous.claim(AWAITED, absence_s)
    return told


def test_an_absent_issuer_is_given_up_and_what_that_means_is_said():
    with relay_options() as options:
        unbounded = replace(options, timeout_s=None)
        with gevent.Timeout(WAIT_S), pytest.raises(NobodyThere) as caught:
            claim(unbounded, 0.5)

    # The time is the true one; a machine that does much else takes longer than asked.
    awaited_s = float(str(caught.value).split()[3])
    assert 0.5 <= awaited_s < WAIT_S
    assert str(caught.value) == (
        f"timed out after {awaited_s:g} s waiting for the listener to answer: the relay says that "
        "nobody is there; the command that printed the token has not started or has ended, or the token was "
        "used or has expired: run that command again, and use the token that it prints then"
    )
    assert ABSENCE_S == 120.0


def test_a_token_that_has_expired_meanwhile_is_the_likely_reason():
    with relay_options() as options:
        unbounded = replace(options, timeout_s=None)
        with gevent.Timeout(WAIT_S), pytest.raises(NobodyThere, match="clock the token expired at"):
            claim(unbounded, 0.5, expires_in_s=-60)


def test_a_person_s_own_bound_goes_before_and_is_told_the_same():
    with relay_options() as options, pytest.raises(NobodyThere) as caught:
        claim(replace(options, timeout_s=1.0), 0.1)

    assert str(caught.value).startswith("timed out after 1 s waiting for the listener to answer: ")


def test_a_patient_person_is_told_and_waits_on():
    told: list[Status] = []
    with relay_options() as options:
        patient = replace(options, timeout_s=None, is_patient=True)
        with (
            ClaimerRendezvous(patient, told.append, token_at(options)) as rendezvous,
            gevent.Timeout(3.0, False),
        ):
            rendezvous.claim(AWAITED, 0.1)

    (waiting,) = (status for status in told if isinstance(status, Waiting))
    assert waiting.limit_s is None
    assert waiting.sentence == (
        "waiting for the listener to answer (2 s): the relay says that nobody is there"
    )
