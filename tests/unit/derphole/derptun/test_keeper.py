"""What is due at a server as time goes by, in a time that a test sets."""

import pytest

from derphole.derptun.announcements import Announcements
from derphole.derptun.keeper import Announced, Cause, Keeper
from derphole.derptun.revocations import (
    RevocationsUnreadable,
    parse_revocations,
    with_revocation,
)
from derphole.token.grant import Capability, Grant
from tunnel.units import WallTime

DAY, HOUR = 86400.0, 3600.0
START = 1_800_000_000.0
END = int(START + 100 * DAY)


def grant(name, expires_at=END):
    return Grant(name.encode().ljust(8, b"."), int(expires_at), Capability.TUNNEL, name)


def at(day, hour=0.0):
    return WallTime(START + day * DAY + hour * HOUR)


# -- announcements ---------------------------------------------------------------------------------


def test_an_end_is_announced_14_days_a_day_and_an_hour_before_it():
    announcements = Announcements(at(0), END)
    told, now = [], at(0)
    while now < END:
        now = announcements.next_at()
        left_s = announcements.due(now)
        if left_s is not None:
            told.append(left_s)
        assert announcements.due(now) is None

    assert told == [14 * DAY, DAY, HOUR]
    assert announcements.due(WallTime(END + 1.0)) is None


def test_one_who_comes_late_is_told_once_what_is_due():
    announcements = Announcements(at(99.5), END)

    assert announcements.due(at(99.5)) == 0.5 * DAY
    assert announcements.due(at(99.6)) is None
    assert announcements.due(at(99, 23.5)) == pytest.approx(0.5 * HOUR)
    assert announcements.next_at() == END


def test_a_clock_that_jumped_tells_the_last_one_only():
    announcements = Announcements(at(0), END)

    assert announcements.due(at(99.9)) == pytest.approx(0.1 * DAY)
    assert announcements.due(at(99.9)) is None


# -- the keeper ------------------------------------------------------------------------------------


def test_links_end_with_their_token_with_the_servers_and_when_they_are_revoked():
    short, long = grant("short", START + DAY), grant("long")
    here = {1: short, 2: long, 3: long}
    keeper = Keeper(at(0), END)

    assert keeper.ends(at(0.9), frozenset(), here) == {}
    assert keeper.ends(at(1), frozenset(), here) == {1: Cause.EXPIRED}
    revoked = frozenset((long.id,))
    assert keeper.ends(at(0), revoked, here) == {2: Cause.REVOKED, 3: Cause.REVOKED}
    assert keeper.ends(at(1), revoked, here)[1] is Cause.EXPIRED
    assert not keeper.is_over(at(99.9))
    assert keeper.is_over(at(100))
    assert set(keeper.ends(at(100), frozenset(), here)) == {1, 2, 3}


def test_a_renewed_server_goes_on_and_announces_its_new_end():
    client = grant("client", START + 300 * DAY)
    keeper = Keeper(at(90), END)
    assert keeper.announcements(at(90), {}) == [Announced(None, END, 10 * DAY)]

    later = int(START + 400 * DAY)
    keeper.renew(at(95), later)

    assert keeper.announcements(at(95), {}) == []
    assert keeper.ends(at(101), frozenset(), {1: client}) == {}
    assert not keeper.is_over(at(101))
    assert keeper.expires_at == later
    assert keeper.announcements(at(390), {}) == [Announced(None, later, 10 * DAY)]


def test_each_token_that_is_here_is_announced_once_however_many_links_it_has():
    early, last = grant("early", START + 20 * DAY), grant("last")
    keeper = Keeper(at(0), END)
    here = {1: early, 2: early, 3: last}

    assert keeper.announcements(at(5), here) == []
    assert keeper.announcements(at(6), here) == [Announced(early, early.expires_at, 14 * DAY)]
    assert keeper.announcements(at(7), here) == []
    assert keeper.announcements(at(19), here) == [Announced(early, early.expires_at, DAY)]
    # The server's end is told for all who end with it.
    assert keeper.announcements(at(86), here) == [Announced(None, END, 14 * DAY)]


# -- revocations -----------------------------------------------------------------------------------

ONE, TWO = bytes(range(8)), b"\xff" * 8


def test_revocations_are_read_as_they_are_written_and_as_people_change_them():
    text = with_revocation(with_revocation("", ONE, "laptop"), TWO, "")

    assert text == "0001020304050607  # laptop\nffffffffffffffff\n"
    assert parse_revocations(text) == {ONE, TWO}
    by_hand = "# lost phones\n\n  FFFFFFFFFFFFFFFF lost in May\r\n\t# more\n0001020304050607"
    assert parse_revocations(by_hand) == {ONE, TWO}
    assert with_revocation(by_hand, TWO, "x").splitlines()[-1] == "ffffffffffffffff  # x"
    assert parse_revocations("") == frozenset()


@pytest.mark.parametrize(
    "line", ["laptop", "00010203040506", "000102030405060708", "dtcli1_AAAA", "0001020304050607x"]
)
def test_a_line_that_is_no_id_is_told_and_never_passed_over(line):
    with pytest.raises(RevocationsUnreadable, match="line 2 does not begin with the id of a token"):
        parse_revocations(f"# comment\n{line}\n")
