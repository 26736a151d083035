"""The two AEADs against published vectors, and the choice between them."""

import pytest

from tunnel.crypto.aead import (
    AEGIS_256,
    BY_ID,
    CHACHA20_POLY1305,
    NULL,
    AeadId,
    choose_aead,
    fast_aeads,
    from_buffer,
    new_key,
)

SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
    b"future, sunscreen would be it."
)


def seal(aead, key, nonce, ad, message):
    out = bytearray(len(message) + aead.tag_size)
    memory = from_buffer("unsigned char[]", out)
    code = aead.seal(memory, NULL, message, len(message), ad, len(ad), NULL, nonce, new_key(key))
    assert code == 0
    return bytes(out)


def test_chacha20_poly1305_is_that_of_rfc_8439():
    sealed = seal(
        CHACHA20_POLY1305,
        bytes(range(0x80, 0xA0)),
        bytes.fromhex("070000004041424344454647"),
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        SUNSCREEN,
    )

    assert sealed.hex().startswith("d31a8d34648e60db7b86afbc53ef7ec2")
    assert sealed.hex().endswith("1ae10b594f09e26a7e902ecbd0600691")


def test_aegis_256_is_that_of_the_draft():
    sealed = seal(
        AEGIS_256,
        bytes.fromhex("1001" + 30 * "00"),
        bytes.fromhex("1000" + "02" + 29 * "00"),
        b"",
        bytes(16),
    )

    assert sealed.hex() == (
        "754fc3d8c973246dcc6d741412a4b236"
        "1181a1d18091082bf0266f66297d167d2e68b845f61a3b0527d31fc7b7b89f13"
    )


@pytest.mark.parametrize("aead", BY_ID.values())
def test_sizes_fit_what_packets_rely_on(aead):
    assert aead.nonce_size in (12, 32)
    assert aead.tag_size % 8 == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        (0b11, 0b11, AeadId.AEGIS_256),
        (0b01, 0b11, AeadId.CHACHA20_POLY1305),
        (0b11, 0b01, AeadId.CHACHA20_POLY1305),
        (0b11, 0b00, AeadId.CHACHA20_POLY1305),
        (0b11, 0xFE, AeadId.AEGIS_256),
        (0b11, 0xFC, AeadId.CHACHA20_POLY1305),
    ],
)
def test_aegis_is_used_where_both_have_the_hardware(ours, theirs, chosen):
    assert choose_aead(ours, theirs) is chosen
    assert choose_aead(theirs, ours) is chosen


def test_every_machine_does_chacha_fast():
    assert fast_aeads() & 1 << AeadId.CHACHA20_POLY1305


def test_a_key_of_another_size_is_refused():
    with pytest.raises(ValueError, match="a key of 31 bytes"):
        new_key(bytes(31))
