"""`netcheck`: find out what this network lets derphole do.

    the relay map (2 s) ─► at once  STUN to all regions (1 to 2 s) ─► logins to the nearest three
                           │                                     └─► NAT checks, IPv4 and IPv6
                           └──────  port mappers at the router, each mapping given back

Everything together ends within the limit, and nobody waits in silence: what is awaited is told
every 2 s.  Without a limit given, a login that gets on is waited for, and where the relay turns out
to answer slowly, the NAT is checked once more, as slowly.  A part that cannot be found out is
missing from the findings, and never an error.
"""

import os
from contextlib import suppress
from ipaddress import ip_address

import gevent

from derphole.config import NetworkOptions
from derphole.errors import RelayTrouble
from derphole.network.verdict import NetworkFindings, RelayFinding, verdict
from derphole.rendezvous.relays import dial_options, is_on_public_map, network_map
from derphole.status import Report, Waiting
from derphole.trace import TraceFile
from tunnel.crypto.keys import KeyPair
from tunnel.net.clock import monotonic
from tunnel.net.netcheck import (
    check_mappers,
    check_nat,
    check_relay,
    default_gateway,
    is_overlay,
    local_addresses,
    look_for_page,
)
from tunnel.net.relay_client.regions import (
    RegionLatency,
    RelayMap,
    RelayNode,
    RelayRegion,
    choose_regions,
    measurable_regions,
    measure_by_https,
    measure_by_stun,
)
from tunnel.net.tasks import TaskGroup
from tunnel.proto.netcheck.checks import MapperCheck, NatFindings, RelayCheck, SignInPage, is_public
from tunnel.units import KEY_SIZE, Instant, Seconds

# Chosen: a person waits for it; what has not answered by then would not be used either.
DEFAULT_LIMIT_S: Seconds = 5.0
# Chosen: so long there may be no sign of a relay; a round trip of 3 s shows one.
SIGN_OF_LIFE_S: Seconds = 3.5
# Chosen: with --timeout 0, or while a relay that answers is slow; each part has its own bound too.
NO_LIMIT_S: Seconds = 30.0
MAP_LIMIT_S: Seconds = 2.0
MAP_PATIENCE_S: Seconds = 15.0  # without a copy and without a limit given
LEAST_AFTER_MAP_S: Seconds = 2.7
STUN_LIMIT_S: Seconds = 2.0  # half of it if nothing answers
HTTPS_LIMIT_S: Seconds = 1.0
NAT_LIMIT_S: Seconds = 4.5
MAPPER_LIMIT_S: Seconds = 2.0
MAPPER_LEAST_S: Seconds = 0.3  # below that a router that is there would pass for none
PORTAL_LIMIT_S: Seconds = 1.0
# Chosen: kept free at the end, for mappings to be given back and for what is shown.
RESERVE_S: Seconds = 0.3
WAIT_REPORT_S: Seconds = 2.0  # design, section 5: nobody waits in silence for longer
# Chosen: from here on the NAT is asked again where nothing answered, and as slowly.
SLOW_ROUND_TRIP_S: Seconds = 0.5
SLOW_LOGIN_S: Seconds = 2.0
RELAYS_SHOWN = 3  # as many as a token names
MIN_LIMIT_S: Seconds = 0.2


def check(options: NetworkOptions, report: Report) -> NetworkFindings:
    """Return what was found within `options.timeout_s`.

    None there stands for `DEFAULT_LIMIT_S`, or `NO_LIMIT_S` where the network is slow or
    `options.is_patient`.
    """
    if options.timeout_s is not None:
        limit_s = patience_s = max(options.timeout_s, MIN_LIMIT_S)
    else:
        limit_s, patience_s = DEFAULT_LIMIT_S, NO_LIMIT_S
    return _Check(options, report, NO_LIMIT_S if options.is_patient else limit_s, patience_s).run()


