"""Archives from somebody who holds the token and means harm: nothing outside, nothing overwritten."""

import os
import random

import pytest
from net.tree_scene import PRECIOUS, Scene, phrases, snapshot
from support.archives import TOP, archive_of, file, folder, link, member, patched

from derphole.transfer.names import part_name
from derphole.transfer.placing import Policy
from derphole.transfer.tar_header import END, encode_header, encode_records
from tunnel.errors import PeerError

X = member(b"top/x", content=b"evil")
UP = b"../" * 8


def into(path):
    """Return archives that try a path as a name in every form there is."""
    split = path.rpartition(b"/")
    return [
        member(path, content=b"evil"),
        member(b"x", content=b"evil", path=path),
        member(path + b"/", b"5"),
        member(path, b"2", target=b"x"),
        TOP + member(b"top/" + path, content=b"evil"),
        member(split[0] + b"/", b"5") + member(path, content=b"evil"),
    ]


ESCAPES = {
    "absolute": into(b"/tmp/derphole-was-here"),
    "above": into(b"../secret"),
    "far above": into(UP + b"tmp/derphole-was-here"),
    "in the middle": into(b"a/../../secret"),
    "at the end": into(b"top/.."),
    "dot": into(b"./x"),
    "two separators": into(b"top//x"),
    "a NUL": into(b"top/x\0"),
}
LINKS = {
    "absolute": b"/etc",
    "above": b"..",
    "above and back": b"../into/top",
    "beside": b"../../outside",
    "far above": UP,
    "behind a name": b"d/../../../outside",
    "behind a link": b"l/../..",
    "empty": b"",
    "with a NUL": b"x\0y",
    "dots and separators": b".//.//..//outside",
}
ODD = {
    "hard link to a secret": member(b"top/h", b"1", target=b"../../secret"),
    "hard link to an absolute path": member(b"top/h", b"1", target=b"/etc/passwd"),
    "hard link to what came": X + member(b"top/y", b"1", target=b"top/x"),
    "character device": member(b"top/d", b"3"),
    "block device": member(b"top/d", b"4"),
    "named pipe": member(b"top/p", b"6"),
    "named pipe with data": member(b"top/p", b"6", content=b"evil"),
}
RESERVED = [part_name(b"x"), b".x.derphole", b".x.DERPHOLE-PART", part_name(b"x" * 255)]
BROKEN = {
    "a duplicate": TOP + X + X,
    "a duplicate folder": TOP + X + TOP,
    "a folder after a file": TOP + X + member(b"top/x/", b"5"),
    "a file after a folder": TOP + member(b"top/x/", b"5") + X,
    "a file after a link": TOP + member(b"top/x", b"2", target=b"y") + X,
    "a folder after a link": TOP + member(b"top/x", b"2", target=b"y") + member(b"top/x/", b"5"),
    "through a link": TOP + member(b"top/l", b"2", target=b"d") + member(b"top/l/x"),
    "through a link that leads out": TOP
    + member(b"top/l", b"2", target=b"..")
    + member(b"top/l/x"),
    "through a file": TOP + X + member(b"top/x/y"),
    "without a folder": member(b"top/x"),
    "in a folder that was left": TOP + member(b"u/", b"5") + X,
    "the other order": TOP + member(b"top/y") + X,
    "a size that is huge": TOP + encode_records({b"size": b"9" * 40}) + X,
    "a size below nothing": TOP + encode_records({b"size": b"-4"}) + X,
    "an offset that is huge": TOP + member(b"top/x", content=b"e", DERPHOLE__offset=b"9" * 19),
    "records that are huge": encode_header(b"p", b"x", 0, 1 << 33, 0),
    "records without an end": TOP + encode_header(b"p", b"x", 0, 20, 0) + b"9999 path=x".ljust(512),
    "a type nobody knows": TOP + member(b"top/x", b"Z"),
    "a volume": TOP + member(b"top/x", b"V"),
    "a long name of GNU": member(b"././@LongLink", b"L", content=b"../../secret\0"),
    "a global header": encode_header(b"p", b"g", 0, 17, 0) + b"17 path=../secret".ljust(512, b"\0"),
    "noise": random.Random(1).randbytes(4096),
    "another mark": patched(X[:512], 257, b"ustar  \0"),
    "a wrong checksum": X[:148] + b"0" * 6 + b"\0 " + X[156:],
    "behind the end": TOP + END + X,
    "too deep": archive_of(*(folder(b"/".join([b"d"] * n)) for n in range(1, 300))),
    "a name that is too long": TOP + member(b"x", path=b"top/" + b"n" * 256),
    "a path that is too long": TOP + member(b"x", path=b"top/" + b"n/" * 3000 + b"n"),
}


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    scene.put(b"mine")
    scene.put(b"other/mine")
    before = snapshot(scene.around)
    yield scene
    after = snapshot(scene.around)
    assert {key: after.get(key) for key in before} == before
    new = {
        key.split(b"/")[0] + b"/" + key.split(b"/")[1]
        for key in set(after) - set(before)
        if b"/" in key
    }
    assert all(key.startswith(b"into/") for key in new)
    assert not os.path.exists("/tmp/derphole-was-here")


