"""The text of an authorized_keys file: what is in it, and what it is with one key more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ssh_keys import LINES, ed25519_key, ed25519_line

from derphole.ssh.authorized_keys import MARK, Standing, spoilt_key, standing, with_key
from derphole.ssh.public_key import parse_public_key

KEY = ed25519_key(1, "me@here")
LINE = ed25519_line(1)
OTHER = ed25519_line(2, b"somebody else")


@pytest.mark.parametrize(
    "contents",
    [
        LINE,
        LINE + b"\n",
        LINE + b" another comment\n",
        OTHER + b"\n" + LINE + b"\r\n",
        b"# keys\n\n  \t" + LINE.replace(b" ", b" \t ") + b"\n",
        b'from="10.0.0.1" ' + OTHER + b"\n" + LINE + b"\n",
        LINE + b"\nrestrict " + LINE + b"\n",
        b"cert-authority " + LINE + b"\n" + LINE + b"\n",
        b"ssh-ed25519 AAAA\n\xff\xfe\0\n" + LINE + b"\n",
    ],
)
def test_a_key_is_found_whatever_is_around_it(contents: bytes):
    assert standing(contents, KEY) is Standing.PRESENT


@pytest.mark.parametrize(
    "options",
    [
        b"restrict",
        b"no-pty,no-port-forwarding",
        b'command="echo hello there"',
        b'command="say \\"a b\\" c",no-pty',
        b'command="ends with \\\\" and more"',
        b'environment="A=cert-authority,x"',
        b'from="*.example.net,!10.0.0.1" \t',
    ],
)
def test_a_key_behind_options_is_restricted_whatever_follows(options: bytes):
    contents = OTHER + b"\n" + options + b" " + LINE + b"\n"

    assert standing(contents, KEY) is Standing.RESTRICTED
    assert standing(contents + LINE + b"\n", KEY) is Standing.RESTRICTED


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\n\n",
        b"#" + LINE,
        b" \t# " + LINE,
        OTHER + b" " + LINE,
        OTHER + b"\r" + LINE + b"\n",
        b"\r" + LINE + b"\n",
        LINE.replace(b" ", b"\x0b") + b"\n",
        MARK + LINE + b"\n",
        b'command="no end ' + LINE + b"\n",
        b"two words " + LINE + b"\n",
        LINE[:-4] + b"\n",
        b"cert-authority " + LINE + b"\n",
        b'principals="a,b",CERT-Authority ' + LINE + b"\n",
        (LINE + b"\n").decode().encode("utf-16"),
    ],
)
def test_what_sshd_finds_no_key_in_has_none(contents: bytes):
    assert standing(contents, KEY) is Standing.ABSENT


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (b"", b"KEY\n"),
        (b"a\n", b"a\nKEY\n"),
        (b"a", b"a\nKEY\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\nKEY\r\n"),
        (b"a\r\nb", b"a\r\nb\r\nKEY\r\n"),
        (b"a\nb\r\n", b"a\nb\r\nKEY\n"),
        (b"# note", b"# note\nKEY\n"),
        (b"\n\n", b"\n\nKEY\n"),
        (MARK, MARK + b"\nKEY\n"),
        (b"a\r", b"a\r\nKEY\n"),
        (b"\xff\0", b"\xff\0\nKEY\n"),
    ],
)
def test_a_key_gets_a_line_of_its_own_that_ends_as_the_others_do(contents: bytes, expected: bytes):
    assert with_key(contents, KEY) == expected.replace(b"KEY", KEY.line.encode())


@pytest.mark.parametrize("name", LINES)
def test_a_key_that_was_added_is_found(name: str):
    key = parse_public_key(LINES[name])
    contents = with_key(b"restrict " + LINE, key)

    assert standing(contents, key) is Standing.PRESENT
    assert standing(contents, KEY) is Standing.RESTRICTED


def test_a_key_behind_a_byte_order_mark_is_named_since_it_lets_nobody_in():
    assert spoilt_key(MARK + LINE + b" me\r\n" + OTHER) == ed25519_key(1, "me")
    for fine in (b"", LINE, MARK + b"# note\n" + LINE, MARK + b"\n" + LINE, OTHER + MARK + LINE):
        assert spoilt_key(fine) is None


PIECES = st.sampled_from(
    [
        LINE,
        OTHER,
        b"restrict ",
        b'command="a \\" b" ',
        b"\n",
        b"\r\n",
        b"# ",
        MARK,
        b"cert-authority ",
    ]
)
FILES = st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12).map(b"".join)


@given(FILES)
def test_nothing_of_a_file_is_lost_and_a_key_that_is_added_is_there_once(contents: bytes):
    found = standing(contents, KEY)
    after = with_key(contents, KEY)

    assert after.startswith(contents)
    added = after.removeprefix(contents)
    assert added.strip(b"\r\n") == KEY.line.encode()
    assert added.endswith(b"\n")
    assert added.startswith((b"\n", b"\r\n")) == (contents[-1:] not in (b"", b"\n"))
    if found is Standing.ABSENT:
        assert standing(after, KEY) is Standing.PRESENT
    else:
        assert standing(after, KEY) is found
    spoilt_key(contents)


def test_ten_thousand_lines_are_read_at_once():
    lines = [b'command="say %d",no-pty ' % n + ed25519_line(n) for n in range(10, 10_010)]

    assert standing(b"\n".join(lines), KEY) is Standing.ABSENT
    assert standing(b"\n".join(lines), ed25519_key(10_009)) is Standing.RESTRICTED
