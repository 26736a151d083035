"""Port mapping: one port of ours at one gateway, by whichever protocol the gateway speaks.

    a round      PCP, NAT-PMP and UPnP are asked at once; the first in this order that has a chance
                 goes on alone: each of the first two has a head start of 250 ms, UPnP takes up to
                 1 s to be found
    held         renewed at half of its life; lost: a new round, first with what was seen lately
    in vain      `NoMapping` says why, and the next round starts after 1, 2, 4 ... 30 minutes
    release      everything that was made, and what may have been made, is deleted

Design §8.  Sources: RFC 6886; RFC 6887; tailscale net/portmapper.  This module knows no sockets:
whoever drives it delivers datagrams only from the gateway, and answers every HTTP request.
"""

from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from math import inf, isinf

from tunnel.errors import DecodeError
from tunnel.proto.machine import Clockwork
from tunnel.proto.portmap.igd_calls import HttpRequest
from tunnel.proto.portmap.igd_search import Search
from tunnel.proto.portmap.mapper_igd import IgdMapper
from tunnel.proto.portmap.mapper_natpmp import NatPmpMapper
from tunnel.proto.portmap.mapper_pcp import PcpMapper
from tunnel.proto.portmap.mapping import (
    Failure,
    Mapper,
    MapperState,
    MappingEvent,
    MappingLost,
    MappingMade,
    MappingProtocol,
    NoMapping,
    PortMapping,
    Reason,
)
from tunnel.units import Instant, Seconds
from tunnel.wire import natpmp, pcp, ssdp

ALL_PROTOCOLS = frozenset(MappingProtocol)
# Chosen, as upstream: a service that answered within this time is asked before all others.
SERVICE_TRUSTED_S = 600.0
# Chosen: most networks without a port mapper never get one.
FIRST_RETRY_S = 60.0
MAX_RETRY_S = 1800.0
# Chosen: `check` is called for every doubt about the network.
CHECK_INTERVAL_S = 5.0
# Chosen: events that nobody takes.
MAX_EVENTS = 16

_BUSY = (MapperState.PROBING, MapperState.ASKING)


