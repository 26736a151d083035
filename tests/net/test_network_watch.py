"""The watch tells of another network and of a sleep, once each, and of nothing else."""

import errno
import threading
import time

import gevent
import pytest
from gevent.event import Event

from tunnel.net import ifaces
from tunnel.net.ifaces import InterfaceAddress
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp import network_watch, uplinks
from tunnel.net.udp.network_watch import CHECK_S, SLEEP_S, NetworkWatch, clock_offset_s
from tunnel.net.udp.uplinks import Network, look_around


class Machine:
    """A machine whose addresses and clocks tests change."""

    def __init__(self):
        self.addresses = ["10.0.0.2", "fd00::2"]
        self.source = "10.0.0.2"
        self.offset_s = 1000.0
        self.changes = 0
        self.looks = 0
        self.network = None
        self.look_takes_s = 0.0
        self.threads = set()

    def changed(self):
        self.changes += 1

    def noticed(self, network):
        self.looks += 1
        self.network = network

    def network_now(self):
        self.threads.add(threading.get_ident())
        time.sleep(self.look_takes_s)
        return Network(tuple(InterfaceAddress("eth0", ip, 24) for ip in self.addresses))

    def watch(self, notices=None):
        return NetworkWatch(
            self.changed,
            self.noticed,
            look=self.network_now,
            sources=lambda: (self.source,),
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
    watch.look()

    machine.addresses = ["192.168.7.7", "fd00::2"]
    watch.look()
    watch.look()

    assert machine.changes == 1


def test_addresses_that_cannot_be_read_are_no_change():
    machine = Machine()
    watch = machine.watch()
    watch.look()
    addresses, machine.addresses = machine.addresses, []

    watch.look()
    machine.addresses = addresses
    watch.look()

    assert machine.changes == 0


def test_the_order_of_addresses_is_no_change():
    machine = Machine()
    watch = machine.watch()
    watch.look()
    machine.addresses.reverse()

    watch.look()

    assert machine.changes == 0


def test_a_sleep_is_told_once():
    machine = Machine()
    watch = machine.watch()

    machine.offset_s += SLEEP_S + 1
    watch.look()
    watch.look()

    assert machine.changes == 1


def test_the_first_look_is_told_and_is_no_change_and_none_is_on_the_hub():
    machine = Machine()
    with TaskGroup("watch") as tasks:
        machine.watch(Kernel).start(tasks)
        await_true(lambda: machine.looks, CHECK_S)

    assert [each.ip for each in machine.network.addresses] == machine.addresses
    assert machine.changes == 0
    assert threading.get_ident() not in machine.threads


def test_where_nobody_tells_another_default_source_has_it_look_and_nothing_else():
    machine = Machine()
    with TaskGroup("watch") as tasks:
        machine.watch().start(tasks)
        await_true(lambda: machine.looks, CHECK_S)
        gevent.sleep(2.5 * CHECK_S)  # what is awaited is that nothing happens
        assert machine.looks == 1

        machine.addresses, machine.source = ["192.168.7.7"], "192.168.7.7"
        await_true(lambda: machine.changes, 3 * CHECK_S)
        assert machine.looks == 2


def test_where_nobody_tells_it_looks_now_and_then_all_the_same(monkeypatch):
    monkeypatch.setattr(network_watch, "CHECK_S", 0.02)
    monkeypatch.setattr(network_watch, "SURE_S", 0.2)
    machine = Machine()
    with TaskGroup("watch") as tasks:
        machine.watch().start(tasks)
        machine.addresses = ["192.168.7.7"]
        await_true(lambda: machine.looks >= 2, 3 * CHECK_S)


@pytest.mark.parametrize("has_notices", [True, False])
def test_looks_that_take_long_are_seldom(monkeypatch, has_notices):
    monkeypatch.setattr(network_watch, "CHECK_S", 0.02)
    monkeypatch.setattr(network_watch, "SURE_S", 0.02)
    machine, kernel = Machine(), Kernel()
    machine.look_takes_s = 0.05
    with TaskGroup("watch") as tasks:
        machine.watch((lambda: kernel) if has_notices else None).start(tasks)
        await_true(lambda: machine.looks, CHECK_S)
        for _ in range(20):
            kernel.has_news.set()
            gevent.sleep(0.1)

        assert machine.looks == 1


def test_where_netlink_is_refused_the_slow_way_runs_once_a_look_off_the_hub(monkeypatch):
    calls = []

    class Netifaces:
        AF_INET, AF_INET6 = 2, 10

        @staticmethod
        def interfaces():
            calls.append(threading.get_ident())
            return ["lo", "lo2"]

        @staticmethod
        def ifaddresses(interface):
            return {2: [{"addr": {"lo": "127.0.0.1", "lo2": "127.0.0.2"}[interface]}]}

    def refuse():
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(ifaces, "_netifaces", lambda: Netifaces)
    monkeypatch.setattr(ifaces, "_flags", lambda *_: 0x41)
    monkeypatch.setattr(ifaces, "RouteKernel", refuse)
    monkeypatch.setattr(uplinks, "RouteKernel", refuse)
    found = []
    with TaskGroup("watch") as tasks:
        NetworkWatch(lambda: None, found.append, notices=without_notices).start(tasks)
        await_true(lambda: found, CHECK_S)
        gevent.sleep(1.5 * CHECK_S)  # what is awaited is that nothing happens

    assert [each.ip for each in found[0].addresses] == ["127.0.0.1", "127.0.0.2"]
    assert len(calls) == len(found) == 1
    assert threading.get_ident() not in calls


def test_a_notice_has_it_look_and_nothing_else_does():
    machine, kernel = Machine(), Kernel()
    with TaskGroup("watch") as tasks:
        machine.watch(lambda: kernel).start(tasks)
        gevent.sleep(2.5 * CHECK_S)  # what is awaited is that nothing happens
        assert machine.looks == 1

        machine.addresses = ["192.168.7.7"]
        kernel.has_news.set()
        await_true(lambda: machine.changes and machine.looks == 2, CHECK_S)
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

        assert 2 <= machine.looks <= 3


def test_a_sleep_is_noticed_without_a_notice_and_without_a_look():
    machine, kernel = Machine(), Kernel()
    with TaskGroup("watch") as tasks:
        machine.watch(lambda: kernel).start(tasks)
        await_true(lambda: machine.looks, CHECK_S)
        machine.offset_s += SLEEP_S + 1
        await_true(lambda: machine.changes, 3 * CHECK_S)
    assert machine.looks == 1


def test_notices_that_fail_are_asked_for_again():
    machine, kernels = Machine(), []

    def open_notices():
        kernels.append(Kernel())
        return kernels[-1]

    with TaskGroup("watch") as tasks:
        machine.watch(open_notices).start(tasks)
        await_true(lambda: kernels and machine.looks, CHECK_S)
        kernels[0].failure = OSError(errno.ENOMEM, "no memory just now")
        kernels[0].has_news.set()
        await_true(lambda: len(kernels) == 2, 3 * CHECK_S)
        assert kernels[0].closed == 1

        gevent.sleep(0.05)
        machine.addresses = ["192.168.7.7"]
        kernels[1].has_news.set()
        await_true(lambda: machine.changes, 2 * CHECK_S)


def test_this_machine_has_addresses_and_clocks():
    assert "127.0.0.1" in {each.ip for each in look_around().addresses}
    assert abs(clock_offset_s() - clock_offset_s()) < SLEEP_S
