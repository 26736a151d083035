"""The watch tells of another network and of a sleep, once each, and of nothing else."""

import errno

import gevent
from gevent.event import Event

from tunnel.net.ifaces import InterfaceAddress
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import network_watch
from tunnel.net.udp.network_watch import (
    CHECK_S,
    SLEEP_S,
    NetworkWatch,
    clock_offset_s,
    our_addresses,
)


class Machine:
    """A machine whose addresses and clocks tests change."""

    def __init__(self):
        self.addresses = ["10.0.0.2", "fe80::1"]
        self.offset_s = 1000.0
        self.changes = 0
        self.looks = 0

    def changed(self):
        self.changes += 1

    def noticed(self):
        self.looks += 1

    def watch(self, notices=None):
        return NetworkWatch(
            self.changed,
            self.noticed,
            addresses=lambda: list(self.addresses),
            offset_s=lambda: self.offset_s,
            notices=notices or without_notices,
        )


class Kernel:
    """The notices of a kernel, given when a test says so."""

    def __init__(self):
        self.has_news = Event()
        self.failure = None
        self.closed = 0

    def wait(self, timeout_s):
        self.has_news.wait(timeout_s)
        return self.take()

    def take(self):
        if self.failure is not None:
            raise self.failure
        has_news = self.has_news.is_set()
        self.has_news.clear()
        return has_news

    def close(self):
        self.closed += 1


def without_notices():
    raise OSError(errno.EOPNOTSUPP, "this system sends no notices")


def await_true(condition, seconds):
    with gevent.Timeout(seconds):
        while not condition():
            gevent.sleep(0.01)


def test_nothing_is_told_while_all_stays_as_it_is():
    machine = Machine()
    watch = machine.watch()

    watch.look()
    machine.offset_s += SLEEP_S - 1  # a clock that is set right a little
    watch.look()

    assert machine.changes == 0


def test_another_address_is_told_once():
    machine = Machine()
    watch = machine.watch()

    machine.addresses = ["192.168.7.7", "fe80::1"]
    watch.look()
    watch.look()

    assert machine.changes == 1


def test_addresses_that_cannot_be_read_are_no_change():
    machine = Machine()
    watch = machine.watch()
    addresses, machine.addresses = machine.addresses, []

    watch.look()
    machine.addresses = addresses
    watch.look()

    assert machine.changes == 0


def test_only_addresses_that_others_can_use_count(monkeypatch):
    found = [
        InterfaceAddress("eth0", "10.0.0.2", 24, is_up=True),
        InterfaceAddress("eth1", "10.0.1.2", 24, is_up=False),
        InterfaceAddress("eth1", "169.254.3.4", 16, is_up=True),
        InterfaceAddress("veth7", "fe80::7", 64, is_up=True),
    ]
    monkeypatch.setattr(network_watch, "local_addresses", lambda: found)

    assert our_addresses() == ["10.0.0.2", "169.254.3.4"]


def test_a_sleep_is_told_once():
    machine = Machine()
    watch = machine.watch()

    machine.offset_s += SLEEP_S + 1
    watch.look()
    watch.look()

    assert machine.changes == 1


def test_where_nobody_tells_it_looks_by_itself():
    machine = Machine()
    with TaskGroup("watch") as tasks:
        machine.watch().start(tasks)
        machine.addresses = ["192.168.7.7"]
        await_true(lambda: machine.changes, 3 * CHECK_S)
        await_true(lambda: machine.looks, 3 * CHECK_S)


def test_what_changed_before_anybody_listened_is_noticed():
    machine, kernel = Machine(), Kernel()
    watch = machine.watch(lambda: kernel)
    machine.addresses = ["192.168.7.7"]
    with TaskGroup("watch") as tasks:
        watch.start(tasks)
        await_true(lambda: machine.changes, CHECK_S)


def test_a_notice_has_it_look_and_nothing_else_does():
    machine, kernel = Machine(), Kernel()
    with TaskGroup("watch") as tasks:
        machine.watch(lambda: kernel).start(tasks)
        gevent.sleep(2.5 * CHECK_S)  # what is awaited is that nothing happens
        assert machine.looks == 0

        machine.addresses = ["192.168.7.7"]
        kernel.has_news.set()
        await_true(lambda: machine.changes and machine.looks == 1, CHECK_S)
    assert kernel.closed == 1


def test_a_network_that_never_rests_is_looked_at_no_more_often_than_without_notices():
    machine, kernel = Machine(), Kernel()
    with TaskGroup("watch") as tasks:
        machine.watch(lambda: kernel).start(tasks)

        def change():
            while True:
                kernel.has_news.set()
                gevent.sleep(0.02)

        tasks.spawn("changes", change)
        gevent.sleep(2.5 * CHECK_S)

        assert 1 <= machine.looks <= 2


def test_a_sleep_is_noticed_without_a_notice_and_without_a_look():
    machine, kernel = Machine(), Kernel()
    with TaskGroup("watch") as tasks:
        machine.watch(lambda: kernel).start(tasks)
        gevent.sleep(0)
        machine.offset_s += SLEEP_S + 1
        await_true(lambda: machine.changes, 3 * CHECK_S)
    assert machine.looks == 0


def test_notices_that_fail_are_asked_for_again():
    machine, kernels = Machine(), []

    def open_notices():
        kernels.append(Kernel())
        return kernels[-1]

    with TaskGroup("watch") as tasks:
        machine.watch(open_notices).start(tasks)
        await_true(lambda: kernels, CHECK_S)
        kernels[0].failure = OSError(errno.ENOMEM, "no memory just now")
        kernels[0].has_news.set()
        await_true(lambda: len(kernels) == 2, 3 * CHECK_S)
        assert kernels[0].closed == 1

        gevent.sleep(0.05)
        machine.addresses = ["192.168.7.7"]
        kernels[1].has_news.set()
        await_true(lambda: machine.changes, 2 * CHECK_S)


def test_this_machine_has_addresses_and_clocks():
    assert "127.0.0.1" in our_addresses()
    assert abs(clock_offset_s() - clock_offset_s()) < SLEEP_S
