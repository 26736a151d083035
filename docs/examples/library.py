"""Two endpoints of the library move bytes, over a relay of their own and then directly by UDP."""

import os

from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.net.endpoint import ClaimerEndpoint, IssuerEndpoint, OneSecret, Relays
from tunnel.net.relay_client.regions import parse_relay_url
from tunnel.net.relay_server.server import RelayLimits, RelayServer

relay_keys, noise, derp = (KeyPair.from_secret(os.urandom(32)) for _ in range(3))
relay = RelayServer(("127.0.0.1", 0), relay_keys, None, None, RelayLimits(), "")
relay.start()
relays = Relays((parse_relay_url(f"http://127.0.0.1:{relay.node.derp_port}?stun=off"),))
gate = OneSecret(os.urandom(16))
invitation = gate.invitation(NoiseKey(noise.public), DerpKey(derp.public))

with IssuerEndpoint(noise, derp, gate) as issuer, ClaimerEndpoint() as claimer:
    issuer.open(relays)
    stream = claimer.claim(invitation, relays).open_stream()
    stream.write(b"hello")
    stream.end()
    received = issuer.accept_link().accept_stream()
    while chunks := received.read():
        print(b"".join(chunks).decode())
relay.stop()
