"""Keys, key derivation and boxes: published vectors, bindings, refusals, nothing secret in repr."""

from hashlib import blake2b

import pytest

from tunnel.crypto import box
from tunnel.crypto.kdf import Derivation, derive
from tunnel.crypto.keys import KeyPair, Secret
from tunnel.errors import AuthenticationFailed

# RFC 7748, section 6.1.
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB_SECRET = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_x25519_is_that_of_rfc_7748():
    bob = KeyPair.from_secret(BOB_SECRET)

    assert bob.public == BOB_PUBLIC
    assert bob.exchange(ALICE_PUBLIC) == SHARED


def test_a_key_of_low_order_is_refused():
    with pytest.raises(AuthenticationFailed):
        KeyPair.from_secret(BOB_SECRET).exchange(bytes(32))


def test_secrets_never_show_in_repr():
    pair = KeyPair.from_secret(BOB_SECRET)

    shown = repr((pair, Secret(BOB_SECRET)))

    assert BOB_SECRET.hex() not in shown
    assert repr(BOB_SECRET) not in shown
    assert "<Secret of 32 bytes>" in shown
    assert BOB_PUBLIC.hex()[:8] in shown


def test_derivation_is_keyed_blake2b_over_length_prefixed_parts():
    expected = blake2b(
        b"\x05\x00label\x02\x00ab", key=b"k" * 32, person=b"derphole v1", digest_size=32
    ).digest()

    assert derive(b"k" * 32, "label", b"ab") == expected
    golden = "2c0c11c11d85139fc83e9fec560d6575a729283bee91553638163fb56faffa54"
    assert expected.hex() == golden


def test_derived_keys_differ_by_key_label_parts_and_size():
    keys = {
        derive(b"k" * 32, "label", b"ab", b"c"),
        derive(b"k" * 32, "label", b"a", b"bc"),
        derive(b"k" * 32, "label", b"abc"),
        derive(b"k" * 32, "labela", b"bc"),
        derive(b"l" * 32, "label", b"abc"),
        derive(b"k" * 32, "label", b"abc", size=64)[:32],
    }

    assert len(keys) == 6


def test_a_box_opens_for_its_receiver_alone():
    alice, bob = KeyPair.from_secret(b"a" * 32), KeyPair.from_secret(b"b" * 32)
    nonce = bytes(range(24))

    sealed = box.seal(alice, bob.public, nonce, b"hello")

    assert box.open_box(bob, alice.public, nonce, sealed) == b"hello"
    for change in (sealed[:-1], b"", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(AuthenticationFailed):
            box.open_box(bob, alice.public, nonce, change)
    with pytest.raises(AuthenticationFailed):
        box.open_box(alice, alice.public, nonce, sealed)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match=f"a key of {size} bytes"):
        KeyPair.from_secret(bytes(size))
    with pytest.raises(ValueError, match=f"a key of {size} bytes"):
        KeyPair.from_secret(b"a" * 32).exchange(bytes(size))


def test_a_box_for_a_key_of_low_order_is_refused():
    with pytest.raises(AuthenticationFailed):
        box.seal(KeyPair.from_secret(b"a" * 32), bytes(32), bytes(24), b"hello")
    with pytest.raises(AuthenticationFailed):
        box.open_box(KeyPair.from_secret(b"a" * 32), bytes(32), bytes(24), bytes(20))


def test_deriving_many_times_from_one_key_is_deriving_each_time():
    derivation = Derivation(b"k" * 16, "label", size=16)

    for part in (b"", b"a", b"b" * 300, b"a"):
        assert derivation.derive(part) == derive(b"k" * 16, "label", part, size=16)
