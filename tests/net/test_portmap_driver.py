"""The port mapping driver against a fake gateway on loopback sockets."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from fake_gateway_server import LOOPBACK, GatewayServer, serving
from gevent import socket, subprocess
from support.descriptors import no_descriptors_left
from support.fake_gateway import FakeGateway

from tunnel.errors import MisuseError
from tunnel.net.ports.portmap import MAX_PORTS, GatewayPorts, MappedPort, PortMapper
from tunnel.net.tasks import TaskGroup
from tunnel.proto.portmap.mapping import (
    MappingLost,
    MappingMade,
    MappingProtocol,
    NoMapping,
    PortMapping,
    Reason,
)

pytestmark = pytest.mark.net

PATIENCE_S = 5.0
PORT = 40000


@contextmanager
def mapping(
    server: GatewayServer, protocols: object = tuple(MappingProtocol), port: int = PORT
) -> Iterator[tuple[PortMapper, MappedPort]]:
    mapper = PortMapper(
        server.host, server.host, os.urandom, protocols=protocols, ports=server.ports
    )
    with TaskGroup("test") as tasks:
        mapper.start(tasks)
        yield mapper, mapper.map(port)
    mapper.close()


def next_event(mapped: MappedPort) -> object:
    event = mapped.next_event(PATIENCE_S)
    assert event is not None, "nothing happened"
    return event


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_mapping_is_made_and_released(protocol):
    with serving() as server, mapping(server, [protocol]) as (mapper, mapped):
        event = next_event(mapped)

        assert event == MappingMade(PortMapping(protocol, "5.5.5.10", PORT, 7200))
        assert server.gateway.table[PORT].internal_ip == LOOPBACK
        assert mapper.release(PATIENCE_S)
        assert server.gateway.table == {}


def test_a_closed_port_leads_to_upnp_at_once():
    with (
        serving(FakeGateway(is_port_closed=True)) as server,
        mapping(server) as (_, mapped),
        gevent.Timeout(0.2),
    ):
        assert next_event(mapped).mapping.protocol is MappingProtocol.UPNP


def test_a_gateway_that_only_hears_multicast_is_found():
    with (
        serving(answers_unicast=False) as server,
        mapping(server, [MappingProtocol.UPNP]) as (_, mapped),
    ):
        assert isinstance(next_event(mapped), MappingMade)


def test_chunked_answers_are_read():
    with (
        serving(FakeGateway(is_chunked=True)) as server,
        mapping(server, [MappingProtocol.UPNP]) as (_, mapped),
    ):
        assert isinstance(next_event(mapped), MappingMade)


def test_an_ipv6_gateway_is_asked_by_pcp():
    with serving(host="::1") as server, mapping(server) as (mapper, mapped):
        # ::1 is no address for others, so this one is refused; the exchange is what counts here.
        event = next_event(mapped)

        assert event.failures[MappingProtocol.PCP].reason is Reason.NO_EXTERNAL_ADDRESS
        assert mapper.release(PATIENCE_S)
        assert set(server.gateway.asked) == {"pcp"}


def test_services_are_seen_whichever_is_used():
    with serving() as server, mapping(server) as (_, mapped):
        next_event(mapped)
        with gevent.Timeout(PATIENCE_S):
            while mapped.services_seen() != set(MappingProtocol):
                gevent.sleep(0.005)

    assert mapped.failures() == {}


def test_a_silent_gateway_is_given_up_within_two_seconds():
    gateway = FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False)
    with serving(gateway) as server, mapping(server) as (mapper, mapped), gevent.Timeout(2.0):
        event = next_event(mapped)

        assert isinstance(event, NoMapping)
        assert {failure.reason for failure in event.failures.values()} == {Reason.SILENT}
        assert mapper.release(0.1)


def test_a_silent_http_server_costs_a_second_per_request():
    with (
        serving(FakeGateway(is_http_silent=True)) as server,
        mapping(server, [MappingProtocol.UPNP]) as (_, mapped),
        gevent.Timeout(2.0),
    ):
        event = next_event(mapped)

    assert event.failures[MappingProtocol.UPNP].reason is Reason.SILENT


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n<root>",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"<a>" * 30000,
        b"X" * 100000,
    ],
)
def test_answers_that_are_none_are_refused_in_words(answer):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((LOOPBACK, 0))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        try:
            connection.sendall(answer)
        finally:
            connection.close()

    location = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
    greenlet = gevent.Greenlet(serve)
    with (
        serving(FakeGateway(location=location)) as server,
        mapping(server, [MappingProtocol.UPNP]) as (_, mapped),
    ):
        greenlet.start()
        event = next_event(mapped)
        failure = event.failures[MappingProtocol.UPNP]
        greenlet.kill()
    listener.close()

    assert failure.reason in (Reason.UNREADABLE, Reason.SILENT)
    assert failure.detail


def test_several_ports_share_the_sockets_and_are_all_released():
    with serving() as server, mapping(server) as (mapper, first):
        others = [mapper.map(PORT + number) for number in range(1, MAX_PORTS)]
        for mapped in (first, *others):
            assert next_event(mapped).mapping.external_port == mapped.internal_port
        assert mapper.map(PORT) is first
        with pytest.raises(MisuseError):
            mapper.map(50000)

        assert len(server.gateway.table) == MAX_PORTS
        assert mapper.release(PATIENCE_S)
        assert server.gateway.table == {}


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_release_works_after_the_greenlets_were_killed(protocol):
    with serving() as server:
        mapper = PortMapper(
            LOOPBACK, LOOPBACK, os.urandom, protocols=[protocol], ports=server.ports
        )
        with TaskGroup("test") as tasks:
            mapper.start(tasks)
            next_event(mapper.map(PORT))
        assert server.gateway.table != {}

        assert mapper.release(PATIENCE_S)
        mapper.close()

        assert server.gateway.table == {}


def test_a_release_from_a_dead_gateway_is_bounded():
    with serving() as server, mapping(server) as (mapper, mapped), gevent.Timeout(1.0):
        next_event(mapped)
        server.gateway.has_pcp = False

        assert not mapper.release(0.1)


def test_a_release_before_the_start_is_nothing_to_wait_for():
    mapper = PortMapper(LOOPBACK, LOOPBACK, os.urandom)
    mapper.map(PORT)

    assert mapper.release(0.0)


def test_a_check_finds_out_about_a_restart():
    gateway = FakeGateway(started_at=-50000.0)
    with serving(gateway) as server, mapping(server, [MappingProtocol.NAT_PMP]) as (mapper, mapped):
        next_event(mapped)
        gateway.started_at = time.monotonic()
        gateway.table.clear()

        mapper.check()

        lost, again = next_event(mapped), next_event(mapped)
        assert isinstance(lost, MappingLost)
        assert lost.failure.reason is Reason.GATEWAY_RESTARTED
        assert isinstance(again, MappingMade)
        assert PORT in server.gateway.table


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_another_address_of_ours_means_a_new_mapping(protocol):
    with serving() as server, mapping(server, [protocol]) as (mapper, mapped):
        next_event(mapped)
        # The old nonce guards the old mapping; here the gateway has forgotten it.
        server.gateway.table.clear()

        mapper.move(LOOPBACK, "127.0.0.2")

        lost, again = next_event(mapped), next_event(mapped)
        assert lost.failure.reason is Reason.NETWORK_CHANGED
        assert isinstance(again, MappingMade)
        assert server.gateway.table[PORT].internal_ip == "127.0.0.2"
        mapper.move(LOOPBACK, "127.0.0.2")
        assert mapper.release(PATIENCE_S)
        assert server.gateway.table == {}


def test_an_address_that_is_not_ours_is_no_crash():
    mapper = PortMapper(
        "192.0.2.77", "192.0.2.78", os.urandom, ports=GatewayPorts(1, 1, (LOOPBACK, 1))
    )
    with TaskGroup("test") as tasks:
        mapper.start(tasks)
        event = next_event(mapper.map(PORT))
        assert mapper.release(0.1)
        tasks.raise_failure()
    mapper.close()

    assert isinstance(event, NoMapping)


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_process_gives_its_mapping_back_at_sigterm(protocol):
    program = str(Path(__file__).parents[1] / "support" / "map_port.py")
    with serving() as server:
        ports = [f"--mapping-port={server.ports.mapping}", f"--search-port={server.ports.search}"]
        command = [
            sys.executable,
            program,
            LOOPBACK,
            LOOPBACK,
            str(PORT),
            "--protocol",
            protocol.value,
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([*command, *ports], **pipes)
        try:
            with gevent.Timeout(4 * PATIENCE_S):
                made = json.loads(process.stdout.readline())
                held = dict(server.gateway.table)
                process.terminate()
                released = json.loads(process.stdout.readline())
                code = process.wait()
        finally:
            process.kill()

    assert (made["event"], made["protocol"], made["port"]) == ("made", protocol.value, PORT)
    assert list(held) == [PORT]
    assert released == {"event": "released", "confirmed": True}
    assert code == 0
    assert server.gateway.table == {}


def test_sockets_that_could_not_be_had_at_first_are_had_at_the_next_question():
    with serving() as server, TaskGroup("test") as tasks:
        mapper = PortMapper(server.host, server.host, os.urandom, ports=server.ports)
        with no_descriptors_left():
            mapper.start(tasks)
            mapped = mapper.map(PORT)
            gevent.sleep(0.05)
            assert server.gateway.asked == []

        assert isinstance(next_event(mapped), MappingMade)
        mapper.close()
