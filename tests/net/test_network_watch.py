"""The watch tells of another network and of a sleep, once each, and of nothing else."""

import gevent

from tunnel.net import network_watch
from tunnel.net.ifaces import InterfaceAddress
from tunnel.net.network_watch import (
    CHECK_S,
    SLEEP_S,
    NetworkWatch,
    clock_offset_s,
    our_addresses,
)
from tunnel.net.tasks import TaskGroup


class Machine:
    """A machine whose addresses and clocks tests change."""

    def __init__(self):
        self.addresses = ["10.0.0.2", "fe80::1"]
        self.offset_s = 1000.0
        self.changes = 0

    def changed(self):
        self.changes += 1

    def watch(self):
        return NetworkWatch(self.changed, lambda: list(self.addresses), lambda: self.offset_s)


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


def test_it_looks_by_itself():
    machine = Machine()
    with TaskGroup("watch") as tasks:
        machine.watch().start(tasks)
        machine.addresses = ["192.168.7.7"]
        with gevent.Timeout(3 * CHECK_S):
            while not machine.changes:
                gevent.sleep(0.01)


def test_this_machine_has_addresses_and_clocks():
    assert "127.0.0.1" in our_addresses()
    assert abs(clock_offset_s() - clock_offset_s()) < SLEEP_S
