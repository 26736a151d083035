"""What links of one process may have of an amount that they share."""

import pytest

from tunnel.proto.budget import Account, Budget

WHOLE = 3000


def fill(account):
    account.take(max(0, account.room))


def test_a_link_that_is_alone_gets_all_that_one_may_have():
    account = Account(Budget(WHOLE))

    assert account.room == WHOLE
    account.take(1000)
    assert account.room == WHOLE - 1000
    fill(account)
    assert account.room == 0


@pytest.mark.parametrize("count", [2, 3, 10, 64])
def test_links_that_want_all_they_can_get_end_with_parts_of_one_size(count):
    """Equal ones on average: those of many swing, since each looks only when it gives some back."""
    budget = Budget(WHOLE << 10)
    accounts = [Account(budget) for _ in range(count)]
    for account in accounts:
        fill(account)

    for _ in range(400):  # what is given back goes to whoever has less
        for account in accounts:
            account.take(-account.held // 8)
            fill(account)

    parts = [account.held for account in accounts]
    assert budget.used == sum(parts) <= budget.size
    assert max(parts) <= 3 * min(parts)


def test_something_is_left_for_the_next_however_many_have_come():
    budget = Budget(48 << 20)
    rooms = []
    for _ in range(8):
        account = Account(budget)
        rooms.append(account.room)
        fill(account)

    assert min(rooms) > 16 << 10
    assert rooms == sorted(rooms, reverse=True)
    assert budget.used < budget.size


def test_a_link_with_more_than_its_part_gets_nothing_until_it_has_given_some_back():
    budget = Budget(WHOLE)
    first, second = Account(budget), Account(budget)
    fill(first)
    fill(second)

    assert first.room < 0
    first.take(-first.held // 2)
    assert first.room > 0
    assert second.room > 0
