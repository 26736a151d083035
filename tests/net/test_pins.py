"""Pins against certificates of every shape, with openssl as the second opinion."""

import contextlib
import subprocess
from hashlib import sha256

import pytest
from fake_relays import make_certificate
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.net.pins import pin_matches, public_key_pin


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("pins"))


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    command = ["openssl", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout


def test_the_pin_is_the_sha256_of_the_public_key_as_openssl_sees_it(certificate):
    pem = openssl("x509", "-in", str(certificate.cert_file), "-pubkey", "-noout")
    key_der = openssl("pkey", "-pubin", "-outform", "DER", data=pem)

    assert public_key_pin(certificate.der) == sha256(key_der).digest()


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa:2048"])
def test_other_kinds_of_keys_have_pins_too(tmp_path, algorithm):
    command = ["req", "-x509", "-newkey", algorithm, "-nodes", "-subj", "/CN=x"]
    command += ["-keyout", str(tmp_path / "key"), "-outform", "DER", "-out", str(tmp_path / "der")]
    openssl(*command)
    pem = openssl("pkey", "-in", str(tmp_path / "key"), "-pubout", "-outform", "DER")

    assert public_key_pin((tmp_path / "der").read_bytes()) == sha256(pem).digest()


def test_a_pin_matches_the_key_or_the_certificate_from_16_bytes_on(certificate):
    for whole in (public_key_pin(certificate.der), sha256(certificate.der).digest()):
        assert pin_matches(whole, certificate.der)
        assert pin_matches(whole[:16], certificate.der)
        assert not pin_matches(whole[:15], certificate.der)
        assert not pin_matches(whole + b"\0", certificate.der)
        assert not pin_matches(whole[:-1] + bytes([whole[-1] ^ 1]), certificate.der)
    assert not pin_matches(b"", certificate.der)


def test_what_is_no_certificate_matches_no_key_pin():
    with pytest.raises(DecodeError):
        public_key_pin(b"not a certificate")
    assert not pin_matches(bytes(32), b"not a certificate")


def test_a_cut_certificate_raises_decode_errors_only(certificate):
    for size in range(len(certificate.der)):
        cut = certificate.der[:size]
        with pytest.raises(DecodeError):
            public_key_pin(cut)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_pin_or_a_decode_error(data):
    with contextlib.suppress(DecodeError):
        assert len(public_key_pin(data)) == 32