class _Check:
    """One run, which ends before its deadline, or the last one where the network is slow."""

    def __init__(
        self, options: NetworkOptions, report: Report, limit_s: Seconds, patience_s: Seconds
    ) -> None:
        self._options = options
        self._report = report
        self._limit_s = limit_s
        self._may_be_slow = patience_s > limit_s
        self._started_at = monotonic()
        self._deadline = Instant(self._started_at + limit_s - min(RESERVE_S, limit_s / 4))
        self._last_s = patience_s - min(RESERVE_S, patience_s / 4)
        self._trace = TraceFile(options.trace, options.trace_size)
        self._map = RelayMap({})
        self._addresses: tuple[str, ...] = ()
        self._ipv4: NatFindings | None = None
        self._ipv6: NatFindings | None = None
        self._mappers: tuple[MapperCheck, ...] | None = None
        self._relays: tuple[RelayFinding, ...] = ()
        self._checks: dict[int, RelayCheck] = {}  # by region
        self._latencies: list[RegionLatency] = []
        self._is_by_udp = False
        self._page: SignInPage | None = None
        self._map_trouble: str | None = None

    def run(self) -> NetworkFindings:
        try:
            with TaskGroup("netcheck") as waiting, TaskGroup("netcheck") as tasks:
                waiting.spawn("waiting", self._tell_waiting)
                self._addresses = _own_addresses()
                self._map = self._load_map()
                tasks.spawn("router", self._check_router)
                tasks.spawn("regions", self._check_regions)
                tasks.join()
            return self._findings()
        finally:
            self._trace.close()

    # -- parts ------------------------------------------------------------------------------

    def _left_s(self, own_limit_s: Seconds = NO_LIMIT_S) -> Seconds:
        """Return how long a part may take that has a limit of its own."""
        return max(0.0, min(own_limit_s, self._deadline - monotonic()))

    def _patience_left_s(self) -> Seconds:
        """Return how long a part may take that gets on in a slow network."""
        return max(0.0, self._started_at + self._last_s - monotonic())

    def _tell_waiting(self) -> None:
        while True:
            gevent.sleep(WAIT_REPORT_S)
            waited_s = monotonic() - self._started_at
            is_known = waited_s < self._limit_s < NO_LIMIT_S
            limit_s = self._limit_s if is_known else None
            what = "answers of relays, STUN servers and the router"
            self._report(Waiting(what, waited_s, limit_s))

    def _load_map(self) -> RelayMap:
        """Return the relays to try; without a map there are none, and its absence is a finding."""
        try:
            limit_s = self._left_s(MAP_LIMIT_S)
            patience_s = MAP_PATIENCE_S if self._may_be_slow else limit_s
            relay_map = network_map(self._options, self._report, limit_s, patience_s)
        except RelayTrouble as error:
            self._map_trouble = error.detail
            self._trace("netcheck.no_map", {"error": error.detail})
            return RelayMap({})
        if self._may_be_slow:  # what a slow map took is not taken from the rest
            self._deadline = Instant(max(self._deadline, monotonic() + LEAST_AFTER_MAP_S))
        return relay_map

    def _check_router(self) -> None:
        """Ask the router for ports, unless everything happens on this machine."""
        gateway = default_gateway()
        if gateway is None:
            gateway = default_gateway(6)
        limit_s = self._left_s(MAPPER_LIMIT_S)
        if gateway is None or limit_s < MAPPER_LEAST_S or _is_all_here(self._map):
            return
        self._mappers = tuple(check_mappers(gateway, os.urandom, limit_s))
        for each in self._mappers:
            values = {"protocol": each.protocol.value, "found": each.is_found}
            reason = each.failure.words if each.failure else None
            self._trace("netcheck.mapper", {**values, "reason": reason})

    def _check_regions(self) -> None:
        """Log in to the nearest regions and ask their STUN servers about the NAT."""
        usable = _nearest(self._map, [])
        with TaskGroup("regions") as tasks:
            has_choice = len(measurable_regions(self._map)) > RELAYS_SHOWN
            if not has_choice:
                tasks.spawn("logins", self._check_relays, usable)
            latencies = measure_by_stun(self._map, os.urandom, self._left_s(STUN_LIMIT_S))
            self._latencies, self._is_by_udp = latencies, bool(latencies)
            nearest = _nearest(self._map, latencies)
            self._spawn_nat_checks(tasks, nearest)
            if has_choice:
                if not latencies:
                    latencies = measure_by_https(
                        self._map, self._left_s(HTTPS_LIMIT_S), dial_options(self._options)
                    )
                    self._latencies, nearest = latencies, _nearest(self._map, latencies)
                tasks.spawn("logins", self._check_relays, nearest)
            tasks.join()
        nearest += [region for region in usable if region.id in self._checks.keys() - _ids(nearest)]
        self._relays = self._relay_findings(nearest)
        if not any(each.is_reachable for each in self._relays):
            self._look_for_portal([region.relay_nodes[0] for region in nearest])
        elif self._is_slow and not self._has_udp:
            with TaskGroup("regions") as tasks:
                self._spawn_nat_checks(tasks, nearest)
                tasks.join()

    def _spawn_nat_checks(self, tasks: TaskGroup, regions: list[RelayRegion]) -> None:
        tasks.spawn("ipv4", self._check_nat, regions, is_ipv6=False)
        tasks.spawn("ipv6", self._check_nat, regions, is_ipv6=True)

    @property
    def _has_udp(self) -> bool:
        return any(each is not None and each.is_udp_working for each in (self._ipv4, self._ipv6))

    @property
    def _is_slow(self) -> bool:
        """Whether a relay took us, and that took long: its name's look-up, or each answer."""
        took = [check.connected_after_s for check in self._checks.values()]
        soonest_s = min((each for each in took if each is not None), default=0.0)
        is_slow = soonest_s >= SLOW_LOGIN_S or self._round_trip_s >= SLOW_ROUND_TRIP_S
        return self._may_be_slow and is_slow

    @property
    def _round_trip_s(self) -> Seconds:
        """Return how slow the network is known to be: of the relay that answered soonest."""
        found = [check.round_trip_s for check in self._checks.values()]
        return min((each for each in found if each is not None), default=0.0)

    def _check_nat(self, regions: list[RelayRegion], *, is_ipv6: bool) -> None:
        round_trip_s = self._round_trip_s
        limit_s = NAT_LIMIT_S * max(1.0, round_trip_s)
        left_s = self._patience_left_s() if self._is_slow else self._left_s()
        found = check_nat(
            _spread(regions),
            self._addresses,
            os.urandom,
            min(limit_s, left_s),
            is_ipv6=is_ipv6,
            round_trip_s=round_trip_s,
            port=self._options.udp_port,
        )
        if is_ipv6:
            self._ipv6 = found
        else:
            self._ipv4 = found
        if found is not None:
            behaviour = {"mapping": found.mapping.value, "filtering": found.filtering.value}
            values = {"ipv6": is_ipv6, "udp": found.is_udp_working, **behaviour}
            self._trace("netcheck.nat", {**values, "hairpin": found.hairpin})

    def _check_relays(self, regions: list[RelayRegion]) -> None:
        """Log in to regions, all at once."""

        def log_in(region: RelayRegion) -> None:
            keys = KeyPair.from_secret(os.urandom(KEY_SIZE))
            dial, left_s = dial_options(self._options), self._left_s()
            if self._may_be_slow:
                sign_s = max(left_s, SIGN_OF_LIFE_S)
                outcome = check_relay(region, keys, dial, sign_s, self._patience_left_s())
            else:
                outcome = check_relay(region, keys, dial, left_s)
            self._checks[region.id] = outcome
            values = {"region": region.id, "connected": outcome.error is None}
            fault = outcome.fault.value if outcome.fault else None
            self._trace("netcheck.relay", {**values, "error": outcome.error, "fault": fault})

        with TaskGroup("logins") as tasks:
            for region in regions:
                tasks.spawn(region.code, log_in, region)
            tasks.join()

    def _relay_findings(self, regions: list[RelayRegion]) -> tuple[RelayFinding, ...]:
        """Return what came of the logins; where no latency was measured, the login's round trip."""
        latency_by_id = {each.region_id: each.latency_s for each in self._latencies}
        found: list[RelayFinding] = []
        for region in regions:
            check = self._checks[region.id]
            latency_s = latency_by_id.get(region.id)
            if not self._is_by_udp and latency_s is None:
                latency_s = check.round_trip_s
            found.append(RelayFinding(region, latency_s, self._is_by_udp, check))
        return tuple(found)

    def _look_for_portal(self, nodes: list[RelayNode]) -> None:
        def look(node: RelayNode) -> None:
            limit_s = max(MIN_LIMIT_S, self._left_s(PORTAL_LIMIT_S))
            page = look_for_page(node, dial_options(self._options), limit_s)
            self._page = self._page or page

        with TaskGroup("portal") as tasks:
            for node in nodes:
                tasks.spawn(node.name, look, node)
            tasks.join()

    def _findings(self) -> NetworkFindings:
        usable = [ip for ip in self._addresses if not _is_own_alone(ip)]
        addresses = tuple(ip for ip in usable if not is_overlay(ip))
        found = NetworkFindings(
            self._ipv4,
            self._ipv6,
            addresses,
            tuple(ip for ip in addresses if is_public(ip)),
            tuple(ip for ip in usable if is_overlay(ip)),
            self._relays,
            self._mappers,
            self._page,
            self._map_trouble,
            self._options.force_relay,
            monotonic() - self._started_at,
            _is_all_here(self._map),
            is_on_public_map(self._options),
        )
        self._trace("netcheck.verdict", {"verdict": verdict(found).value})
        return found


