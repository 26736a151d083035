"""Links that may be made, and what happens where something is already."""

import pytest

from derphole.transfer.entries import EntryType, link_fault
from derphole.transfer.placing import Placement, Policy, Present, placement

FILE, FOLDER, LINK = EntryType.FILE, EntryType.FOLDER, EntryType.LINK
NEW, REPLACE, ENTER = Placement.NEW, Placement.REPLACE, Placement.ENTER
OTHER_NAME, SKIP, REFUSE = Placement.OTHER_NAME, Placement.SKIP, Placement.REFUSE


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"top/l", b"a"),
        (b"top/l", b"a/b/c"),
        (b"top/l", b"./a//b/."),
        (b"top/d/l", b"../a"),
        (b"top/d/e/l", b"../../a/b"),
        (b"top/d/l", b".."),
        (b"top/l", b"."),
        (b"top/l", b"...")  ,
        (b"top/l", b"\xff\n"),
    ],
)  # fmt: skip
def test_a_link_that_stays_inside_is_made(path, target):
    assert link_fault(path, target) is None


@pytest.mark.parametrize(
    ("path", "target", "fault"),
    [
        (b"top/l", b"", "nowhere"),
        (b"top/l", b"/etc/passwd", "from the root"),
        (b"top/l", b"//", "from the root"),
        (b"top/l", b"..", "out of what is sent"),
        (b"top/l", b"../other", "out of what is sent"),
        (b"top/l", b"./../other", "out of what is sent"),
        (b"top/d/l", b"../../x", "out of what is sent"),
        (b"top/l", b"a/../b", ".. behind a name"),
        (b"top/l", b"a/../../x", ".. behind a name"),
        (b"top/d/l", b"../a/..", ".. behind a name"),
        (b"top/l", b"a\0b", "NUL"),
        (b"l", b"a", "not in a folder"),
    ],
)
def test_a_link_that_might_lead_out_is_not(path, target, fault):
    assert fault in link_fault(path, target)


# For a file, a folder or a link that is there: what each policy does.
TABLE = {
    (FILE, Present.FILE): (REFUSE, REPLACE, OTHER_NAME, SKIP),
    (FILE, Present.LINK): (REFUSE, REPLACE, OTHER_NAME, SKIP),
    (FILE, Present.FOLDER): (REFUSE, REFUSE, OTHER_NAME, SKIP),
    (FILE, Present.OTHER): (REFUSE, REFUSE, OTHER_NAME, SKIP),
    (LINK, Present.FILE): (REFUSE, REPLACE, OTHER_NAME, SKIP),
    (LINK, Present.LINK): (REFUSE, REPLACE, OTHER_NAME, SKIP),
    (LINK, Present.FOLDER): (REFUSE, REFUSE, OTHER_NAME, SKIP),
    (FOLDER, Present.FOLDER): (REFUSE, ENTER, OTHER_NAME, ENTER),
    (FOLDER, Present.FILE): (REFUSE, REFUSE, OTHER_NAME, SKIP),
    (FOLDER, Present.LINK): (REFUSE, REFUSE, OTHER_NAME, SKIP),
    (FOLDER, Present.OTHER): (REFUSE, REFUSE, OTHER_NAME, SKIP),
}


@pytest.mark.parametrize(("type_", "present"), TABLE)
def test_what_is_there_is_dealt_with_as_the_person_said(type_, present):
    policies = (Policy.REFUSE, Policy.OVERWRITE, Policy.RENAME, Policy.SKIP)

    placed = tuple(placement(type_, present, policy, is_ours=False) for policy in policies)

    assert placed == TABLE[type_, present]


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("type_", EntryType)
def test_where_nothing_is_everything_is_new(type_, policy):
    assert placement(type_, Present.NOTHING, policy, is_ours=False) is NEW


@pytest.mark.parametrize("policy", Policy)
def test_what_an_earlier_run_made_is_gone_on_with(policy):
    assert placement(FOLDER, Present.FOLDER, policy, is_ours=True) is ENTER
    assert placement(FILE, Present.FILE, policy, is_ours=True) is REPLACE
    assert placement(LINK, Present.LINK, policy, is_ours=True) is REPLACE


@pytest.mark.parametrize("policy", Policy)
def test_a_folder_is_never_replaced(policy):
    for type_ in (FILE, LINK):
        assert placement(type_, Present.FOLDER, policy, is_ours=True) is not REPLACE
