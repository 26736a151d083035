"""Where an offer goes: hostile names, what is in the way, and what an earlier run left."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from support.archives import archive_of, file, folder

from derphole.delivery.file_target import FileTarget
from derphole.delivery.forget import forget_all
from derphole.delivery.target import MAX_SHOWN_TEXT, StreamTarget, WordsTarget
from derphole.delivery.targets import Place, check_output, target_for
from derphole.delivery.tree_target import TreeTarget
from derphole.delivery.wishes import Wishes
from derphole.edges.destination import Destination
from derphole.edges.kept_state import KeptState
from derphole.edges.stdio import ByteSink
from derphole.errors import (
    DeclinedHere,
    KindRefused,
    OutputExists,
    OutputUnusable,
    PartialUnusable,
    SinkFailed,
    SpaceShort,
    TargetExists,
    TargetSkipped,
    TargetUnwritable,
)
from derphole.speech.transfer_decisions import Piece
from derphole.speech.transfer_messages import Checked, Kind, Offer
from derphole.status import Status
from derphole.transfer.journal import TokenKept
from derphole.transfer.names import part_name
from derphole.transfer.offer import NO_SOURCE, file_key
from derphole.transfer.pieces import piece_digest
from derphole.transfer.placing import Policy
from tunnel.units import WallTime
from tunnel.values import replace

pytestmark = pytest.mark.net

SOURCE = b"\x05" * 16
CONTENT = bytes(range(256)) * 4
OFFER = Offer(Kind.FILE, SOURCE, b"photo.jpg", 1, len(CONTENT), 0o754, 10**18 + 1)
TREE = Offer(Kind.FOLDER, SOURCE, b"tree")
SEVERAL = Offer(Kind.SEVERAL, SOURCE, b"")
TOKEN = TokenKept("dhp1_secret", WallTime(2e9))


class Scene:
    """A folder to receive into, and what a person wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = KeptState(os.fsencode(folder.parent / "state"))
        self.shown: list[str] = []
        self.place = Place(self.state, TOKEN, lambda: ByteSink(1), None)

    def target(self, offer: Offer, output: str | None = None, **wishes: object):
        where = str(self.folder) if output is None else output
        return target_for(offer, Wishes(where, **wishes), self.place)

    def take(self, offer: Offer = OFFER, content: bytes = CONTENT, **wishes: object) -> None:
        """Receive a whole file."""
        target = self.target(offer, **wishes)
        try:
            target.check(offer.size)
            target.begin(goes_on=False, claimed=lambda _: 0)
            target.write([content])
            target.finish()
        finally:
            target.close()

    def begin(self, content: bytes, offer: Offer = OFFER) -> None:
        """Receive the first bytes, and be killed."""
        target = self.target(offer)
        target.begin(goes_on=False, claimed=lambda _: 0)
        target.write([content])
        target.close()

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    folder = tmp_path / "there"
    folder.mkdir()
    return Scene(folder)


def test_a_file_gets_its_name_mode_and_time_and_leaves_nothing_else(scene: Scene):
    scene.take(umask=0o027)

    path = scene.folder / "photo.jpg"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o7777 == 0o750
    assert path.stat().st_mtime_ns == 10**18 + 1
    assert scene.names() == ["photo.jpg"]
    assert list(scene.state.remembered()) == []


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b".",
        b"..",
        b"/etc/passwd",
        b"../escaped",
        b"a/b",
        b"a\0b",
        b"x" * 256,
        b".photo.jpg.derphole",
        b".photo.jpg.derphole-part",
        b".PHOTO.Derphole-Part",
    ],
)
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.STREAM, Kind.FOLDER])
def test_a_hostile_name_is_refused_and_nothing_is_made(scene: Scene, name: bytes, kind: Kind):
    with pytest.raises(KindRefused):
        scene.target(replace(OFFER, name=name, kind=kind))

    assert scene.names() == []
    assert sorted(os.listdir(scene.folder.parent)) == ["there"]


@pytest.mark.parametrize("name", [b"-rf", b"a\nb", b"\x1b[31m", b"\xff\xfe", b" ", b"con", b"~"])
def test_a_strange_name_is_kept_byte_for_byte(scene: Scene, name: bytes):
    scene.take(replace(OFFER, name=name))

    assert os.listdir(os.fsencode(scene.folder)) == [name]