def _own_addresses() -> tuple[str, ...]:
    """Return the addresses of interfaces that are switched on, each once."""
    with suppress(OSError):
        return tuple(each.ip for each in local_addresses())
    return ()


def _is_own_alone(ip: str) -> bool:
    address = ip_address(ip)
    return address.is_loopback or address.is_link_local


def _is_all_here(relay_map: RelayMap) -> bool:
    """Tell whether every relay is on this machine: then no router is in between."""
    hosts = [node.host for region in relay_map.regions.values() for node in region.nodes]
    return bool(hosts) and all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _nearest(relay_map: RelayMap, latencies: list[RegionLatency]) -> list[RelayRegion]:
    """Return the nearest regions, or the first of the map where nothing was measured."""
    ids = choose_regions(latencies, RELAYS_SHOWN)
    if ids:
        return [relay_map.regions[each] for each in ids]
    usable = [region for region in relay_map.regions.values() if region.relay_nodes]
    return (measurable_regions(relay_map) or usable)[:RELAYS_SHOWN]


def _ids(regions: list[RelayRegion]) -> set[int]:
    return {region.id for region in regions}


def _spread(regions: list[RelayRegion]) -> list[RelayNode]:
    """Return the regions' nodes, the first of each before the second of any."""
    most = max((len(region.nodes) for region in regions), default=0)
    return [
        region.nodes[turn] for turn in range(most) for region in regions if turn < len(region.nodes)
    ]
