"""Public keys: what ssh-keygen makes is taken as it is, and everything else is refused in words."""

import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ssh_keys import (
    BASE_POINTS,
    LINES,
    SK_ECDSA,
    SK_ED25519,
    ed25519_line,
    keygen_says,
    line_of,
    make_key,
    needs_keygen,
    number,
    strings,
)

from derphole.ssh.public_key import (
    MAX_COMMENT,
    MAX_LINE,
    KeyUnusable,
    PublicKey,
    parse_line,
    parse_public_key,
    short_comment,
)

KINDS = [
    ("ed25519", None),
    ("ecdsa", 256),
    ("ecdsa", 384),
    ("ecdsa", 521),
    ("rsa", 1024),
    ("rsa", 2048),
    ("rsa", 3072),
]
P256 = BASE_POINTS[b"nistp256"]
MODULUS = number((1 << 2047) | 1)


def fault_of(data: bytes) -> str:
    with pytest.raises(KeyUnusable) as caught:
        parse_public_key(data)
    return str(caught.value)


# -- what is taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_a_key_of_ssh_keygen_is_taken_with_its_fingerprint_and_bits(
    tmp_path: Path, kind: str, bits: int | None
):
    needs_keygen()
    path = make_key(tmp_path / "key", kind, bits, "me and you@here")
    data = path.read_bytes()

    key = parse_public_key(data)

    assert key.line.encode() + b"\n" == data
    assert (key.bits, key.fingerprint) == keygen_says(path)
    assert key.comment == "me and you@here"


@pytest.mark.parametrize("name", LINES)
def test_a_key_of_each_type_is_taken_and_counted_as_ssh_keygen_does(tmp_path: Path, name: str):
    """Those in hardware cannot be made here, and no other program is needed to read them."""
    needs_keygen()
    path = tmp_path / "key.pub"
    path.write_bytes(LINES[name] + b" somebody\n")

    key = parse_public_key(path.read_bytes())

    assert key.line.encode() + b"\n" == path.read_bytes()
    assert (key.bits, key.fingerprint) == keygen_says(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line + b"\n",
        lambda line: line + b"\r\n",
        lambda line: b"\n\n  \n" + line + b"\n\n",
        lambda line: b"# mine\n" + line,
        lambda line: b" \t" + line.replace(b" ", b" \t  ") + b"  ",
        lambda line: b"\xef\xbb\xbf" + line + b"\r\n",
        lambda line: line + b"\r",
    ],
    ids=["newline", "return", "blank lines", "comment", "blanks", "mark", "lone return"],
)
def test_how_a_line_is_set_changes_nothing(change):
    line = ed25519_line(1, b"me@here")

    assert parse_public_key(change(line)).line.encode() == line


@pytest.mark.parametrize("words", [b"NOT A PRIVATE KEY", b"PuTTY-User-Key-File", b"restrict"])
def test_a_comment_may_be_any_words(words):
    assert parse_public_key(ed25519_line(comment=words)).comment == words.decode()


def test_a_comment_is_shown_on_one_line_and_short():
    comment = b"a\x1b[31m\tb  \xff\xe2\x80\xae c" + "é".encode() * MAX_COMMENT

    shown = parse_public_key(ed25519_line(comment=comment)).comment

    assert shown.startswith("a?[31m b \N{REPLACEMENT CHARACTER}? c")
    assert shown.isprintable()
    assert MAX_COMMENT - 1 <= len(shown.encode()) <= MAX_COMMENT


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["OpenSSH", "PEM", "PKCS8"])
def test_a_private_key_of_ssh_keygen_is_refused_and_the_other_file_is_named(tmp_path: Path, form):
    needs_keygen()
    make_key(tmp_path / "key", "ecdsa", 256)
    if form != "OpenSSH":
        change = ["ssh-keygen", "-q", "-p", "-N", "", "-m", form, "-f", str(tmp_path / "key")]
        subprocess.run(change, check=True, capture_output=True, timeout=60)

    fault = fault_of((tmp_path / "key").read_bytes())

    assert fault == "is a private key, which must never leave this machine; use its .pub file"


