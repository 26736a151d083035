"""NAT-PMP: the gateway's external address, and one mapping of one port, kept alive.

    address request --> READY --> map request --> granted: renewed at half of its life, and the
                                                  address asked for again; deleted by lifetime 0

Source: RFC 6886 section 3.  This module knows neither the other protocols nor sockets.
"""

from collections.abc import Callable
from enum import IntEnum

from tunnel.proto.portmap.mapper_datagram import DatagramMapper
from tunnel.proto.portmap.mapping import (
    LIFETIME_S,
    MIN_EXTERNAL_PORT,
    EpochWatch,
    Failure,
    MapperState,
    MappingProtocol,
    PortMapping,
    Reason,
    is_usable,
    result_failure,
    suggested_port,
)
from tunnel.units import Instant
from tunnel.wire import natpmp

# Fixed by the protocol: RFC 6886 section 3.6.
EPOCH_TOLERANCE_S = 2.0
EPOCH_DRIFT = 1 / 8

_REASON_BY_RESULT: dict[IntEnum, Reason] = {
    natpmp.Result.UNSUPPORTED_VERSION: Reason.NOT_OFFERED,
    natpmp.Result.NOT_AUTHORIZED: Reason.NOT_ALLOWED,
    natpmp.Result.NETWORK_FAILURE: Reason.NO_EXTERNAL_ADDRESS,
    natpmp.Result.OUT_OF_RESOURCES: Reason.NO_RESOURCES,
    natpmp.Result.UNSUPPORTED_OPCODE: Reason.NOT_OFFERED,
}


class NatPmpMapper(DatagramMapper):
    """Asks for, renews and deletes one mapping.

    Args:
        internal_port: what is to be mapped.
        entropy: returns that many random bytes.
    """

    protocol = MappingProtocol.NAT_PMP

    def __init__(self, internal_port: int, entropy: Callable[[int], bytes]) -> None:
        super().__init__()
        self._internal_port = internal_port
        self._suggested_port = suggested_port(internal_port, entropy)
        self._external_ip = ""
        self._epoch = EpochWatch(EPOCH_TOLERANCE_S, EPOCH_DRIFT)

    def start(self, now: Instant) -> None:
        """Ask for the external address, which shows whether there is such a service."""
        self.status.state = MapperState.PROBING
        self._give_head_start(now)
        self._exchange.start(now, natpmp.encode_address_request())

    def proceed(self, now: Instant) -> None:
        """Ask for the mapping."""
        self.status.state = MapperState.ASKING
        self._give_head_start(now)
        self._ask(now)

    def stand_down(self) -> None:
        """Stop: another protocol holds a mapping."""
        if self.status.state is not MapperState.PROBING:  # its answer still tells what there is
            self._exchange.stop()
        self.status.drop(MapperState.IDLE)

    def release(self, now: Instant) -> None:
        """Delete what may exist; only what was asked for, and so from a gateway that answers."""
        self._exchange.stop()
        self.status.drop(MapperState.IDLE)
        if self._may_exist:
            self._start_release(now, natpmp.encode_map_request(self._internal_port, 0, 0))

    def handle_response(self, now: Instant, response: natpmp.Response) -> bool:
        """Take an answer of the gateway; tell whether it was one for us."""
        match response:
            case natpmp.MapResponse() if response.internal_port != self._internal_port:
                return False
            case natpmp.Refusal() if not self._exchange.is_running:
                return False
        self.status.seen_at = now
        if self._epoch.note(now, response.epoch_s):
            self._handle_restart(response)
        match response:
            case natpmp.AddressResponse():
                self._handle_address(response.external_ip)
            case natpmp.MapResponse():
                self._handle_grant(now, response)
            case natpmp.Refusal():
                self._handle_refusal(response)
        return True

    def _encode_request(self) -> bytes:
        return natpmp.encode_map_request(self._internal_port, self._suggested_port, LIFETIME_S)

    def _handle_restart(self, response: natpmp.Response) -> None:
        """Note that the gateway forgot the mapping; the answer at hand may have made it again."""
        if isinstance(response, natpmp.MapResponse):
            self.status.note_restart()
        elif self.status.mapping is not None:
            self._may_exist = False
            self._fail(Failure(Reason.GATEWAY_RESTARTED))

    def _handle_address(self, external_ip: str) -> None:
        if self.status.state in (MapperState.PROBING, MapperState.IDLE):
            self._exchange.stop()
        if not is_usable(external_ip):
            if self.status.state in (MapperState.PROBING, MapperState.HOLDING):
                self._fail(Failure(Reason.NO_EXTERNAL_ADDRESS, external_ip))
            return
        self._external_ip = external_ip
        held = self.status.mapping
        if self.status.state is MapperState.PROBING:
            self.status.state = MapperState.READY
        elif held is not None and held.external_ip != external_ip:
            place = (external_ip, held.external_port)
            self.status.mapping = PortMapping(self.protocol, *place, held.lifetime_s)

    def _handle_grant(self, now: Instant, granted: natpmp.MapResponse) -> None:
        if self.status.state is MapperState.RELEASING:
            if granted.lifetime_s == 0:
                self._finish_release()
            return
        if self.status.state not in (MapperState.ASKING, MapperState.HOLDING):
            return  # late; it stays noted as one that may exist
        if granted.lifetime_s == 0:
            self._may_exist = False
            self._fail(Failure(Reason.ERROR, "a lifetime of 0"))
        elif granted.external_port < MIN_EXTERNAL_PORT:
            self._fail(Failure(Reason.PORT_UNUSABLE, f"port {granted.external_port}"))
            self._exchange.send_once(natpmp.encode_map_request(self._internal_port, 0, 0))
        else:
            is_renewal = self.status.mapping is not None
            self._exchange.stop()
            self._suggested_port = granted.external_port
            place = (self._external_ip, granted.external_port)
            self.status.hold(now, PortMapping(self.protocol, *place, granted.lifetime_s))
            if is_renewal:
                self._exchange.send_once(natpmp.encode_address_request())

    def _handle_refusal(self, refusal: natpmp.Refusal) -> None:
        awaited = natpmp.OPCODE_MAP_UDP
        if self.status.state in (MapperState.PROBING, MapperState.IDLE):
            awaited = natpmp.OPCODE_ADDRESS
        if refusal.opcode != awaited:
            return
        if self.status.state is MapperState.RELEASING:
            self._finish_release()
            return
        if awaited == natpmp.OPCODE_MAP_UDP:
            self._may_exist = self.status.mapping is not None
        if self.status.state is MapperState.IDLE:
            self._exchange.stop()
        else:
            self._fail(result_failure(refusal.result, _REASON_BY_RESULT))
