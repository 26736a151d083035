"""UPnP: finding the gateway's service, and one mapping of one port, kept alive.

    search --> READY --> description --> an external address --> AddPortMapping --> HOLDING
                                         of the services: the      | conflict: another
                                         first public one, else    |   external port
                                         the first there is        + 402, 725: for ever

One HTTP request is out at a time; whoever carries it out answers each with `handle_response` or
`handle_no_response`.  What was added is deleted one by one at the end, also what may have been
added.  Sources: WANIPConnection:1 and :2; tailscale net/portmapper/upnp.go.  This module knows
neither the other protocols nor sockets.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from tunnel.errors import DecodeError
from tunnel.proto.portmap.igd_calls import Add, AskAddress, Delete, Describe, HttpRequest, Step
from tunnel.proto.portmap.igd_search import IgdSearch, Search
from tunnel.proto.portmap.mapping import (
    LIFETIME_S,
    MIN_EXTERNAL_PORT,
    Failure,
    MapperState,
    MapperStatus,
    MappingProtocol,
    PortMapping,
    Reason,
    is_public,
    is_usable,
    random_port,
    suggested_port,
)
from tunnel.units import Instant
from tunnel.wire import igd, ssdp
from tunnel.wire.igd import ErrorCode

# Chosen: how long a service that was found is used without a new search.
SERVICE_TRUSTED_S = 600.0
# Chosen: an unlucky gateway refuses the lease, any port, and some ports.
MAX_ADD_CALLS = 6

HTTP_OK = 200

_WITHOUT_ANY_PORT = {
    ErrorCode.INVALID_ACTION,
    ErrorCode.ACTION_FAILED,
    ErrorCode.ACTION_NOT_IMPLEMENTED,
    ErrorCode.NOT_AUTHORIZED,
}
_WITHOUT_LEASE = {ErrorCode.INVALID_ARGUMENTS, ErrorCode.ONLY_PERMANENT_LEASES}
_CONFLICT = {ErrorCode.CONFLICT_IN_MAPPING_ENTRY, ErrorCode.CONFLICT_WITH_OTHER_MECHANISMS}
_REASON_BY_CODE: dict[int, Reason] = {
    ErrorCode.INVALID_ACTION: Reason.NOT_OFFERED,
    ErrorCode.ACTION_NOT_IMPLEMENTED: Reason.NOT_OFFERED,
    ErrorCode.NOT_AUTHORIZED: Reason.NOT_ALLOWED,
    ErrorCode.CONFLICT_IN_MAPPING_ENTRY: Reason.PORT_TAKEN,
    ErrorCode.NO_PORT_MAPS_AVAILABLE: Reason.NO_RESOURCES,
    ErrorCode.CONFLICT_WITH_OTHER_MECHANISMS: Reason.PORT_TAKEN,
}


class IgdMapper:
    """Finds a service, and asks for, renews and deletes one mapping.

    Args:
        gateway_ip: the only host that is believed.
        local_ip: our address towards it.
        internal_port: what is to be mapped.
        entropy: returns that many random bytes.
    """

    protocol = MappingProtocol.UPNP

    def __init__(
        self,
        gateway_ip: str,
        local_ip: str,
        internal_port: int,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.status = MapperStatus()
        self.head_start_ends_at = Instant(-inf)  # nobody waits for UPnP
        self._local_ip = local_ip
        self._internal_port = internal_port
        self._entropy = entropy
        self._external_port = suggested_port(internal_port, entropy)
        self._lease_s = LIFETIME_S
        self._search = IgdSearch(gateway_ip)
        self._services: deque[igd.Service] = deque()
        self._service: igd.Service | None = None
        self._external_ip = ""
        self._add_calls = 0
        self._uses_any_port = True
        self._last_failure = Failure(Reason.NOT_OFFERED)
        self._added: dict[int, igd.Service] = {}  # external ports that may exist at the gateway
        self._number = 0
        self._pending: Step | None = None
        self._requests: list[HttpRequest] = []

    def start(self, now: Instant) -> None:
        """Search for a service, unless one was found not long ago."""
        self._services.clear()
        seen_at = self.status.seen_at
        is_trusted = seen_at is not None and now < seen_at + SERVICE_TRUSTED_S
        if self._service is not None and is_trusted:
            self._services.append(self._service)
            self.status.state = MapperState.READY
            return
        self._search.start(now)
        self.status.state = MapperState.PROBING

    def proceed(self, now: Instant) -> None:
        """Ask for the mapping."""
        del now
        self._service = None
        self._external_ip = ""
        self._add_calls = 0
        self._lease_s = LIFETIME_S
        self._uses_any_port = True
        self._last_failure = Failure(Reason.NOT_OFFERED)
        self.status.state = MapperState.ASKING
        if self._pending is None:
            self._continue()

    def stand_down(self) -> None:
        """Stop: another protocol holds a mapping; what is out is still accounted for."""
        self._search.stop()
        self.status.drop(MapperState.IDLE)

    def renew(self, now: Instant) -> None:
        """Ask for the mapping that is held once more, and for the external address."""
        del now
        if self.status.mapping is not None and self._pending is None and self._service:
            self._request(AskAddress(self._service))

    def release(self, now: Instant) -> None:
        """Delete everything that may exist; the answer to a mere question is not waited for."""
        del now
        self._search.stop()
        self.status.drop(MapperState.RELEASING)
        if isinstance(self._pending, Describe | AskAddress):
            self._number += 1  # so that it is ignored if it comes
            self._pending = None
            self._requests.clear()
        if self._pending is None:
            self._delete_next()

    def handle_search_answer(self, now: Instant, answer: ssdp.SearchAnswer, source_ip: str) -> bool:
        """Take a device's answer; tell whether it is one of the gateway."""
        if not self._search.handle_answer(answer, source_ip):
            return False
        self.status.seen_at = now
        failure = self.status.failure
        is_late = failure is not None and failure.reason is Reason.SILENT
        state = self.status.state
        is_open = state is MapperState.PROBING or (state is MapperState.FAILED and is_late)
        if is_open and self._search.has_locations:
            self.status.state = MapperState.READY
        return True

    def handle_response(self, now: Instant, number: int, status: int, body: bytes) -> None:
        """Take the answer to a request; one that is not awaited is ignored."""
        step = self._take_step(number)
        if step is None:
            return
        self.status.seen_at = now
        try:
            if isinstance(step, Describe):
                self._handle_description(step, status, body)
            else:
                self._handle_answer(now, step, igd.decode_answer(body))
        except DecodeError as error:
            detail = str(error) if status == HTTP_OK else f"HTTP {status}"
            self._handle_useless(now, step, Failure(Reason.UNREADABLE, detail))

    def handle_no_response(self, now: Instant, number: int, words: str) -> None:
        """Note that a request was not answered; `words` says how, printable."""
        step = self._take_step(number)
        if step is not None:
            self._handle_useless(now, step, Failure(Reason.SILENT, words))

    def handle_timeout(self, now: Instant) -> None:
        """Give the search or the lease up, or renew, as is due."""
        if self._search.is_over(now):
            self._search.stop()
            self._service = None
            self.status.fail(Failure(Reason.SILENT))
        lease = self.status.lease
        if lease is None:
            return
        if now >= lease.expires_at:
            self.status.fail(Failure(Reason.EXPIRED))
        elif now >= lease.renew_at:
            self.renew(now)

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` is due, or a search is to be sent."""
        due_at = self._search.next_timeout()
        lease = self.status.lease
        if lease is not None:
            due_at = min(due_at, lease.expires_at if self._pending else lease.next_timeout())
        return due_at

    def searches_to_send(self, now: Instant) -> list[Search]:
        """Take the searches that are due."""
        return self._search.searches_to_send(now)

    def requests_to_send(self) -> list[HttpRequest]:
        """Take the HTTP request to carry out, at most one."""
        requests, self._requests = self._requests, []
        return requests

    def _request(self, step: Step) -> None:
        self._number += 1
        self._pending = step
        self._requests.append(step.request(self._number))

    def _take_step(self, number: int) -> Step | None:
        if number != self._number:
            return None
        step, self._pending = self._pending, None
        return step

    def _continue(self) -> None:
        """Do what comes next until a mapping is held or nothing is left to try."""
        if self.status.state is MapperState.RELEASING:
            self._delete_next()
        elif self.status.state is not MapperState.ASKING:
            return
        elif self._services:
            self._request(AskAddress(self._services.popleft()))
        elif self._search.has_locations:
            self._request(Describe(self._search.take_location()))
        elif self._service is not None:
            self._add(self._service)
        else:
            self.status.fail(self._last_failure)

    def _handle_description(self, step: Describe, status: int, body: bytes) -> None:
        if status != HTTP_OK:
            raise DecodeError("no description")
        services = igd.decode_description(body, step.location)
        self._services.extend(services)
        if not services:
            self._last_failure = Failure(Reason.NOT_OFFERED)
        self._continue()

    def _handle_answer(self, now: Instant, step: Step, answer: igd.Answer | igd.Fault) -> None:
        match step, answer:
            case Delete(), _:
                self._added.pop(step.external_port, None)
                self._continue()
            case AskAddress(), igd.Answer():
                self._handle_address(step.service, igd.external_address(answer))
            case Add(), igd.Answer():
                self._handle_added(now, step, answer)
            case Add(), igd.Fault():
                self._added.pop(step.mapping.external_port, None)
                self._handle_refused(step, answer)
            case _, igd.Fault():
                self._handle_useless(now, step, _failure(answer))

    def _handle_address(self, service: igd.Service, external_ip: str) -> None:
        if self.status.state is MapperState.HOLDING:
            if is_usable(external_ip):
                self._external_ip = external_ip
                self._add(service)
            else:
                self.status.fail(Failure(Reason.NO_EXTERNAL_ADDRESS, external_ip))
        elif is_public(external_ip):
            self._external_ip, self._service = external_ip, service
            self._services.clear()
            self._search.forget_locations()
            self._continue()
        else:
            if is_usable(external_ip) and self._service is None:
                self._external_ip, self._service = external_ip, service
            self._last_failure = Failure(Reason.NO_EXTERNAL_ADDRESS, external_ip)
            self._continue()

    def _add(self, service: igd.Service) -> None:
        if self.status.state is MapperState.ASKING:
            if self._add_calls == MAX_ADD_CALLS:
                self.status.fail(self._last_failure)
                return
            self._add_calls += 1
        # A renewal names the port that is held, so it never needs another one.
        is_renewal = self.status.mapping is not None
        any_port = service.can_choose_port and self._uses_any_port and not is_renewal
        ports = (self._external_port, self._internal_port)
        mapping = igd.PortMapping(*ports, self._local_ip, self._lease_s)
        # Noted before the answer: what may have been made must be deleted.
        self._added[self._external_port] = service
        self._request(Add(service, mapping, any_port))

    def _handle_added(self, now: Instant, step: Add, answer: igd.Answer) -> None:
        port = step.mapping.external_port
        if step.any_port:
            port = igd.reserved_port(answer)
            del self._added[step.mapping.external_port]
            self._added[port] = step.service
        if self.status.state not in (MapperState.ASKING, MapperState.HOLDING):
            self._continue()
        elif port < MIN_EXTERNAL_PORT:
            self.status.fail(Failure(Reason.PORT_UNUSABLE, f"port {port}"))
            self._request(Delete(step.service, port))
        else:
            self._external_port = port
            lifetime_s = step.mapping.lease_s or None
            place = (self._external_ip, port)
            self.status.hold(now, PortMapping(self.protocol, *place, lifetime_s))

    def _handle_refused(self, step: Add, fault: igd.Fault) -> None:
        self._last_failure = _failure(fault)
        if self.status.state is MapperState.HOLDING:
            self.status.fail(self._last_failure)
            return
        if step.any_port and fault.code in _WITHOUT_ANY_PORT:
            self._uses_any_port = False
        elif self._lease_s and fault.code in _WITHOUT_LEASE:
            self._lease_s = igd.PERMANENT_LEASE_S
        elif fault.code in _CONFLICT:
            self._external_port = random_port(self._entropy)
        elif fault.code == ErrorCode.SAME_PORT_VALUES_REQUIRED and self._can_use_same_port():
            self._external_port = self._internal_port
        else:
            self._service = None  # nothing else to try with this one
        self._continue()

    def _can_use_same_port(self) -> bool:
        return self._external_port != self._internal_port >= MIN_EXTERNAL_PORT

    def _handle_useless(self, now: Instant, step: Step, failure: Failure) -> None:
        """Go on after an answer that does not help, or none."""
        self._last_failure = failure
        if isinstance(step, Delete):
            self._added.pop(step.external_port, None)
        if self.status.lease is not None:
            self.status.lease.postpone(now)
            return
        if isinstance(step, Add):
            self._service = None
        self._continue()

    def _delete_next(self) -> None:
        if not self._added:
            self.status.drop(MapperState.IDLE)
            return
        port, service = next(iter(self._added.items()))
        self._request(Delete(service, port))


def _failure(fault: igd.Fault) -> Failure:
    reason = _REASON_BY_CODE.get(fault.code, Reason.ERROR)
    return Failure(reason, f"{fault.code} {fault.words}".rstrip())