@pytest.mark.parametrize(
    "data",
    [
        b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: me\n",
        b"PuTTY-User-Key-File-2: ssh-rsa\r\nEncryption: aes256-cbc\r\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/5\n",
        ed25519_line() + b"\n-----BEGIN OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\n" + b"A" * 2 * MAX_LINE,
    ],
    ids=["PuTTY 3", "PuTTY 2", "encrypted", "SSH2", "behind a public one", "large"],
)
def test_a_private_key_of_another_program_is_refused_as_one(data):
    assert fault_of(data).startswith("is a private key")


def test_the_format_of_rfc_4716_is_refused_with_what_makes_a_key_of_it(tmp_path: Path):
    needs_keygen()
    path = make_key(tmp_path / "key", "ed25519")
    form = ["ssh-keygen", "-e", "-f", str(path)]
    data = subprocess.run(form, check=True, capture_output=True, timeout=60).stdout
    (tmp_path / "foreign").write_bytes(data)

    assert "`ssh-keygen -i -f FILE` makes an OpenSSH key of it" in fault_of(data)

    back = ["ssh-keygen", "-i", "-f", str(tmp_path / "foreign")]
    made = subprocess.run(back, check=True, capture_output=True, timeout=60).stdout
    assert parse_public_key(made).blob == parse_public_key(path.read_bytes()).blob


def test_a_certificate_of_ssh_keygen_is_refused(tmp_path: Path):
    needs_keygen()
    make_key(tmp_path / "authority", "ed25519")
    path = make_key(tmp_path / "key", "ed25519")
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "me", "-n", "me"]
    subprocess.run([*sign, str(path)], check=True, timeout=60)

    fault = fault_of((tmp_path / "key-cert.pub").read_bytes())

    assert fault == "is a certificate; hand over the key that it is for"


ED25519 = ed25519_line(7)
FAULTS = [
    (b"", "is empty"),
    (b"\n# nothing\n\r\n \t\n", "is empty"),
    (ED25519 + b"\n" + ED25519, "has 2 lines, and one key is one line"),
    (ED25519 + b"\r" + ED25519, "has 2 lines, and one key is one line"),
    (b"#" * (MAX_LINE + 1), "has more than 16384 bytes, which no public key has"),
    (b"restrict " + ED25519, "has options before the key"),
    (b'command="a b",pty ' + ED25519, "has options before the key"),
    (b"cert-authority " + ED25519, "has options before the key"),
    (b"ssh-dss AAAA", "is a DSA key, which servers do not take any more; make another one"),
    (b"hello", "is no OpenSSH public key"),
    (b"ssh-ed25519", "is cut: there is nothing behind the type"),
    (b"ssh-ed25519 ", "is cut: there is nothing behind the type"),
    (b"ssh-ed25519 AAAA!", "is damaged: its base64 cannot be read"),
    (b"ssh-ed25519 AAA", "is damaged: its base64 cannot be read"),
    (b"ssh-ed25519 AAAAB===", "is damaged: its base64 cannot be read"),
    (LINES["ecdsa 256"][:-2] + b"/=", "is damaged: its base64 has bits too many"),
    (ED25519[:-4], "is damaged or cut"),
    (ED25519.replace(b"ed25519 ", b"rsa "), "is damaged: its type and its key do not belong"),
    (b"ssh-ed25519\x0b" + ED25519.split()[1], "is no OpenSSH public key"),
    (b"ssh-ed25519 " + b64encode(strings(b"ssh-ed25519", bytes(32)) + b"\0"), "is damaged or cut"),
    (line_of(b"ssh-ed25519"), "is damaged or cut"),
    (line_of(b"ssh-ed25519", bytes(32), b""), "is damaged or cut"),
    (line_of(b"ssh-ed25519", bytes(31)), "is damaged: an ed25519 key has 32 bytes"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256"), "is damaged or cut"),
    (line_of(b"ecdsa-sha2-nistp256", b"", P256), "is damaged: it is no point of its curve"),
    (line_of(b"ecdsa-sha2-nistp384", b"nistp256", P256), "is damaged: it is no point of its"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256", b""), "is damaged: it is no point of its curve"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256", P256[:33]), "is damaged: it is no point"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256", b"\x02" + P256[1:]), "is damaged: it is no"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256", P256[:-1] + b"\0"), "is damaged: it is no"),
    (line_of(b"ecdsa-sha2-nistp256", b"nistp256", b"\4" + b"\xff" * 64), "is damaged: it is no"),
    (line_of(b"ssh-rsa", number(65537)), "is damaged or cut"),
    (line_of(b"ssh-rsa", number(65537), number(1 << 1022)), "is an RSA key of 1023 bits"),
    (line_of(b"ssh-rsa", number(3), number((1 << 16384) | 1)), "is an RSA key of 16385 bits"),
    (line_of(b"ssh-rsa", number(65537), MODULUS[1:]), "is damaged: a number in it has another"),
    (line_of(b"ssh-rsa", number(65537), b"\0" + MODULUS), "is damaged: a number in it has"),
    (line_of(b"ssh-rsa", b"", MODULUS), "is damaged: a number in it has another size"),
    (line_of(b"ssh-rsa", number(1), MODULUS), "is damaged: these are no numbers of RSA"),
    (line_of(b"ssh-rsa", number(4), MODULUS), "is damaged: these are no numbers of RSA"),
    (line_of(b"ssh-rsa", number(65537), number(1 << 2047)), "is damaged: these are no numbers"),
    (line_of(SK_ED25519, bytes(32)), "is damaged or cut"),
    (line_of(SK_ED25519, bytes(32), b""), "is damaged: it does not say what it is for"),
    (line_of(SK_ED25519, bytes(32), b"x" * 201), "is damaged: it does not say what it is for"),
    (line_of(SK_ECDSA, b"nistp384", BASE_POINTS[b"nistp384"], b"ssh:"), "is damaged: it is no"),
    (line_of(SK_ECDSA, b"nistp256", P256[:-1] + b"\0", b"ssh:"), "is damaged: it is no point"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "fault"), FAULTS)
