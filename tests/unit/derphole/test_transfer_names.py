"""Names of files: which are refused, what they become elsewhere, and how a person sees them."""

import pytest

from derphole.transfer.names import (
    MAX_DEPTH,
    MAX_PART,
    MAX_PATH,
    MAX_SHOWN,
    System,
    is_reserved,
    journal_name,
    local_part,
    numbered,
    order_key,
    part_fault,
    part_name,
    path_fault,
    shown,
    system_named,
    twin,
)

WINDOWS, MACOS, LINUX = System.WINDOWS, System.MACOS, System.LINUX


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (b"", "is empty"),
        (b".", "names a folder"),
        (b"..", "names a folder"),
        (b"a/b", "separator"),
        (b"/", "separator"),
        (b"a\0b", "NUL"),
        (b"x" * (MAX_PART + 1), "longer than 255 bytes"),
    ],
)
def test_a_name_that_no_file_may_have_is_refused(part, fault):
    assert fault in part_fault(part)


@pytest.mark.parametrize(
    "part",
    [
        b"x",
        b"...",
        b"-rf",
        b" ",
        b"a\nb",
        b"\xff\xfe",
        "ä".encode(),
        b"x" * MAX_PART,
        b"~",
        b"a\\b",
    ],
)
def test_whatever_a_file_system_can_have_is_taken(part):
    assert part_fault(part) is None
    assert local_part(part, LINUX) == part


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (b"", "part that is empty"),
        (b"/etc/passwd", "root of the file system"),
        (b"a//b", "part that is empty"),
        (b"a/", "part that is empty"),
        (b"./a", "part that names a folder"),
        (b"a/..", "part that names a folder"),
        (b"../a", "part that names a folder"),
        (b"a/../../b", "part that names a folder"),
        (b"a\0/b", "NUL"),
        (b"/".join([b"d"] * (MAX_DEPTH + 1)), "deeper than 256 folders"),
        (b"d/" * 200 + b"x" * MAX_PATH, "longer than 4096 bytes"),
        (b"a/" + b"x" * 256, "part that is longer than 255 bytes"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path, fault):
    assert fault in path_fault(path)


def test_a_path_is_taken_to_its_very_limits():
    assert path_fault(b"/".join([b"d"] * MAX_DEPTH)) is None
    assert path_fault(b"/".join([b"x" * 255] * 16)) is None


@pytest.mark.parametrize(
    ("part", "becomes"),
    [
        (b"plain.txt", b"plain.txt"),
        (b'a<b>c:d"e|f?g*h\\i', b"a_b_c_d_e_f_g_h_i"),
        (b"bell\x07tab\t", b"bell_tab_"),
        (b"dot.", b"dot_"),
        (b"three...", b"three___"),
        (b"blank ", b"blank_"),
        (b"con", b"_con"),
        (b"NUL.txt", b"_NUL.txt"),
        (b"com1.tar.gz", b"_com1.tar.gz"),
        (b"LPT9 .x", b"_LPT9 .x"),
        ("COM¹".encode(), "_COM¹".encode()),
        (b"console", b"console"),
        (b"COM10", b"COM10"),
        (b"\xff", "\ufffd".encode()),
        ("ä".encode(), "ä".encode()),
    ],
)
def test_windows_gets_names_that_it_can_have(part, becomes):
    assert local_part(part, WINDOWS) == becomes


@pytest.mark.parametrize(
    ("part", "becomes"),
    [(b"a:b?", b"a:b?"), (b"\xff.txt", b"%FF.txt"), ("ä".encode(), "ä".encode()), (b"con", b"con")],
)
def test_macos_gets_names_that_are_utf_8(part, becomes):
    assert local_part(part, MACOS) == becomes


def test_systems_are_known_by_what_python_calls_them():
    named = {name: system_named(name) for name in ("linux", "darwin", "win32", "freebsd14")}
    assert named == {"linux": LINUX, "darwin": MACOS, "win32": WINDOWS, "freebsd14": LINUX}


@pytest.mark.parametrize(
    ("name", "present", "other"),
    [
        (b"README", [b"readme"], b"readme"),
        (b"readme", [b"readme", b"README"], None),
        ("é".encode(), ["e\u0301".encode()], "e\u0301".encode()),
        (b"STRASSE", ["straße".encode()], "straße".encode()),
        ("İ".encode(), ["i\u0307".encode()], "i\u0307".encode()),
        (b"a", [b"b"], None),
        (b"\xff", [b"\xfe"], None),
    ],
)
def test_names_that_a_file_system_takes_for_the_same_are_told(name, present, other):
    assert twin(name, present) == other


def test_what_is_under_way_has_a_name_beside_its_own():
    assert part_name(b"film.mkv") == b".film.mkv.derphole-part"
    assert journal_name(b"film.mkv") == b".film.mkv.derphole"


def test_a_name_that_leaves_no_room_is_told_by_its_digest():
    long, other = b"x" * 255, b"x" * 254 + b"y"

    assert len(part_name(long)) <= MAX_PART
    assert part_name(long) != part_name(other)
    assert len(part_name(b"x" * 240)) == 255 or part_name(b"x" * 240) != part_name(b"x" * 241)


@pytest.mark.parametrize("name", [b"x", b".hidden", b"x" * 255, "ä".encode()])
def test_names_of_what_is_under_way_are_reserved(name):
    assert is_reserved(part_name(name))
    assert is_reserved(journal_name(name))


@pytest.mark.parametrize(
    "name", [b".derphole", b"x.derphole", b".derphole-part", b"a.derphole-part"]
)
def test_names_that_are_only_like_them_are_not(name):
    assert not is_reserved(name)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        (b"film.mkv", b"film (1).mkv"),
        (b"backup.tar.gz", b"backup (1).tar.gz"),
        (b".tar.gz", b".tar (1).gz"),
        (b"README", b"README (1)"),
        (b".bashrc", b".bashrc (1)"),
        (b"a." + b"e" * 40, b"a." + b"e" * 40 + b" (1)"),
    ],
)
def test_another_name_keeps_the_extension(name, first):
    assert next(numbered(name)) == first


def test_another_name_is_never_too_long():
    name = "ä".encode() * 127 + b"x"

    for candidate, _ in zip(numbered(name), range(1200), strict=False):
        assert len(candidate) <= MAX_PART
        candidate.decode()


def test_paths_sort_as_a_walk_finds_them():
    paths = [b"a", b"a/b", b"a/b/c", b"a/c", b"a!", b"a.b", b"b"]

    mixed = paths[3:] + paths[:3]
    assert sorted(mixed, key=order_key) == paths


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"plain name", "plain name"),
        ("grün/日本".encode(), "grün/日本"),
        (b"a\x1b[31mred", r"a\x1b[31mred"),
        (b"a\r\nb", r"a\r\nb"),
        ("x\u202egnp.exe".encode(), r"x\u202egnp.exe"),
        (b"\xff\xc3(", r"\xff\xc3("),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
def test_a_name_cannot_move_the_cursor_or_fake_a_line(path, text):
    assert shown(path) == text


def test_a_long_path_is_shown_by_its_two_ends():
    text = shown(b"begin" + b"x" * 1000 + b"end")

    assert len(text) == MAX_SHOWN + 1
    assert text.startswith("begin")
    assert text.endswith("end")
