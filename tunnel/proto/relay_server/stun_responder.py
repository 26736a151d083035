"""Which STUN requests are answered, sans-IO.

UDP sources can be forged, so a server that answers everything helps to flood others.  Every source
network has an allowance; plain RFC 8489 requests that are shorter than the answer, which would
amplify, have a small one, and one for all of them together.  Source: RFC 8489 section 16.1.
"""

from tunnel.errors import DecodeError
from tunnel.proto.relay_server.source_network import plain_address, source_network
from tunnel.proto.token_bucket import Allowance, Buckets, TokenBucket
from tunnel.units import Instant
from tunnel.wire import stun

# Chosen: a client asks a few times a minute; a whole office behind one address still fits.
NETWORK_ALLOWANCE = Allowance(rate=100.0, burst=200.0)
# Chosen: for requests whose answer is longer than they are (up to 2.2 times).
AMPLIFYING_ALLOWANCE = Allowance(rate=5.0, burst=20.0)
AMPLIFYING_TOTAL = Allowance(rate=200.0, burst=400.0)
# Chosen: a few hundred KiB when full.
MAX_NETWORKS = 4096
# Chosen: no request that is worth an answer is longer; MTU of Ethernet.
MAX_REQUEST_SIZE = 1500


class StunResponder:
    """Answers binding requests of both forms within their source network's allowance."""

    def __init__(self, now: Instant) -> None:
        self._networks: Buckets[bytes] = Buckets(NETWORK_ALLOWANCE, MAX_NETWORKS)
        self._amplifying: Buckets[bytes] = Buckets(AMPLIFYING_ALLOWANCE, MAX_NETWORKS)
        self._amplifying_total = TokenBucket(AMPLIFYING_TOTAL, now)
        self.answered = 0
        self.dropped_malformed = 0
        self.dropped_rate = 0

    def answer(self, now: Instant, data: bytes, address: str, port: int) -> bytes | None:
        """Return the answer to a datagram from `address` and `port`, None to stay silent."""
        try:
            request = stun.decode_binding_request(data)
            if request.change:
                raise DecodeError("the answer would come from an address that this server lacks")
            source = plain_address(address)
        except (DecodeError, ValueError):
            self.dropped_malformed += 1
            return None
        answer = stun.encode_binding_response(request.transaction_id, source, port)
        amplifies = not request.is_tailscale and len(answer) > len(data)
        if not self._is_allowed(now, source_network(source), amplifies=amplifies):
            self.dropped_rate += 1
            return None
        self.answered += 1
        return answer

    def _is_allowed(self, now: Instant, network: bytes, *, amplifies: bool) -> bool:
        if not self._networks.try_take(now, network):
            return False
        if not amplifies:
            return True
        return self._amplifying.try_take(now, network) and self._amplifying_total.try_take(now)
