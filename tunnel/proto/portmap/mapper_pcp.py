"""PCP: one mapping of one port, kept alive.

    MAP(nonce, lifetime 7200) --> granted: renewed at half of its life, deleted by lifetime 0
                              --> refused: not asked again before the refusal's own life is over

The nonce is drawn once and proves that renewals and the deletion are ours.  Source: RFC 6887
sections 8 and 11.  This module knows neither the other protocols nor sockets.
"""

from collections.abc import Callable
from enum import IntEnum
from math import inf

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
from tunnel.wire import pcp

# Fixed by the protocol: RFC 6887 section 8.5.
EPOCH_TOLERANCE_S = 2.0
EPOCH_DRIFT = 1 / 16
# Chosen: a refusal that claims to hold longer is not believed.
MAX_REFUSAL_S = 1800.0

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - a message's word for any address, nothing is bound
_ANY_IPV6 = "::"
_REASON_BY_RESULT: dict[IntEnum, Reason] = {
    pcp.Result.UNSUPPORTED_VERSION: Reason.NOT_OFFERED,
    pcp.Result.NOT_AUTHORIZED: Reason.NOT_ALLOWED,
    pcp.Result.UNSUPPORTED_OPCODE: Reason.NOT_OFFERED,
    pcp.Result.MALFORMED_REQUEST: Reason.ERROR,
    pcp.Result.NETWORK_FAILURE: Reason.NO_EXTERNAL_ADDRESS,
    pcp.Result.NO_RESOURCES: Reason.NO_RESOURCES,
    pcp.Result.UNSUPPORTED_PROTOCOL: Reason.NOT_OFFERED,
    pcp.Result.USER_EXCEEDED_QUOTA: Reason.NO_RESOURCES,
    pcp.Result.CANNOT_PROVIDE_EXTERNAL: Reason.PORT_TAKEN,
    pcp.Result.ADDRESS_MISMATCH: Reason.ANOTHER_NAT,
}


class PcpMapper(DatagramMapper):
    """Asks for, renews and deletes one mapping.

    Args:
        local_ip: our address towards the gateway, IPv4 or IPv6.
        internal_port: what is to be mapped.
        entropy: returns that many random bytes.
    """

    protocol = MappingProtocol.PCP

    def __init__(self, local_ip: str, internal_port: int, entropy: Callable[[int], bytes]) -> None:
        super().__init__()
        self._local_ip = local_ip
        self._internal_port = internal_port
        self._nonce = entropy(pcp.NONCE_SIZE)
        self._suggested_port = suggested_port(internal_port, entropy)
        self._epoch = EpochWatch(EPOCH_TOLERANCE_S, EPOCH_DRIFT)
        self._refused_until = Instant(-inf)

    def start(self, now: Instant) -> None:
        """Ask for the mapping, unless a refusal still holds."""
        if now < self._refused_until and self.status.failure is not None:
            self.status.fail(self.status.failure)
            return
        self.status.state = MapperState.ASKING
        self._give_head_start(now)
        self._ask(now)

    def proceed(self, now: Instant) -> None:
        """Do nothing: to ask is to probe."""

    def stand_down(self) -> None:
        """Stop: another protocol holds a mapping."""
        self._exchange.stop()
        self.status.drop(MapperState.IDLE)

    def release(self, now: Instant) -> None:
        """Delete what may exist; a gateway that never answered is not waited for."""
        self.stand_down()
        if not self._may_exist:
            return
        if self.status.seen_at is None:
            self._exchange.send_once(self._encode_deletion())
            self._may_exist = False
        else:
            self._start_release(now, self._encode_deletion())

    def handle_response(self, now: Instant, response: pcp.Response) -> bool:
        """Take an answer of the gateway; tell whether it was one for us."""
        mapping = response.mapping
        if response.opcode != pcp.OPCODE_MAP or (mapping and not self._is_ours(mapping)):
            return False
        if mapping is None and not self._exchange.is_running:
            return False
        self.status.seen_at = now
        if self._epoch.note(now, response.epoch_s):
            self.status.note_restart()
        if self.status.state is MapperState.RELEASING:
            self._finish_release()
        elif response.result != pcp.Result.SUCCESS:
            self._handle_refusal(now, response)
        elif mapping is not None:
            self._handle_grant(now, mapping, response.lifetime_s)
        return True

    def _encode_request(self) -> bytes:
        held = self.status.mapping
        if held is not None:
            return self._encode(held.external_ip, held.external_port, LIFETIME_S)
        return self._encode(self._any_ip(), self._suggested_port, LIFETIME_S)

    def _encode_deletion(self) -> bytes:
        return self._encode(self._any_ip(), 0, 0)

    def _encode(self, address: str, port: int, lifetime_s: int) -> bytes:
        body = pcp.MapBody(self._nonce, pcp.PROTOCOL_UDP, self._internal_port, port, address)
        return pcp.encode_map_request(self._local_ip, body, lifetime_s)

    def _any_ip(self) -> str:
        return _ANY_IPV6 if ":" in self._local_ip else _ANY_IPV4

    def _is_ours(self, mapping: pcp.MapBody) -> bool:
        ours = (self._nonce, pcp.PROTOCOL_UDP, self._internal_port)
        return (mapping.nonce, mapping.protocol, mapping.internal_port) == ours

    def _handle_grant(self, now: Instant, granted: pcp.MapBody, lifetime_s: int) -> None:
        if self.status.state not in (MapperState.ASKING, MapperState.HOLDING):
            return  # late; it stays noted as one that may exist
        if lifetime_s == 0:
            self._may_exist = False
            self._fail(Failure(Reason.ERROR, "a lifetime of 0"))
        elif granted.external_port < MIN_EXTERNAL_PORT:
            self._refuse(Failure(Reason.PORT_UNUSABLE, f"port {granted.external_port}"))
        elif not is_usable(granted.external_ip):
            self._refuse(Failure(Reason.NO_EXTERNAL_ADDRESS, granted.external_ip))
        else:
            self._exchange.stop()
            self._suggested_port = granted.external_port
            place = (granted.external_ip, granted.external_port)
            self.status.hold(now, PortMapping(self.protocol, *place, lifetime_s))

    def _handle_refusal(self, now: Instant, response: pcp.Response) -> None:
        if not self._exchange.is_running:
            return
        self._may_exist = self.status.mapping is not None
        refusal_s = min(response.lifetime_s, MAX_REFUSAL_S)
        self._refused_until = Instant(now + refusal_s)
        self._fail(result_failure(response.result, _REASON_BY_RESULT))

    def _refuse(self, failure: Failure) -> None:
        """Give back a mapping that we do not want."""
        self._fail(failure)
        self._exchange.send_once(self._encode_deletion())
