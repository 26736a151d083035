"""DirectPaths on loopback sockets: lanes, STUN servers, a fake gateway; the link is a recorder.

No real link: the mapped address of the fake gateway is a public one, and nobody may probe that.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import gevent
import pytest
from fake_gateway_server import LOOPBACK, GatewayServer, serving
from gevent import socket
from support.descriptors import no_descriptors_left
from support.fake_gateway import FakeGateway
from support.processes import record_figure

from tunnel.net.clock import monotonic
from tunnel.net.direct import DirectPaths
from tunnel.net.ifaces import Gateway, InterfaceAddress
from tunnel.net.ports.router_ports import RELEASE_S, Gateways
from tunnel.net.relay_client.connection import RelayState
from tunnel.net.relay_server.stun import StunServer
from tunnel.net.sockets import ListenFailed
from tunnel.net.tasks import TaskGroup
from tunnel.net.udp.segmentation import offload
from tunnel.net.udp.uplinks import Network
from tunnel.proto.paths.candidates import CandidateKind
from tunnel.proto.paths.gather import MAX_HOSTS, RETRY_TIMES_S
from tunnel.proto.paths.lane_plan import FIRST_BOUND_LANE, LANE_IPV4, Uplink
from tunnel.wire.derpmap import STUN_OFF, RelayNode
from tunnel.wire.frames import Candidate

pytestmark = pytest.mark.net

PATIENCE_S = 5.0
SECOND = Uplink("lo", "127.0.0.2", "127.0.0.1")


@dataclass(eq=False)
class Relay:
    """A relay connection as far as direct paths look at one."""

    node: RelayNode
    is_loopback: bool = True
    state: RelayState = RelayState.CONNECTED
    checks: int = 0

    def check_alive(self) -> None:
        self.checks += 1


@dataclass
class Pump:
    """A pump without a machine."""

    found: list[Relay]
    lanes: list[int] = field(default_factory=list)
    questions: int = 0  # for its relays

    @property
    def relays(self) -> list[Relay]:
        self.questions += 1
        return self.found

    def check_alive(self) -> None:
        for relay in self.found:
            relay.check_alive()

    def use_lanes(self, lanes: list[object]) -> None:
        self.lanes = [lane.number for lane in lanes]

    def wake(self) -> None:
        pass

    def read_done(self) -> None:
        pass


@dataclass(eq=False)
class Link:
    """A link that keeps what it is given."""

    relay: int = 0
    is_closed: bool = False
    lanes: dict[int, bool] = field(default_factory=dict)
    offers: list[tuple[Candidate, ...]] = field(default_factory=list)
    buffer: int = 0
    suspicions: int = 0
    peer_candidates: tuple[Candidate, ...] = ()

    def tell_receive_buffer(self, size: int) -> None:
        self.buffer = size

    def use_lanes(self, now: float, lanes: dict[int, bool], allows_loopback: bool) -> None:
        self.lanes = lanes

    def offer_candidates(self, candidates: tuple[Candidate, ...]) -> None:
        self.offers.append(candidates)

    def suspect_paths(self, now: float) -> None:
        self.suspicions += 1

    def mapped(self) -> list[tuple[str, int]]:
        return [
            (each.ip, each.port) for each in self.offers[-1] if each.kind == CandidateKind.MAPPED
        ]


@dataclass
class Scene:
    """What a test looks at."""

    direct: DirectPaths
    pump: Pump
    link: Link
    events: list[tuple[str, dict[str, object]]]
    uplinks: list[Uplink]
    local_ip: str = LOOPBACK
    addresses: list[InterfaceAddress] = field(default_factory=list)

    def look(self) -> None:
        """Tell what a look at the network finds now."""
        self.direct.network_noticed(Network(tuple(self.addresses), tuple(self.uplinks)))

    def traced(self, name: str) -> list[dict[str, object]]:
        return [values for event, values in self.events if event == name]

    def await_true(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not true: {what}; {self.events}"
            gevent.sleep(0.005)


@contextmanager
def playing(
    server: GatewayServer | None = None,
    *,
    stun_port: int = STUN_OFF,
    uplinks: tuple[Uplink, ...] = (),
    is_loopback: bool = True,
    serves_loopback: bool = True,
    lacks: ExitStack | None = None,
) -> Iterator[Scene]:
    """Run direct paths over one relay; the gateway, if there is one, is at 127.0.0.1.

    No descriptor is left when they start, and until `lacks`, where it is given, is closed.
    """
    node = RelayNode("1a", 1, LOOPBACK, ipv4=LOOPBACK, ipv6="none", stun_port=stun_port)
    pump = Pump([Relay(node, is_loopback)])
    events: list[tuple[str, dict[str, object]]] = []
    there = list(uplinks)

    def find_gateway(network: Network, uplink: Uplink | None, version: int) -> Gateway | None:
        if server is None or version == 6:
            return None
        local_ip = scene.local_ip if uplink is None else uplink.ip
        return Gateway(LOOPBACK, "lo", local_ip)

    with TaskGroup("scene") as tasks:
        gateways = Gateways(find_gateway, serves_loopback=serves_loopback)
        if server is not None:
            gateways = Gateways(find_gateway, server.ports, serves_loopback)

        def trace(name: str, values: dict[str, object]) -> None:
            events.append((name, values))

        direct = DirectPaths(pump, tasks, trace, gateways)
        scene = Scene(direct, pump, Link(), events, there)
        offload()  # known, so that it need not be tried out without descriptors
        if lacks is not None:
            lacks.enter_context(no_descriptors_left())
        direct.start()
        scene.look()
        yield scene
        tasks.raise_failure()
        direct.close()


def test_a_mapping_is_offered_when_it_is_made_and_given_back_at_the_end():
    with serving() as server:
        with playing(server) as scene:
            gevent.idle()
            assert server.gateway.asked == []

            scene.direct.add_link(scene.link)
            scene.await_true(scene.link.mapped, "a mapped candidate is offered")

            (port,) = server.gateway.table
            assert scene.link.mapped() == [("5.5.5.10", port)]
            assert scene.traced("mapping.made") == [
                {"lane": LANE_IPV4, "protocol": "PCP", "lifetime_s": 7200, "is_public": True}
            ]

        assert server.gateway.table == {}
        assert scene.traced("mapping.released") == [{"lane": LANE_IPV4, "is_confirmed": True}]


@pytest.mark.parametrize("external_ip", ["100.64.7.7", "192.168.1.5"])
def test_a_port_at_a_router_behind_another_nat_is_no_candidate(external_ip: str):
    with serving(FakeGateway(external_ip=external_ip)) as server, playing(server) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(lambda: scene.traced("mapping.made"), "a mapping is made")

        assert scene.traced("mapping.made")[0]["is_public"] is False
        assert scene.link.mapped() == []


def test_a_link_by_a_relay_of_this_machine_has_no_port_mapped():
    with serving() as server, playing(server, serves_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        scene.direct.path_lost()
        gevent.idle()

        assert server.gateway.asked == []
        scene.pump.relays[0].is_loopback = False
        scene.direct.add_link(Link())
        scene.await_true(lambda: server.gateway.asked, "the gateway is asked")


@pytest.mark.parametrize(
    ("silent", "question"),
    [
        (FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False), "pcp"),
        (FakeGateway(is_port_closed=True, is_http_silent=True), "GET /rootDesc.xml"),
    ],
)
def test_a_gateway_that_says_nothing_delays_no_end(silent: FakeGateway, question: str):
    with serving(silent) as server, playing(server) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(lambda: question in server.gateway.asked, "the gateway is asked")

        began = time.monotonic()
        scene.direct.close()
        took_s = time.monotonic() - began

    record_figure("end with a silent gateway", f"{took_s * 1000:.0f} ms", "50 ms")
    assert took_s < 3 * 0.05


def test_a_gateway_that_dies_with_a_mapping_delays_the_end_by_a_second_at_most():
    with serving() as server, playing(server) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(scene.link.mapped, "a mapped candidate is offered")
        server.gateway.has_pcp = server.gateway.has_natpmp = False

        began = time.monotonic()
        scene.direct.begin_release()
        assert time.monotonic() - began < 0.1
        scene.direct.close()
        took_s = time.monotonic() - began

        assert took_s < 3 * RELEASE_S
        assert scene.traced("mapping.released") == [{"lane": LANE_IPV4, "is_confirmed": False}]


def test_after_the_end_nothing_is_mapped_again():
    with serving() as server:
        with playing(server) as scene:
            scene.direct.begin_release()
            scene.direct.add_link(scene.link)
            gevent.idle()

        assert server.gateway.table == {}
        assert scene.traced("mapping.made") == []


def test_a_lost_path_has_the_gateway_asked_whether_the_mapping_is_still_there():
    gateway = FakeGateway(started_at=-50000.0)
    with serving(gateway) as server, playing(server) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(scene.link.mapped, "a mapped candidate is offered")
        gateway.reboot(time.monotonic())
        gateway.external_ip = "5.5.5.99"

        scene.direct.path_lost()

        scene.await_true(
            lambda: [ip for ip, _ in scene.link.mapped()] == ["5.5.5.99"], "it is mapped again"
        )
        assert len(gateway.table) == 1
        assert len(scene.traced("mapping.lost")) == 1


def test_another_address_of_ours_means_a_mapping_for_that_one():
    with serving() as server, playing(server) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(scene.link.mapped, "a mapped candidate is offered")
        server.gateway.table.clear()  # the nonce of the old mapping guards it; it ran out

        scene.local_ip = "127.0.0.2"
        scene.direct.path_lost()  # wakes the driver, which looks where the gateway is now

        scene.await_true(
            lambda: [row.internal_ip for row in server.gateway.table.values()] == ["127.0.0.2"],
            "the mapping moved",
        )


def test_each_way_out_has_a_lane_asks_by_it_and_maps_it():
    with serving() as server, TaskGroup("stun") as tasks:
        stun = StunServer((LOOPBACK, 0))
        stun.start(tasks)
        stun_port = stun.address[1]
        with playing(server, stun_port=stun_port, uplinks=(SECOND,), is_loopback=False) as scene:
            scene.direct.add_link(scene.link)
            scene.await_true(lambda: len(scene.link.mapped()) == 2, "both lanes are mapped")
            scene.await_true(
                lambda: len(scene.traced("candidate.learned")) == 2, "both lanes were seen"
            )

            assert scene.link.lanes[FIRST_BOUND_LANE] is False
            assert {LANE_IPV4, FIRST_BOUND_LANE} <= set(scene.pump.lanes)
            seen = [each for each in scene.link.offers[-1] if each.kind == CandidateKind.REFLEXIVE]
            assert {each.ip for each in seen} == {LOOPBACK, SECOND.ip}
            assert {row.internal_ip for row in server.gateway.table.values()} == {
                LOOPBACK,
                SECOND.ip,
            }
            server_name = f"{LOOPBACK} port {stun_port}"
            assert {
                (values["lane"], values["from"]) for values in scene.traced("candidate.learned")
            } == {(LANE_IPV4, server_name), (FIRST_BOUND_LANE, server_name)}
        stun.close()


def test_a_way_out_that_ends_takes_its_lane_its_mapping_and_its_candidates_along():
    with serving() as server, playing(server, uplinks=(SECOND,), is_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        scene.await_true(lambda: len(scene.link.mapped()) == 2, "both lanes are mapped")

        scene.uplinks.clear()
        scene.look()

        scene.await_true(lambda: scene.traced("lane.closed"), "the lane is closed")
        scene.await_true(lambda: scene.traced("mapping.released"), "its mapping is given back")
        assert FIRST_BOUND_LANE not in scene.link.lanes
        assert FIRST_BOUND_LANE not in scene.pump.lanes
        assert len(scene.link.mapped()) == 1
        assert [row.internal_ip for row in server.gateway.table.values()] == [LOOPBACK]

        scene.uplinks.append(SECOND)
        scene.look()
        scene.await_true(lambda: FIRST_BOUND_LANE + 1 in scene.link.lanes, "it has a lane again")


def test_another_network_has_relays_and_paths_checked_and_candidates_offered_anew():
    with playing(is_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        offers = len(scene.link.offers)

        scene.uplinks.append(SECOND)
        scene.direct.network_changed()
        scene.look()

        scene.await_true(lambda: FIRST_BOUND_LANE in scene.link.lanes, "it has the new lane")
        assert scene.pump.relays[0].checks == 1
        assert scene.link.suspicions == 1
        assert len(scene.link.offers) > offers


def test_another_network_is_noticed_also_before_there_is_a_link():
    with playing(is_loopback=False) as scene:
        gevent.idle()
        scene.uplinks.append(SECOND)
        scene.direct.network_changed()
        scene.look()

        scene.await_true(lambda: FIRST_BOUND_LANE in scene.pump.lanes, "the lane is open")
        assert scene.pump.relays[0].checks == 1


def test_a_way_out_that_ends_while_another_lane_closes_ends_nothing():
    with playing(uplinks=(SECOND,), is_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        gevent.idle()

        scene.uplinks[:] = [Uplink("lo", "127.0.0.3", "127.0.0.1")]
        scene.look()
        scene.uplinks.clear()
        gevent.spawn(scene.look)  # runs while the lane of the first one closes
        scene.direct.network_changed()

        scene.await_true(lambda: scene.traced("lane.closed"), "the first lane is closed")
        scene.await_true(lambda: scene.link.lanes.keys() <= {0, 1}, "no further lane is left")
        scene.await_true(lambda: scene.pump.relays[0].checks, "the relay was checked")


def test_a_link_on_loopback_keeps_to_the_common_lanes():
    with playing(uplinks=(SECOND,)) as scene:
        gevent.idle()
        scene.direct.add_link(scene.link)

        assert set(scene.link.lanes) <= {0, 1}
        assert FIRST_BOUND_LANE in scene.pump.lanes


def test_a_way_out_whose_address_is_not_there_yet_is_tried_again():
    gone = Uplink("lo", "192.0.2.99")
    with playing(uplinks=(gone,), is_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        assert scene.link.lanes.keys() <= {0, 1}

        scene.uplinks[:] = [SECOND]
        scene.look()

        scene.await_true(lambda: len(scene.link.lanes) > 2, "it has a lane")


def test_a_port_that_is_asked_for_is_that_of_the_common_lanes_or_an_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("", 0))
        port = udp.getsockname()[1]
        with TaskGroup("taken") as tasks, pytest.raises(ListenFailed) as caught:
            DirectPaths(Pump([]), tasks, lambda *_: None, udp_port=port).start()
        assert caught.value.is_taken

    with TaskGroup("free") as tasks:
        direct = DirectPaths(Pump([]), tasks, lambda *_: None, udp_port=port)
        direct.start()
        direct.network_noticed(Network(uplinks=(SECOND,)))
        gevent.sleep(0)
        gevent.sleep(0)
        ports = {lane.number: lane.port for lane in direct._lanes}
        direct.close()
    assert ports[LANE_IPV4] == port
    assert ports[FIRST_BOUND_LANE] != port


def networks(count: int) -> list[InterfaceAddress]:
    return [InterfaceAddress(f"br{n}", f"172.16.{n}.1", 24) for n in range(count)]


def test_addresses_are_offered_once_they_are_known_without_pushing_out_what_is_learned():
    with playing(is_loopback=False) as scene:
        scene.direct.add_link(scene.link)
        scene.addresses[:] = [InterfaceAddress("lo", LOOPBACK, 8), *networks(41)]

        scene.look()

        scene.await_true(lambda: scene.link.offers[-1:] not in ([], [()]), "hosts are offered")
        assert [each.ip for each in scene.link.offers[-1]] == [
            f"172.16.{n}.1" for n in range(MAX_HOSTS)
        ]


def test_an_address_in_a_network_of_the_peer_s_is_told_when_the_peer_is_known():
    with playing(is_loopback=False) as scene:
        scene.addresses[:] = networks(41)
        scene.look()
        scene.direct.add_link(scene.link)
        scene.await_true(lambda: scene.link.offers[-1], "hosts are offered")
        offers = len(scene.link.offers)

        scene.link.peer_candidates = (Candidate(CandidateKind.HOST, "172.16.40.7", 4000),)
        scene.direct.peer_offered(scene.link)
        scene.direct.peer_offered(scene.link)

        assert len(scene.link.offers) == offers + 1
        assert scene.link.offers[-1][-1].ip == "172.16.40.1"
        assert scene.link.offers[-1][:-1] == scene.link.offers[-2]


def test_addresses_of_the_loopback_are_told_only_where_the_relay_is_on_it():
    for is_loopback in (True, False):
        with playing(is_loopback=is_loopback) as scene:
            scene.addresses[:] = [*networks(41), InterfaceAddress("lo", LOOPBACK, 8)]
            scene.look()
            scene.direct.add_link(scene.link)
            scene.await_true(lambda: scene.link.offers[-1], "hosts are offered")  # noqa: B023

            assert (LOOPBACK in {each.ip for each in scene.link.offers[-1]}) is is_loopback


def test_an_address_the_other_side_saw_counts_for_a_lane_that_is_open():
    with playing() as scene:
        scene.direct.add_link(scene.link)

        scene.direct.address_seen(LANE_IPV4, "198.51.100.7", 4000)
        scene.direct.address_seen(99, "198.51.100.8", 4000)

        offered = {each.ip for each in scene.link.offers[-1]}
        assert "198.51.100.7" in offered
        assert "198.51.100.8" not in offered


def test_a_bound_lane_sends_from_its_own_address():
    with (
        playing(uplinks=(SECOND,), is_loopback=False) as scene,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind((LOOPBACK, 0))
        udp.settimeout(PATIENCE_S)
        gevent.idle()
        lane = next(each for each in scene.direct._lanes if each.number == FIRST_BOUND_LANE)

        lane.send(*udp.getsockname(), b"hello")

        assert udp.recvfrom(100) == (b"hello", (SECOND.ip, lane.port))


def test_a_lane_that_could_not_be_opened_at_first_is_opened_at_the_next_look():
    with ExitStack() as stack, playing(lacks=stack) as scene:
        scene.direct.add_link(scene.link)
        assert scene.link.lanes == {}
        gevent.idle()

        stack.close()  # there are descriptors again
        scene.look()

        scene.await_true(lambda: LANE_IPV4 in scene.link.lanes, "the link has a lane")
        assert LANE_IPV4 in scene.pump.lanes


@pytest.mark.parametrize("stun_port", [STUN_OFF, 1])
@pytest.mark.parametrize("state", list(RelayState))
def test_a_driver_with_nobody_to_ask_sleeps(stun_port: int, state: RelayState):
    with playing(stun_port=stun_port) as scene:
        scene.pump.relays[0].state = state
        scene.direct.add_link(scene.link)
        gevent.sleep(RETRY_TIMES_S[-1] + 0.2)  # every question of the first round was asked
        questions = scene.pump.questions
        gevent.sleep(1.0)

        assert scene.pump.questions == questions
        assert scene.direct._gatherer.next_timeout() > monotonic() + 1.0


def test_the_stun_server_of_a_relay_that_comes_back_is_asked_at_once():
    with TaskGroup("stun") as tasks:
        stun = StunServer((LOOPBACK, 0))
        stun.start(tasks)
        with playing(stun_port=stun.address[1]) as scene:
            scene.pump.relays[0].state = RelayState.DOWN
            scene.direct.add_link(scene.link)
            gevent.sleep(0.1)
            assert scene.traced("candidate.learned") == []

            scene.pump.relays[0].state = RelayState.CONNECTED
            scene.direct.relays_changed()
            scene.await_true(lambda: scene.traced("candidate.learned"), "the server has answered")
        stun.close()
