"""Our Noise handshake against the `noiseprotocol` package, in both roles, and its refusals."""

import pytest
from cryptography.exceptions import InvalidTag
from noise.connection import Keypair, NoiseConnection

from tunnel.crypto import noise
from tunnel.crypto.keys import KeyPair
from tunnel.errors import AuthenticationFailed

pytestmark = pytest.mark.filterwarnings("ignore:One of ephemeral keypairs")  # vectors need it

NAME = b"Noise_NKpsk0_25519_ChaChaPoly_BLAKE2b"
STATIC = KeyPair.from_secret(b"\x11" * 32)
INITIATOR_EPHEMERAL = KeyPair.from_secret(b"\x22" * 32)
RESPONDER_EPHEMERAL = KeyPair.from_secret(b"\x33" * 32)
PSK = b"\x44" * 32
PROLOGUE = b"a prologue"
GOLDEN = (
    "668cf575a00d5f1b5f9ee7d3a417f5ae49aac10947",
    "0c9d787ce1e165ac574302d56dc1b1f4841a8550aa78b6",
    (
        "d665ef105e079386ad7ae62bc3c1c5129f9490706600e9df3a93fbd8530b77c2",
        "e8661a5a41b199bfe6b98d2315a33263581b01d2e1da1c0eae05ebdff0bf7937",
    ),
)


def reference(is_initiator, psk=PSK, prologue=PROLOGUE):
    connection = NoiseConnection.from_name(NAME)
    connection.set_psks(psk=psk)
    connection.set_prologue(prologue)
    if is_initiator:
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, STATIC.public)
        connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, INITIATOR_EPHEMERAL.secret)
    else:
        connection.set_as_responder()
        connection.set_keypair_from_private_bytes(Keypair.STATIC, STATIC.secret)
        connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, RESPONDER_EPHEMERAL.secret)
    connection.start_handshake()
    return connection


def initiator(psk=PSK, prologue=PROLOGUE, ephemeral=INITIATOR_EPHEMERAL):
    return noise.Initiator(STATIC.public, psk, prologue, ephemeral)


def responder(sealed, psk=PSK, prologue=PROLOGUE, ephemeral=INITIATOR_EPHEMERAL.public):
    return noise.Responder(STATIC, psk, prologue, ephemeral, sealed)


def reference_keys(connection):
    """Return the keys the reference derived: for sending and for receiving."""
    protocol = connection.noise_protocol
    return bytes(protocol.cipher_state_encrypt.k), bytes(protocol.cipher_state_decrypt.k)


def test_our_initiator_agrees_with_the_reference_responder():
    theirs = reference(is_initiator=False)
    ours = initiator()

    assert (
        theirs.read_message(INITIATOR_EPHEMERAL.public + ours.write_message_1(b"hello")) == b"hello"
    )
    answer = bytes(theirs.write_message(b"welcome"))
    payload, keys = ours.read_message_2(answer[:32], answer[32:])

    assert payload == b"welcome"
    assert theirs.handshake_finished
    assert keys == reference_keys(theirs)[::-1]


def test_our_responder_agrees_with_the_reference_initiator():
    theirs = reference(is_initiator=True)
    message = bytes(theirs.write_message(b"hello"))

    ours = responder(message[32:], ephemeral=message[:32])
    sealed, keys = ours.write_message_2(b"welcome", RESPONDER_EPHEMERAL)

    assert ours.payload == b"hello"
    assert theirs.read_message(RESPONDER_EPHEMERAL.public + sealed) == b"welcome"
    assert keys == reference_keys(theirs)


def test_the_handshake_is_these_bytes():
    """Recorded with `noiseprotocol` 0.3.1 from the keys above."""
    ours = initiator()
    sealed = ours.write_message_1(b"hello")
    answer, keys = responder(sealed).write_message_2(b"welcome", RESPONDER_EPHEMERAL)

    assert sealed.hex() == GOLDEN[0]
    assert answer.hex() == GOLDEN[1]
    assert (keys[0].hex(), keys[1].hex()) == GOLDEN[2]
    assert ours.read_message_2(RESPONDER_EPHEMERAL.public, answer) == (b"welcome", keys)


@pytest.mark.parametrize("change", [{"psk": b"\x45" * 32}, {"prologue": b"another"}])
def test_whoever_does_not_share_psk_and_prologue_reads_nothing(change):
    sealed = initiator().write_message_1(b"hello")

    with pytest.raises(AuthenticationFailed):
        responder(sealed, **change)
    with pytest.raises(InvalidTag):
        reference(False, **change).read_message(INITIATOR_EPHEMERAL.public + sealed)


def test_another_static_key_reads_nothing():
    sealed = initiator().write_message_1(b"hello")

    with pytest.raises(AuthenticationFailed):
        noise.Responder(RESPONDER_EPHEMERAL, PSK, PROLOGUE, INITIATOR_EPHEMERAL.public, sealed)


def test_every_flipped_bit_of_message_1_is_refused():
    sealed = initiator().write_message_1(b"hello")

    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationFailed):
            responder(bytes(flipped))


def test_a_forged_answer_changes_nothing():
    ours = initiator()
    sealed, keys = responder(ours.write_message_1(b"")).write_message_2(b"yes", RESPONDER_EPHEMERAL)

    for forged in (bytes(len(sealed)), b"", sealed[:-1], bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(AuthenticationFailed):
            ours.read_message_2(RESPONDER_EPHEMERAL.public, forged)

    assert ours.read_message_2(RESPONDER_EPHEMERAL.public, sealed) == (b"yes", keys)


@pytest.mark.parametrize("low_order", [bytes(32), b"\x01" + bytes(31)])
def test_keys_of_low_order_are_refused_on_both_sides(low_order):
    ours = initiator()
    with pytest.raises(AuthenticationFailed):
        ours.read_message_2(low_order, bytes(23))
    with pytest.raises(AuthenticationFailed):
        responder(ours.write_message_1(b""), ephemeral=low_order)
    with pytest.raises(AuthenticationFailed):
        noise.Initiator(low_order, PSK, PROLOGUE, INITIATOR_EPHEMERAL)
