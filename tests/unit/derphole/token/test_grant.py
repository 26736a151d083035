"""Grants: what comes from a seed, and that each part of a grant changes its secret."""

from hashlib import blake2b

import pytest

from derphole.token.grant import Capability, Grant, Mint, grant_secret, resumption_secret

SEED = bytes(range(32))
GRANT = Grant(bytes.fromhex("0102030405060708"), 0x6A000000, Capability.LISTEN, "laptop")


def kdf(key, *parts, size):
    """The key derivation of docs/protocol.md, written out once more."""
    data = b"".join(len(part).to_bytes(2, "little") + part for part in parts)
    return blake2b(data, key=key, person=b"derphole v1", digest_size=size).digest()


def test_an_issuer_derives_its_keys_by_label():
    keys = Mint.from_seed(SEED).keys

    assert keys.noise.secret == kdf(SEED, b"noise static", size=32)
    assert keys.derp.secret == kdf(SEED, b"derp node", size=32)
    assert keys.minting == kdf(SEED, b"minting", size=32)
    assert keys.noise.public != keys.derp.public


def test_the_keys_of_a_known_seed_do_not_change():
    keys = Mint.from_seed(SEED).keys

    assert keys.noise.public.hex() == NOISE_PUBLIC
    assert keys.derp.public.hex() == DERP_PUBLIC
    assert grant_secret(keys.minting, GRANT).hex() == GRANT_SECRET


def test_a_grant_secret_binds_the_padded_name():
    minting = Mint.from_seed(SEED).keys.minting
    parts = (GRANT.id, bytes.fromhex("0000006a"), b"\x01", b"laptop" + bytes(26))

    assert grant_secret(minting, GRANT) == kdf(minting, b"grant secret", *parts, size=16)
    assert Mint.from_seed(SEED).secret_of(GRANT) == grant_secret(minting, GRANT)


@pytest.mark.parametrize(
    "other",
    [
        Grant(bytes(8), GRANT.expires_at, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at + 1, GRANT.capability, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, Capability.SHARE, GRANT.name),
        Grant(GRANT.id, GRANT.expires_at, GRANT.capability, "laptop2"),
    ],
)
def test_every_part_of_a_grant_changes_its_secret(other):
    minting = Mint.from_seed(SEED).keys.minting

    assert grant_secret(minting, other) != grant_secret(minting, GRANT)


def test_a_resumption_secret_belongs_to_one_header_and_one_instance():
    minting = Mint.from_seed(SEED).keys.minting
    secret = resumption_secret(minting, b"header", b"instance")

    assert secret == kdf(minting, b"resume", b"header", b"instance", size=16)
    assert secret != resumption_secret(minting, b"header", b"Instance")
    assert secret != resumption_secret(minting, b"headeR", b"instance")


@pytest.mark.parametrize("name", ["x" * 33, "tab\t", "ümlaut", "zero\0", "line\n", "\x7f"])
def test_a_name_that_no_claim_can_carry_is_refused(name):
    with pytest.raises(ValueError, match="name"):
        Grant(bytes(8), 0, Capability.LISTEN, name)


@pytest.mark.parametrize(
    ("grant_id", "expires_at"), [(bytes(7), 0), (bytes(8), 1 << 32), (bytes(8), -1)]
)
def test_values_of_a_wrong_size_are_refused(grant_id, expires_at):
    with pytest.raises(ValueError):
        Grant(grant_id, expires_at, Capability.LISTEN)


def test_a_seed_has_32_bytes():
    with pytest.raises(ValueError, match="32"):
        Mint.from_seed(bytes(31))


def test_no_secret_shows_in_repr():
    issuer = Mint.from_seed(SEED)
    shown = repr(issuer) + repr(issuer.keys)

    for secret in (SEED, issuer.keys.minting, issuer.keys.noise.secret, issuer.keys.derp.secret):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


# Computed once with the functions above; a change breaks every token in use.
NOISE_PUBLIC = "41e82d5520ee02703ab73de1d95db84e12110708bda5264b0e409d0abf38f068"
DERP_PUBLIC = "1dfda6f4a36959fa059e650531609bde20e5d5e98b844cf62012455c0f36f331"
GRANT_SECRET = "24988004d00cb0120de33e6a0753607f"
