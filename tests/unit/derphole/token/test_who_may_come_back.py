"""Resumptions: who was lost may come back, who left may not, and how many are remembered."""

import pytest

from derphole.token.grant import resumption_proof
from derphole.token.resumption import MAX_GONE, MAX_LOST, Resumptions

EPHEMERAL = b"e" * 32


@pytest.fixture
def known():
    return Resumptions(b"m" * 32, b"h" * 64)


def instance(number):
    return number.to_bytes(16, "big")


def proves(known, secret):
    """Return who is recognised by a proof made with a secret."""
    who = known.who(resumption_proof(secret, EPHEMERAL), EPHEMERAL)
    assert who is None or who[1] == secret
    return who and who[0]


def test_each_process_has_a_secret_of_its_own_and_is_recognised_by_it(known):
    secrets = {instance(n): known.hand_out(instance(n)) for n in range(10)}

    assert len(set(secrets.values())) == 10
    for who, secret in secrets.items():
        assert proves(known, secret) == who
        assert known.may_come_back(who)


def test_nobody_is_recognised_before_a_secret_was_handed_out(known):
    secret = Resumptions(b"m" * 32, b"h" * 64).hand_out(instance(1))

    assert proves(known, secret) is None
    assert not known.may_come_back(instance(1))
    assert instance(1) not in known


def test_one_who_comes_back_has_the_same_secret_as_before(known):
    secret = known.hand_out(instance(1))
    known.part(instance(1), may_come_back=True)

    assert known.hand_out(instance(1)) == secret


def test_one_who_left_is_recognised_and_may_not_come_back(known):
    secret = known.hand_out(instance(1))
    known.part(instance(1), may_come_back=False)

    assert proves(known, secret) == instance(1)
    assert not known.may_come_back(instance(1))


def test_one_who_was_handed_nothing_cannot_be_lost(known):
    known.part(instance(1), may_come_back=True)

    assert instance(1) not in known


def test_sixty_four_that_were_lost_may_come_back_and_the_first_of_more_may_not(known):
    secrets = [known.hand_out(instance(n)) for n in range(MAX_LOST + 1)]
    for n in range(MAX_LOST):
        known.part(instance(n), may_come_back=True)
    assert all(known.may_come_back(instance(n)) for n in range(MAX_LOST))

    known.part(instance(MAX_LOST), may_come_back=True)

    assert not known.may_come_back(instance(0))
    assert proves(known, secrets[0]) == instance(0)  # who can be told
    assert all(known.may_come_back(instance(n)) for n in range(1, MAX_LOST + 1))


def test_one_who_came_back_is_the_last_to_be_pushed_out_and_those_who_are_here_never_are(known):
    for n in range(MAX_LOST + 1):
        known.hand_out(instance(n))
        if n:
            known.part(instance(n), may_come_back=True)
    known.hand_out(instance(1))
    known.part(instance(1), may_come_back=True)
    for n in range(1000, 1000 + MAX_LOST - 1):
        known.hand_out(instance(n))
        known.part(instance(n), may_come_back=True)

    assert known.may_come_back(instance(0))
    assert known.may_come_back(instance(1))
    assert not known.may_come_back(instance(2))


def test_what_is_remembered_is_bounded_whatever_happens(known):
    for n in range(1000):
        known.hand_out(instance(n))
        known.part(instance(n), may_come_back=n % 3 == 0)

    remembered = [n for n in range(1000) if instance(n) in known]
    assert len(remembered) == MAX_LOST + MAX_GONE


def test_one_who_is_forgotten_is_nobody(known):
    secret = known.hand_out(instance(1))
    known.forget(instance(1))
    known.forget(instance(2))

    assert proves(known, secret) is None
