"""What --exclude and .gitignore files leave out; git itself is asked in tests/net/test_source_tree.py."""

import pytest

from derphole.transfer.selection import (
    PatternUnreadable,
    Selection,
    git_listing,
    read_excludes,
)


def excluding(*patterns):
    return Selection(read_excludes(patterns))


def ignoring(text):
    selection = Selection(uses_ignore_files=True)
    bad = selection.entered(b"", text)
    return selection, bad


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "is_sent"),
    [
        ("*.o", b"a.o", False, False),
        ("*.o", b"deep/down/a.o", False, False),
        ("*.o", b"a.c", False, True),
        ("build/", b"build", True, False),
        ("build/", b"build", False, True),
        ("/build", b"build", True, False),
        ("/build", b"src/build", True, True),
        ("src/*.c", b"src/a.c", False, False),
        ("src/*.c", b"lib/src/a.c", False, True),
        ("**/x/*.c", b"a/b/x/y.c", False, False),
        ("node_modules", b"web/node_modules", True, False),
        ("*", b"anything", False, False),
        ("*.o", b"a.o\n", False, True),
        ("*\n*", b"a\nb", False, True),
        ("ä*", "ärger".encode(), False, False),
        ("*", b"\xff", False, False),
    ],
)
def test_a_pattern_leaves_out_what_git_would(pattern, path, is_folder, is_sent):
    assert excluding(pattern).takes(path, is_folder=is_folder) is is_sent


def test_a_later_pattern_takes_an_earlier_one_back():
    selection = excluding("*.log", "!keep.log")

    assert not selection.takes(b"a.log", is_folder=False)
    assert selection.takes(b"keep.log", is_folder=False)


@pytest.mark.parametrize(
    ("pattern", "name", "is_sent"),
    [
        ("*.o", b"a.o", False),
        ("proj", b"proj", False),
        ("/proj", b"proj", True),
        ("proj/x", b"proj", True),
    ],
)
def test_patterns_without_a_slash_hold_for_what_is_named(pattern, name, is_sent):
    assert excluding(pattern).takes_source(name, is_folder=False) is is_sent


@pytest.mark.parametrize(
    "pattern", ["[z-a]", "!", "a\\", "[[:alpha:]]x", "[[:digit:]b]", "foo\\  "]
)
def test_a_pattern_that_is_none_is_refused_by_its_text(pattern):
    with pytest.raises(PatternUnreadable) as caught:
        read_excludes(["*.o", pattern])

    assert caught.value.line == pattern


def test_no_pattern_leaves_nothing_out():
    assert read_excludes([]) is None
    assert Selection().takes(b".git", is_folder=True)


def test_a_line_that_is_none_is_skipped_and_told():
    selection, bad = ignoring(b"*.o\n[z-a]\n!\n[[:alpha:]]\n*.tmp\n")

    assert [fault.line for fault in bad] == ["[z-a]", "!", "[[:alpha:]]"]
    assert not selection.takes(b"a.o", is_folder=False)
    assert not selection.takes(b"a.tmp", is_folder=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"\xef\xbb\xbfx\n", b"x"),
        (b"x\r\ny\r\n", b"x"),
        (b"# x\n\\#x\n", b"#x"),
        (b"\\!x\n", b"!x"),
        (b"\n\n   \nx", b"x"),
        (b"x  \n", b"x"),
        ("a\u2028b".encode(), "a\u2028b".encode()),
        (b"a\x0bb", b"a\x0bb"),
        (b"a\x85b", b"a\x85b"),
        (b"\xff", b"\xff"),
    ],
)
def test_lines_are_read_as_git_reads_them(text, path):
    selection, bad = ignoring(text)

    assert bad == []
    assert not selection.takes(path, is_folder=False)


def test_the_deepest_file_decides_and_its_last_line_that_matches():
    selection, _ = ignoring(b"*.log\n/only-here\n")
    assert selection.entered(b"d", b"!*.log\nbad.log\n") == []

    assert selection.takes(b"d/x.log", is_folder=False)
    assert not selection.takes(b"d/bad.log", is_folder=False)
    assert selection.takes(b"d/only-here", is_folder=False)
    selection.left(b"")
    assert not selection.takes(b"x.log", is_folder=False)
    assert not selection.takes(b"only-here", is_folder=False)


def test_a_file_holds_in_its_folder_and_not_beside_it():
    selection, _ = ignoring(b"")
    selection.entered(b"d", b"x\n")
    selection.entered(b"d/e", b"y\n")
    assert not selection.takes(b"d/e/x", is_folder=False)
    assert not selection.takes(b"d/e/y", is_folder=False)

    selection.left(b"d")
    assert selection.takes(b"d/y", is_folder=False)
    selection.entered(b"de", b"")
    assert selection.takes(b"de/x", is_folder=False)


def test_files_above_the_source_hold_too():
    selection = Selection(uses_ignore_files=True)
    selection.above(b"src/lib/", b"/src/lib/out\n*.o\n")
    selection.above(b"lib/", b"!keep.o\n")
    selection.entered(b"", b"")

    assert not selection.takes(b"out", is_folder=True)
    assert selection.takes(b"deep/out", is_folder=True)
    assert not selection.takes(b"a.o", is_folder=False)
    assert selection.takes(b"keep.o", is_folder=False)


def test_the_folder_of_git_is_not_sent():
    selection, _ = ignoring(b"")

    assert not selection.takes(b".git", is_folder=True)
    assert not selection.takes(b"sub/.git", is_folder=False)
    assert selection.takes(b".github", is_folder=True)


def test_what_git_lists_is_sent_with_the_folders_it_is_in():
    selection = Selection(listing=git_listing([b"a/b/c", b"d", b"e/."]))

    assert selection.takes(b"a", is_folder=True)
    assert selection.takes(b"a/b", is_folder=True)
    assert selection.takes(b"a/b/c", is_folder=False)
    assert selection.takes(b"d", is_folder=False)
    assert selection.takes(b"e", is_folder=True)
    for path, is_folder in [(b"x", False), (b"x", True), (b"d", True), (b"a", False)]:
        assert not selection.takes(path, is_folder=is_folder)


def test_exclude_holds_for_what_git_lists_too():
    selection = Selection(read_excludes(["*.c"]), listing=git_listing([b"a.c", b"a.h"]))

    assert not selection.takes(b"a.c", is_folder=False)
    assert selection.takes(b"a.h", is_folder=False)