def attempt(scene, data, **options):
    """Extract something hostile in small pieces; return what became of it, or the refusal."""
    try:
        return scene.extract(data + END, 700, **options)
    except PeerError as error:
        assert str(error).isprintable()
        return error


@pytest.mark.parametrize("policy", [Policy.REFUSE, Policy.OVERWRITE])
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("which", ESCAPES)
def test_no_name_leads_out(scene, which, number, policy):
    data = ESCAPES[which][number]
    # As the name in a header a NUL is the name's end, and that is a name like any other.
    is_harmless = which == "a NUL" and number != 1

    outcome = attempt(scene, data, policy=policy)

    assert is_harmless or isinstance(outcome, PeerError)


@pytest.mark.parametrize("which", LINKS)
def test_no_link_leads_out(scene, which):
    target = LINKS[which]

    received = attempt(
        scene,
        TOP + member(b"top/d/", b"5") + member(b"top/l", b"2", target=b"d")
        + member(b"top/z", b"2", target=target, linkpath=target) + member(b"top/zz"),
    )  # fmt: skip

    assert scene.names(b"top") == [b"d", b"l", b"zz"]
    assert list(phrases(received.refused)) == [b"top/z"]


@pytest.mark.parametrize("which", LINKS)
def test_nothing_is_put_through_a_link(scene, which):
    target = LINKS[which]
    data = TOP + member(b"top/z", b"2", target=target, linkpath=target)

    outcome = attempt(scene, data + member(b"top/z/x", content=b"evil"))

    assert isinstance(outcome, PeerError)


@pytest.mark.parametrize("which", ODD)
def test_links_to_files_and_devices_are_told_and_not_made(scene, which):
    received = attempt(scene, TOP + ODD[which] + member(b"top/z"))

    assert received.refused.count == 1
    assert scene.names(b"top")[-1] == b"z"
    assert not {b"h", b"d", b"p"} & set(scene.names(b"top"))


@pytest.mark.parametrize("kind", [b"0", b"2", b"5"])
@pytest.mark.parametrize("name", RESERVED)
def test_names_of_what_is_under_way_are_refused(scene, name, kind):
    path = b"top/" + name + (b"/" if kind == b"5" else b"")

    received = attempt(scene, TOP + member(b"x", kind, target=b"y", path=path) + member(b"top/zz"))

    assert scene.names(b"top") == [b"zz"]
    assert "unfinished" in phrases(received.refused)[b"top/" + name]


@pytest.mark.parametrize("which", BROKEN)
def test_what_is_broken_ends_with_a_refusal(scene, which):
    outcome = attempt(scene, BROKEN[which])

    assert isinstance(outcome, PeerError)


@pytest.mark.parametrize("name", [b"mine", b"other/mine"])
def test_what_is_there_is_not_overwritten(scene, name):
    top = b"".join(member(part + b"/", b"5") for part in name.split(b"/")[:-1])

    received = attempt(scene, top + member(name, content=b"evil"))

    assert scene.get(name) == PRECIOUS
    assert received.refused.count == 1


@pytest.mark.parametrize(
    "target", [b"../secret", b"../outside/new", b"mine", b"x", b"/tmp/derphole-was-here"]
)
@pytest.mark.parametrize("name", [b"x", part_name(b"x")])
@pytest.mark.parametrize("policy", Policy)
def test_a_link_that_waits_under_a_name_is_not_followed(scene, target, name, policy):
    os.symlink(target, scene.path(name))

    attempt(scene, member(b"x", content=b"evil"), policy=policy)

    assert not os.path.exists(scene.path(b"../outside/new"))
    os.path.islink(scene.path(name)) and os.unlink(scene.path(name))
    assert scene.get(b"mine") == PRECIOUS