@pytest.mark.parametrize("there", ["file", "link", "link to nothing", "link to a folder"])
@pytest.mark.parametrize("policy", [Policy.REFUSE, Policy.SKIP])
def test_what_is_there_is_left_alone(scene: Scene, there: str, policy: Policy):
    precious = make(scene, there)

    with pytest.raises(TargetSkipped if policy is Policy.SKIP else TargetExists):
        scene.target(OFFER, policy=policy)

    assert make_facts(scene) == precious


@pytest.mark.parametrize("there", ["file", "link", "link to nothing", "link to a folder"])
def test_what_is_replaced_is_the_name_and_never_what_a_link_points_to(scene: Scene, there: str):
    make(scene, there)

    scene.take(policy=Policy.OVERWRITE)

    assert not (scene.folder / "photo.jpg").is_symlink()
    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT
    assert (scene.folder.parent / "precious").read_bytes() == b"precious"
    assert os.listdir(scene.folder.parent / "precious folder") == []


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_a_file_takes_the_place_of_no_folder_and_no_device(scene: Scene, kind: str, policy: Policy):
    path = scene.folder / "photo.jpg"
    path.mkdir() if kind == "folder" else os.mkfifo(path)

    with pytest.raises(KindRefused):
        scene.target(OFFER, policy=policy)


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
@pytest.mark.parametrize("policy", [Policy.OVERWRITE, Policy.SKIP])
def test_a_folder_takes_the_place_of_nothing_else(scene: Scene, kind: str, policy: Policy):
    make(scene, kind)

    with pytest.raises(KindRefused):
        scene.target(replace(TREE, name=b"photo.jpg"), policy=policy)


def make(scene: Scene, kind: str) -> dict[str, object]:
    """Put something where the file would go."""
    outside, outside_folder = (
        scene.folder.parent / "precious",
        scene.folder.parent / "precious folder",
    )
    outside.write_bytes(b"precious")
    outside_folder.mkdir()
    path = scene.folder / "photo.jpg"
    if kind == "file":
        path.write_bytes(b"precious")
    else:
        path.symlink_to({"link": outside, "link to a folder": outside_folder}.get(kind, "nowhere"))
    return make_facts(scene)


def make_facts(scene: Scene) -> dict[str, object]:
    return {
        str(path): path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
        for path in scene.folder.parent.rglob("*")
    }


def test_a_temporary_name_that_is_a_link_is_replaced_and_not_followed(scene: Scene):
    outside = scene.folder.parent / "precious"
    outside.write_bytes(b"precious")
    (scene.folder / os.fsdecode(part_name(b"photo.jpg"))).symlink_to(outside)

    scene.take()

    assert outside.read_bytes() == b"precious"
    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT


def test_a_journal_that_is_a_link_or_not_ours_is_left_alone(scene: Scene):
    outside = scene.folder.parent / "precious"
    outside.write_bytes(b"precious")
    journal = scene.folder / ".photo.jpg.derphole"
    journal.symlink_to(outside)
    with pytest.raises(PartialUnusable):
        scene.target(OFFER)
    journal.unlink()
    journal.write_bytes(b"notes of mine, by chance under that name")

    with pytest.raises(PartialUnusable, match="no journal"):
        scene.target(OFFER)

    assert outside.read_bytes() == b"precious"
    assert journal.read_bytes() == b"notes of mine, by chance under that name"