class PortMapMachine(Clockwork):
    """Keeps one port mapped.

    Args:
        now: the beginning.
        gateway_ip: whom to ask, without a zone; an IPv6 gateway is asked only by PCP.
        local_ip: our address towards it, of the same family.
        internal_port: the UDP port to map, 1 to 65535.
        entropy: returns that many random bytes.
        protocols: what may be tried.
    """

    def __init__(
        self,
        now: Instant,
        gateway_ip: str,
        local_ip: str,
        internal_port: int,
        entropy: Callable[[int], bytes],
        protocols: Iterable[MappingProtocol] = ALL_PROTOCOLS,
    ) -> None:
        self._internal_port = internal_port
        self._entropy = entropy
        self._protocols = frozenset(protocols)
        self._events: deque[MappingEvent] = deque(maxlen=MAX_EVENTS)
        self._is_released = False
        self.dropped = 0  # datagrams that were not for us, or unreadable
        self._pcp: PcpMapper | None = None
        self._natpmp: NatPmpMapper | None = None
        self._igd: IgdMapper | None = None
        self._mappers: tuple[Mapper, ...] = ()  # those three, as far as they are there
        self._round: tuple[Mapper, ...] = ()  # those that are tried now
        self._active: Mapper | None = None  # the one whose mapping counts
        self._reported: PortMapping | None = None
        self._fruitless_rounds = 0
        self._retry_at = Instant(inf)
        self._checked_at = Instant(-inf)
        self._connect(now, gateway_ip, local_ip)

    @property
    def mapping(self) -> PortMapping | None:
        """What is held now."""
        return self._reported

    @property
    def is_released(self) -> bool:
        """Whether a release has ended."""
        return self._is_released and all(
            mapper.status.state is not MapperState.RELEASING for mapper in self._mappers
        )

    @property
    def is_trying(self) -> bool:
        """Whether a round goes on."""
        return bool(self._round)

    def services_seen(self, now: Instant) -> frozenset[MappingProtocol]:
        """Return the protocols that the gateway answered in lately, used or not."""
        return frozenset(mapper.protocol for mapper in self._mappers if _is_seen(mapper, now))

    def failures(self) -> dict[MappingProtocol, Failure]:
        """Return why protocols that were tried hold no mapping."""
        pairs = ((mapper.protocol, mapper.status.failure) for mapper in self._mappers)
        return {protocol: failure for protocol, failure in pairs if failure is not None}

    def handle_datagram(self, now: Instant, data: bytes) -> None:
        """Take a datagram from the gateway's port mapping port."""
        try:
            is_ours = self._dispatch(now, data)
        except DecodeError:
            is_ours = False
        self.dropped += not is_ours
        self._settle(now)

    def handle_closed_port(self, now: Instant) -> None:
        """Note that nothing listens at the gateway's port mapping port."""
        for mapper in (self._pcp, self._natpmp):
            if mapper is not None:
                mapper.handle_closed()
        self._settle(now)

    def handle_search_answer(self, now: Instant, data: bytes, source_ip: str) -> None:
        """Take a datagram that came to the searching socket."""
        try:
            answer = ssdp.decode_search_answer(data)
        except DecodeError:
            self.dropped += 1
            return
        if self._igd is None or not self._igd.handle_search_answer(now, answer, source_ip):
            self.dropped += 1
        self._settle(now)

    def handle_response(self, now: Instant, number: int, status: int, body: bytes) -> None:
        """Take the answer to an HTTP request."""
        if self._igd is not None:
            self._igd.handle_response(now, number, status, body)
        self._settle(now)

    def handle_no_response(self, now: Instant, number: int, words: str) -> None:
        """Note that an HTTP request failed; `words` says how, printable."""
        if self._igd is not None:
            self._igd.handle_no_response(now, number, words)
        self._settle(now)

    def handle_network_change(self, now: Instant, gateway_ip: str, local_ip: str) -> None:
        """Begin again at another gateway, or with another address of ours."""
        if self._is_released:
            return
        lost = self._reported
        self._connect(now, gateway_ip, local_ip)
        if lost is not None:
            self._events.append(MappingLost(lost, Failure(Reason.NETWORK_CHANGED)))

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due at `now`."""
        for mapper in self._mappers:
            mapper.handle_timeout(now)
        if now >= self._retry_at:
            self._start_round(now, self._mappers)
        self._settle(now)

    def check(self, now: Instant) -> None:
        """Ask whether the mapping still exists, or try again: the network gave cause for doubt."""
        if self._is_released or now < self._checked_at + CHECK_INTERVAL_S:
            return
        self._checked_at = now
        if self._active is not None:
            self._active.renew(now)
        elif not self._round:
            self._start_round(now, self._mappers)
        self._settle(now)

    def release(self, now: Instant) -> None:
        """Delete what was made, and map nothing any more; there is no event for it."""
        if self._is_released:
            return
        self._is_released = True
        self._active = self._reported = None
        self._round = ()
        self._retry_at = Instant(inf)
        for mapper in self._mappers:
            mapper.release(now)

    def datagrams_to_send(self) -> list[bytes]:
        """Take what is to be sent to the gateway's port mapping port."""
        mappers = (self._pcp, self._natpmp)
        return [data for each in mappers if each is not None for data in each.datagrams_to_send()]

    def searches_to_send(self, now: Instant) -> list[Search]:
        """Take the searches that are due."""
        return [] if self._igd is None else self._igd.searches_to_send(now)

    def requests_to_send(self) -> list[HttpRequest]:
        """Take the HTTP requests to carry out, at most one at a time."""
        return [] if self._igd is None else self._igd.requests_to_send()

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` is due; ask after sending."""
        due_at = min((mapper.next_timeout() for mapper in self._mappers), default=Instant(inf))
        # A head start ends when the mapper that has it repeats its question for the first time.
        due_at = min(due_at, self._retry_at)
        return None if isinf(due_at) else due_at

    def next_event(self) -> MappingEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    def _connect(self, now: Instant, gateway_ip: str, local_ip: str) -> None:
        """Begin with nothing known of the gateway."""
        protocols = self._protocols
        if ip_address(gateway_ip).version == 6:
            protocols &= {MappingProtocol.PCP}
        port, entropy = self._internal_port, self._entropy
        self._pcp = self._natpmp = self._igd = None
        if MappingProtocol.PCP in protocols:
            self._pcp = PcpMapper(local_ip, port, entropy)
        if MappingProtocol.NAT_PMP in protocols:
            self._natpmp = NatPmpMapper(port, entropy)
        if MappingProtocol.UPNP in protocols:
            self._igd = IgdMapper(gateway_ip, local_ip, port, entropy)
        every = (self._pcp, self._natpmp, self._igd)
        self._mappers = tuple(each for each in every if each is not None)
        self._active = self._reported = None
        self._fruitless_rounds = 0
        self._checked_at = Instant(-inf)
        self._start_round(now, self._mappers)
        if not self._mappers:
            self._events.append(NoMapping({}))

    def _dispatch(self, now: Instant, data: bytes) -> bool:
        """Hand a datagram to its protocol; a complaint about the version reveals the other."""
        version = data[0] if data else pcp.VERSION
        if version == natpmp.VERSION:
            answer = natpmp.decode_response(data)
            unsupported = natpmp.Result.UNSUPPORTED_VERSION
            if isinstance(answer, natpmp.Refusal) and answer.result == unsupported:
                return self._note_unsupported(self._pcp)
            return self._natpmp is not None and self._natpmp.handle_response(now, answer)
        response = pcp.decode_response(data)
        is_ours = self._pcp is not None and self._pcp.handle_response(now, response)
        if not is_ours and response.result == pcp.Result.UNSUPPORTED_VERSION:
            return self._note_unsupported(self._natpmp)
        return is_ours

    @staticmethod
    def _note_unsupported(mapper: PcpMapper | NatPmpMapper | None) -> bool:
        if mapper is not None:
            mapper.handle_unsupported()
        return mapper is not None

    def _start_round(self, now: Instant, mappers: tuple[Mapper, ...]) -> None:
        self._retry_at = Instant(inf)
        self._round = mappers
        for mapper in mappers:
            mapper.start(now)

    def _settle(self, now: Instant) -> None:
        """Draw the conclusions from whatever the mappers have come to."""
        if self._is_released:
            return
        if self._active is not None:
            self._follow_active(now, self._active)
        if self._active is not None:
            return
        if not self._round and any(m.status.state is MapperState.READY for m in self._mappers):
            self._round = self._mappers  # a device that answered after the round was over
        if self._round:
            self._advance_round(now)

    def _follow_active(self, now: Instant, active: Mapper) -> None:
        loss = active.status.take_loss()
        if loss is not None and self._reported is not None:
            self._events.append(MappingLost(self._reported, loss))
            self._reported = None
        if active.status.mapping is not None:
            self._report(active.status.mapping)
            return
        self._active = None
        seen = tuple(mapper for mapper in self._mappers if _is_seen(mapper, now))
        self._start_round(now, seen or self._mappers)

    def _report(self, mapping: PortMapping) -> None:
        if mapping != self._reported:
            self._reported = mapping
            self._events.append(MappingMade(mapping))

    def _advance_round(self, now: Instant) -> None:
        """Let the first protocol that has a chance go on."""
        for mapper in self._round:
            status = mapper.status
            if status.state is MapperState.READY:
                mapper.proceed(now)
            if status.state is MapperState.HOLDING:
                self._adopt(mapper)
                return
            if status.state in _BUSY and now < mapper.head_start_ends_at:
                return
        if any(mapper.status.state in _BUSY for mapper in self._round):
            return
        if len(self._round) < len(self._mappers):
            self._start_round(now, self._mappers)
            self._advance_round(now)
            return
        self._round = ()
        self._events.append(NoMapping(self.failures()))
        delay_s = _retry_delay(self._fruitless_rounds)
        self._fruitless_rounds += 1
        self._retry_at = Instant(now + delay_s)

    def _adopt(self, mapper: Mapper) -> None:
        self._round = ()
        self._fruitless_rounds = 0
        self._retry_at = Instant(inf)
        self._active = mapper
        for other in self._mappers:
            if other is not mapper:
                other.stand_down()
        mapper.status.take_loss()
        if mapper.status.mapping is not None:
            self._report(mapper.status.mapping)


def _is_seen(mapper: Mapper, now: Instant) -> bool:
    seen_at = mapper.status.seen_at
    return seen_at is not None and now < seen_at + SERVICE_TRUSTED_S


def _retry_delay(fruitless_rounds: int) -> Seconds:
    return min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(fruitless_rounds, 10))