def test_what_is_no_key_is_refused_with_a_sentence(data: bytes, fault: str):
    assert fault_of(data).startswith(fault)


def test_a_key_that_ssh_keygen_refuses_is_refused_here(tmp_path: Path):
    """A letter of the base64 is another one, as in a line that was copied by hand."""
    needs_keygen()
    taken = {}
    for at in (40, 60, 90, 130):
        line = bytearray(LINES["ecdsa 256"])
        line[at] = ord("A") if line[at] != ord("A") else ord("B")
        path = tmp_path / f"{at}.pub"
        path.write_bytes(line)
        try:
            taken[at] = parse_public_key(bytes(line)) is not None
        except KeyUnusable:
            taken[at] = False
        assert taken[at] == (keygen_says(path) is not None)
    assert taken == dict.fromkeys(taken, False)


# -- whatever comes -----------------------------------------------------------------------------

PARTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"nistp256", b"nistp384", P256, number(65537), MODULUS, b"ssh:", bytes(32)]),
)
TYPES = st.sampled_from([line.split()[0] for line in LINES.values()])


@st.composite
def bent_lines(draw) -> bytes:
    """A line of a key in which some bytes are others, are missing, or are there twice."""
    line = bytearray(draw(st.sampled_from(list(LINES.values()))) + b" " + draw(st.binary()))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(line)))
        end = draw(st.integers(start, min(len(line), start + 4)))
        line[start:end] = draw(
            st.one_of(st.binary(max_size=4), st.just(bytes(line[start:end] * 2)))
        )
    return bytes(line)


@st.composite
def built_lines(draw) -> bytes:
    """A line whose base64 is a row of strings that may be anything."""
    kind = draw(TYPES)
    return line_of(draw(st.one_of(st.just(kind), TYPES)), *draw(st.lists(PARTS, max_size=4)))


ANYTHING = st.one_of(st.binary(max_size=300), bent_lines(), built_lines())


@given(ANYTHING)
def test_whatever_comes_is_a_key_that_stays_the_same_or_is_refused(data: bytes):
    try:
        key = parse_public_key(data)
    except KeyUnusable as refused:
        assert str(refused).split()[0] in ("is", "has")
        return
    assert parse_public_key(key.line.encode()) == key
    assert parse_line(key.line.encode()) == key
    assert key.line.isprintable()
    assert key.fingerprint.startswith("SHA256:")
    assert key.bits > 0


@given(st.sampled_from(list(LINES.values())), st.binary(max_size=300))
def test_a_comment_takes_nothing_from_a_key(line: bytes, comment: bytes):
    key = parse_line(line + b" " + comment)

    assert key.line.encode().startswith(line)
    assert key == PublicKey(key.type, key.blob, short_comment(comment.strip(b" \t\r\n")))
    assert short_comment(key.comment.encode()) == key.comment