@pytest.mark.parametrize(("answer", "error"), [(None, TargetExists), (False, DeclinedHere)])
def test_a_person_is_asked_before_something_is_replaced(scene: Scene, answer, error):
    (scene.folder / "photo.jpg").write_bytes(b"precious")
    asked = []

    with pytest.raises(error):
        scene.target(OFFER, ask=lambda question: asked.append(question) or answer)
    scene.take(ask=lambda _: True)

    assert len(asked) == 1
    assert asked[0].endswith("there/photo.jpg exists; replace it?")
    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("missing/photo.jpg", "no such file or directory"),
        ("missing/", "there is no such folder"),
        ("file/photo.jpg", "not a directory"),
        ("fifo", "it is neither a file nor a folder"),
        ("locked/new", "read-only file system"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_told_before_anybody_is_asked(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, output: str, reason: str
):
    (scene.folder / "file").write_bytes(b"")
    (scene.folder / "locked").mkdir()
    os.mkfifo(scene.folder / "fifo")
    names = scene.names()
    real = Destination.check_writable

    def check(destination: Destination) -> None:
        if destination.shown.endswith("locked"):
            raise TargetUnwritable(destination.shown, "read-only file system")
        real(destination)

    monkeypatch.setattr(Destination, "check_writable", check)

    with pytest.raises(OutputUnusable, match=reason):
        check_output(f"{scene.folder}/{output}")
    for fine in (None, "-", scene.folder, scene.folder / "new", scene.folder / "file"):
        check_output(None if fine is None else str(fine))
    assert scene.names() == names


def test_a_name_that_appears_meanwhile_is_not_replaced(scene: Scene):
    target = scene.target(OFFER)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([CONTENT])
    (scene.folder / "photo.jpg").write_bytes(b"precious")

    with pytest.raises(OutputExists):
        target.finish()
    target.close()

    assert (scene.folder / "photo.jpg").read_bytes() == b"precious"
    assert (scene.folder / os.fsdecode(part_name(b"photo.jpg"))).read_bytes() == CONTENT


def test_another_name_is_found_and_kept_for_a_later_run(scene: Scene):
    (scene.folder / "photo.jpg").write_bytes(b"precious")

    scene.take(policy=Policy.RENAME)

    assert scene.names() == ["photo (1).jpg", "photo.jpg"]


def test_what_does_not_fit_and_what_cannot_be_written_is_declined(scene: Scene):
    target = scene.target(OFFER)
    with pytest.raises(SpaceShort):
        target.check(1 << 60)
    target.close()

    with pytest.raises(TargetUnwritable):
        scene.target(OFFER, str(scene.folder / "no" / "such" / ""))
    with pytest.raises(TargetUnwritable):
        scene.target(OFFER, str(scene.folder / "no" / "such"))


# -- going on -----------------------------------------------------------------------------------


def test_what_came_is_gone_on_with(scene: Scene):
    scene.begin(CONTENT[:300])
    assert list(scene.state.remembered()) == [os.fsencode(scene.folder / ".photo.jpg.derphole")]

    target = scene.target(OFFER)
    (part,) = target.parts()
    assert (part.key, part.held) == (file_key(OFFER), 300)
    target.begin(goes_on=True, claimed=lambda key: 300)
    piece = Piece(0, part.key, 0, 300)
    assert piece_digest(target.piece(piece)) == piece_digest(CONTENT[:300])
    target.repair(part.key, 10, b"mended")
    target.write([CONTENT[300:]])
    target.finish()
    target.close()

    expected = bytearray(CONTENT)
    expected[10:16] = b"mended"
    assert (scene.folder / "photo.jpg").read_bytes() == expected
    assert scene.names() == ["photo.jpg"]
    assert list(scene.state.remembered()) == []


@pytest.mark.parametrize("change", [{"size": len(CONTENT) + 1}, {"mtime_ns": 5}, {"mode": 0o600}])
def test_a_source_that_has_changed_begins_anew(scene: Scene, change):
    scene.begin(CONTENT[:300])

    target = scene.target(replace(OFFER, **change))

    assert target.parts() == []
    assert list(target.finished_keys()) == []
    target.close()


@pytest.mark.parametrize(
    "change", [{"source": b"\x06" * 16}, {"source": NO_SOURCE}, {"kind": Kind.STREAM}]
)
def test_what_came_from_elsewhere_is_neither_told_nor_thrown_away_unasked(scene: Scene, change):
    scene.begin(CONTENT[:300])

    with pytest.raises(PartialUnusable, match="300B of a transfer from somewhere else are in it"):
        scene.target(replace(OFFER, **change))

    part = scene.folder / os.fsdecode(part_name(b"photo.jpg"))
    assert part.read_bytes() == CONTENT[:300]
    target = scene.target(replace(OFFER, **change), policy=Policy.OVERWRITE)
    assert target.parts() == []
    target.close()


def test_two_that_begin_at_once_do_not_take_each_other_s_files(scene: Scene):
    first, second = scene.target(OFFER), scene.target(replace(OFFER, source=b"\x06" * 16))
    first.begin(goes_on=False, claimed=lambda _: 0)

    with pytest.raises(PartialUnusable, match="another process is receiving"):
        second.begin(goes_on=False, claimed=lambda _: 0)

    second.close()
    first.write([CONTENT])
    first.finish()
    first.close()
    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT
    assert scene.names() == ["photo.jpg"]


def test_a_question_that_is_broken_off_leaves_nothing_locked(scene: Scene):
    (scene.folder / "tree").mkdir()

    def leave(question: str) -> bool:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            scene.target(TREE, ask=leave)
    scene.target(TREE, policy=Policy.OVERWRITE).close()


def begin_tree(scene: Scene, **wishes: object) -> str:
    """Receive nothing of a tree but its first folder, and be killed; return where it went."""
    target = scene.target(TREE, **wishes)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([archive_of(folder(b"tree"), ends=False)])
    target.close()
    return target.shown


def test_a_tree_of_which_only_folders_came_is_gone_on_with(scene: Scene):
    begin_tree(scene)
    target = scene.target(TREE)
    assert target.parts() == []

    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([archive_of(folder(b"tree"), (file(b"tree/a", 3), b"abc"))])
    target.finish()
    target.close()

    assert target.received.refused.count == 0
    assert (scene.folder / "tree" / "a").read_bytes() == b"abc"
    assert scene.names() == ["tree"]


def test_a_tree_with_another_name_is_gone_on_with_under_that(scene: Scene):
    (scene.folder / "tree").mkdir()

    places = [begin_tree(scene, policy=Policy.RENAME) for _ in range(3)]

    assert places == [str(scene.folder / "tree (1)")] * 3


def test_a_tree_that_is_gone_on_with_is_not_declined_for_what_is_there_already(scene: Scene):
    begin_tree(scene)
    target = scene.target(TREE)

    target.check(1 << 60)

    target.close()


@pytest.mark.parametrize("is_finished", [False, True], ids=["begun", "finished"])
def test_what_came_of_large_files_is_known_however_soon_the_process_is_killed(
    scene: Scene, is_finished: bool
):
    entry, content = file(b"tree/a", 300 << 10), bytes(range(256)) * 1200
    members = [folder(b"tree"), (entry, content), (file(b"tree/b", 3), b"abc")]
    whole = archive_of(*members, ends=False)
    data = whole if is_finished else whole[: len(content)]

    def until_killed():
        yield data
        raise OSError(errno.EIO, "killed in the middle of a write")

    target = scene.target(TREE)
    target.begin(goes_on=False, claimed=lambda _: 0)
    with pytest.raises(SinkFailed):
        target.write(until_killed())
    target.close()
    target = scene.target(TREE)
    keys = [key for some in target.finished_keys() for key in some]
    parts = target.parts()
    target.close()

    if is_finished:
        assert entry.key in keys
    else:
        assert [part.key for part in parts] == [entry.key]
        assert len(content) - 2048 < parts[0].held <= len(content)


def finish_unknown_to_the_sender(scene: Scene) -> None:
    """Receive a file, and be killed behind its name, before the journal is gone."""
    journal, kept = scene.folder / ".photo.jpg.derphole", scene.folder.parent / "kept"
    target = scene.target(OFFER)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([CONTENT])
    os.link(journal, kept)
    target.finish()
    target.close()
    kept.rename(journal)


def test_finished_files_of_a_tree_are_compared_by_content_if_that_was_asked_for(scene: Scene):
    entry = file(b"tree/sub/a", 3)
    begun = archive_of(folder(b"tree"), folder(b"tree/sub"), (entry, b"abc"), ends=False)
    target = scene.target(TREE)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([begun, archive_of((file(b"tree/sub/b", 1), b"b"), ends=False)])
    target.close()

    target = scene.target(TREE, verifies=True)
    keys = [key for some in target.finished_keys() for key in some]
    files = [file for some in target.checked_files() for file in some]
    target.close()

    assert target.goes_on
    assert entry.key not in keys
    assert files == [Checked(entry.key, piece_digest(b"abc"))]
    plain = scene.target(TREE)
    assert entry.key in [key for some in plain.finished_keys() for key in some]
    assert list(plain.checked_files()) == []
    plain.close()


def test_a_finished_file_with_another_content_makes_way_for_what_comes(scene: Scene):
    finish_unknown_to_the_sender(scene)
    path = scene.folder / "photo.jpg"
    spoilt = bytes(len(CONTENT))
    path.write_bytes(spoilt)
    os.utime(path, ns=(OFFER.mtime_ns, OFFER.mtime_ns))

    target = scene.target(OFFER, verifies=True)
    assert list(target.finished_keys()) == []
    assert list(target.checked_files()) == [[Checked(file_key(OFFER), piece_digest(spoilt))]]
    target.begin(goes_on=True, claimed=lambda _: 0)
    target.write([CONTENT])
    target.finish()
    target.close()

    assert path.read_bytes() == CONTENT
    assert scene.names() == ["photo.jpg"]


def test_a_finished_file_makes_way_for_a_sender_that_begins_anew(scene: Scene):
    finish_unknown_to_the_sender(scene)

    target = scene.target(OFFER)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([CONTENT])
    target.finish()
    target.close()

    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT
    assert scene.names() == ["photo.jpg"]


def test_an_unfinished_file_never_gets_the_name_of_one_that_was_finished(scene: Scene):
    target = scene.target(TREE)
    target.begin(goes_on=False, claimed=lambda _: 0)
    entry = file(b"tree/a", 300 << 10)
    content = bytes(300 << 10)
    target.write([archive_of(folder(b"tree"), (entry, content), ends=False)])
    for name in (b"tree/b", b"tree/c"):  # an entry ends with the next one's header
        target.write([archive_of((file(name, 3), b"abc"), ends=False)])
    target.close()
    os.unlink(scene.folder / "tree" / "a")
    part = scene.folder / "tree" / os.fsdecode(part_name(b"a"))
    part.write_bytes(content[:1000])

    target = scene.target(TREE)
    keys = [key for some in target.finished_keys() for key in some]
    target.close()

    assert entry.key not in keys
    assert file(b"tree/b", 3).key in keys
    assert not (scene.folder / "tree" / "a").exists()


def test_what_small_files_left_below_a_folder_is_forgotten_too(scene: Scene):
    begin_tree(scene)
    part = scene.folder / "tree" / os.fsdecode(part_name(b"small"))
    part.write_bytes(b"half")  # its process was killed
    (scene.folder / "tree" / "mine").write_bytes(b"precious")
    told: list[Status] = []

    assert forget_all(scene.state, told.append) == 0

    assert told[0].sentence.startswith("forgot tree in ")
    assert told[0].sentence.endswith(": 4B were not complete")
    assert os.listdir(scene.folder / "tree") == ["mine"]
    assert scene.names() == ["tree"]


def test_a_folder_that_is_gone_is_told_and_not_remembered(scene: Scene):
    scene.begin(CONTENT[:300])
    shutil.rmtree(scene.folder)
    told: list[Status] = []

    assert forget_all(scene.state, told.append) == 0

    assert told[0].sentence.endswith("there is gone, and what was left in it too")
    assert list(scene.state.remembered()) == []


def test_what_a_running_receiver_holds_is_not_forgotten(scene: Scene):
    told: list[Status] = []
    target = scene.target(OFFER)
    target.begin(goes_on=False, claimed=lambda _: 0)
    target.write([CONTENT[:300]])

    assert forget_all(scene.state, told.append) == 1
    assert "was left alone: " in str(told[0].sentence)
    target.close()
    assert forget_all(scene.state, told.append) == 0
    assert told[1].sentence.startswith("forgot photo.jpg in ")
    assert scene.names() == []
    assert forget_all(scene.state, told.append) == 0
    assert told[2].sentence == "no broken transfer has left anything behind"


def test_a_file_that_is_finished_and_whose_sender_does_not_know_is_not_written_again(scene: Scene):
    finish_unknown_to_the_sender(scene)
    path = scene.folder / "photo.jpg"
    inode = path.stat().st_ino

    again = scene.target(OFFER)
    assert list(again.finished_keys()) == [[file_key(OFFER)]]
    assert again.stored == len(CONTENT)
    again.begin(goes_on=True, claimed=lambda _: 0)
    again.finish()
    again.close()

    assert path.stat().st_ino == inode
    assert scene.names() == ["photo.jpg"]


def test_the_same_name_is_received_by_one_process_at_a_time(scene: Scene):
    first = scene.target(OFFER)
    first.begin(goes_on=False, claimed=lambda _: 0)

    with pytest.raises(PartialUnusable, match="another process is receiving the same name here"):
        scene.target(OFFER)

    first.write([CONTENT])
    first.finish()
    first.close()
    assert (scene.folder / "photo.jpg").read_bytes() == CONTENT


def test_what_nothing_can_go_on_with_is_removed(scene: Scene):
    scene.begin(CONTENT[:300], replace(OFFER, kind=Kind.STREAM, source=NO_SOURCE))

    assert scene.names() == []
    assert list(scene.state.remembered()) == []


# -- which kind goes where ----------------------------------------------------------------------


def test_a_folder_that_is_there_is_entered_only_where_that_was_asked_for(scene: Scene):
    (scene.folder / "tree").mkdir()

    with pytest.raises(TargetExists):
        scene.target(TREE)
    for policy in (Policy.OVERWRITE, Policy.SKIP, Policy.RENAME):
        target = scene.target(TREE, policy=policy)
        assert isinstance(target, TreeTarget)
        assert target.shown.endswith("tree (1)" if policy is Policy.RENAME else "tree")
        target.close()


def test_a_path_that_is_not_there_is_the_name(scene: Scene):
    for offer, kind in ((OFFER, FileTarget), (TREE, TreeTarget)):
        target = scene.target(offer, str(scene.folder / "other"))
        assert isinstance(target, kind)
        assert target.shown == str(scene.folder / "other")
        target.close()


def test_several_things_make_their_folder_and_go_into_no_file(scene: Scene):
    scene.target(SEVERAL, str(scene.folder / "new")).close()
    assert scene.names() == ["new"]
    (scene.folder / "file").write_bytes(b"precious")

    with pytest.raises(KindRefused):
        scene.target(SEVERAL, str(scene.folder / "file"))


def test_standard_output_takes_streams_and_no_trees(scene: Scene):
    assert isinstance(scene.target(OFFER, "-"), StreamTarget)
    for offer in (TREE, SEVERAL):
        with pytest.raises(KindRefused):
            scene.target(offer, "-")


def test_text_on_a_terminal_is_shown_and_elsewhere_raw(scene: Scene):
    text = Offer(Kind.TEXT, NO_SOURCE, b"text", 1, 5)
    shown: list[str] = []
    terminal = replace(scene.place, show=shown.append)

    target = target_for(text, Wishes(None), terminal)
    target.write([b"see \xff", b"you"])
    target.finish()

    assert isinstance(target, WordsTarget)
    assert shown == ["see \\xffyou"]
    assert isinstance(target_for(text, Wishes(None), scene.place), StreamTarget)
    with pytest.raises(SinkFailed, match="use -o FILE"):
        target.write([bytes(MAX_SHOWN_TEXT + 1)])


def test_no_secret_can_be_kept_without_a_folder_and_the_same_one_is_kept_with_it(tmp_path: Path):
    assert KeptState(None).source_secret() is None
    state = KeptState(os.fsencode(tmp_path / "state" / "derphole"))

    secret = state.source_secret()

    assert secret is not None
    assert KeptState(os.fsencode(tmp_path / "state" / "derphole")).source_secret() == secret
    path = tmp_path / "state" / "derphole" / "source-secret"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"cut")
    assert state.source_secret() not in (None, b"cut", secret)
    (tmp_path / "file").write_bytes(b"")
    assert KeptState(os.fsencode(tmp_path / "file" / "derphole")).source_secret() is None