@pytest.mark.parametrize("policy", Policy)
def test_case_twins_are_told_apart_here(scene, policy):
    data = TOP + member(b"top/README", content=b"1") + member(b"top/readme", content=b"2")

    attempt(scene, data, policy=policy)

    assert [scene.get(b"top/README"), scene.get(b"top/readme")] == [b"1", b"2"]


@pytest.mark.parametrize(
    "name",
    ["a\x1b[2Jb", "a\rb", "a\nb", "\u202egnp", "a\u2028b", "\x9b1m", "a\u200bb"],
)
def test_control_characters_are_kept_and_never_shown(scene, name):
    path = name.encode()

    received = attempt(scene, TOP + member(b"top/" + path) + member(b"top/\xff", b"6"))
    outcome = attempt(scene, member(b"u/", b"5") + member(b"u/" + path + b"/", b"0"))

    assert path in scene.names(b"top")
    assert received.made.files == 1
    assert isinstance(outcome, PeerError)


def test_a_count_that_is_huge_costs_no_memory(scene):
    """Ten thousand entries, whose names are all refused."""
    entries = [member(b"x", b"6", path=b"top/%05d" % number) for number in range(10_000)]

    received = attempt(scene, TOP + b"".join(entries))

    assert received.refused.count == 10_000
    assert len(received.refused.first) == 1000


def test_a_size_that_lies_takes_no_room(scene):
    huge = encode_records({b"size": b"%d" % (1 << 60)}) + member(b"top/x", content=b"evil", size=0)
    outcome = attempt(scene, TOP + huge)

    assert isinstance(outcome, PeerError)
    status = os.stat(scene.path(b"top/" + part_name(b"x")))
    assert status.st_blocks * 512 < 1 << 16


def test_a_hole_that_is_larger_than_the_disk_takes_no_room(scene):
    data = member(
        b"top/x",
        content=b"0\n".ljust(512, b"\0"),
        GNU__sparse__major=b"1",
        GNU__sparse__minor=b"0",
        GNU__sparse__realsize=b"%d" % ((1 << 63) - 1),
        GNU__sparse__name=b"top/x",
    )

    received = attempt(scene, TOP + data + member(b"top/y"))

    assert b"y" in scene.names(b"top")
    if received.refused.count:
        assert scene.names(b"top") == [b"y"]


@pytest.mark.parametrize("mtime_ns", [-(1 << 62), (1 << 62), (1 << 63) - 1])
def test_times_of_nobodys_are_borne(scene, mtime_ns):
    received = attempt(
        scene,
        archive_of(
            folder(b"top", 0o755, mtime_ns), file(b"top/x", 0, 0o644, mtime_ns),
            link(b"top/y", b"x", mtime_ns), ends=False,
        ),
    )  # fmt: skip

    assert received.made.files == 1
    assert scene.names(b"top") == [b"x", b"y"]


def test_a_mutated_archive_never_leads_out(scene, is_full):
    rng = random.Random(11)
    good = TOP + X + member(b"top/l", b"2", target=b"x") + member(b"top/z/", b"5")
    good += member(b"top/z/y", content=b"y" * 600) + member(b"top/zz", DERPHOLE__offset=b"0")
    words = [b"../", b"/", b"\0", b"..", b"top/x", b"2", b"5", b"1", b"00000", b"secret"]
    for _ in range(20_000 if is_full else 400):
        blocks = [bytearray(good[at : at + 512]) for at in range(0, len(good), 512)]
        for _ in range(rng.randint(1, 4)):
            block, word = rng.choice(blocks), rng.choice(words)
            at = rng.choice([0, 100, 124, 156, 157, 345, rng.randrange(500)])
            block[at : at + len(word)] = word
        data = b"".join(
            patched(bytes(b[:512]), 0, b"") if b[257:262] == b"ustar" else bytes(b[:512])
            for b in blocks
        )
        attempt(scene, data, policy=Policy.OVERWRITE if rng.random() < 0.5 else Policy.REFUSE)
        assert scene.get(b"mine") == PRECIOUS or data.count(b"mine")
        assert scene.get(b"../secret") == PRECIOUS
