"""Records a claim that comes back after its token has expired, with everything it was made from.

    python tests/vectors/record_resumption.py

Seeds are fixed, so today's code writes the same bytes.  Read again, with the document alone, by
tests/unit/resuming_claim_reader.py.
"""

import json
from hashlib import blake2b
from pathlib import Path

from derphole.speech.messages import Resumption, encode
from derphole.token.admission import ClaimHeader, SessionGate, claim_header, encode_header
from derphole.token.grant import Capability, Grant, Mint
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.proto.link.parameters import Feature
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity
from tunnel.proto.meeting.handshake import Meeting
from tunnel.units import Instant

FILE = Path(__file__).parent / "resuming_claim.json"

SEED = bytes(range(32))
GRANT = Grant(bytes.fromhex("b0b1b2b3b4b5b6b7"), 1_900_003_600, Capability.SHARE, "comes back")


def drawn(label: str, size: int) -> bytes:
    """Return bytes that are always the same."""
    return blake2b(label.encode(), digest_size=size).digest()


def record() -> str:
    """Return the record as the text of its file."""
    keys = Mint.from_seed(SEED).keys
    claimer_derp = KeyPair.from_secret(drawn("claimer derp", 32))
    instance = drawn("claimer instance", 16)
    bare = encode_header(ClaimHeader(GRANT))
    secret = SessionGate(keys, GRANT).resumptions.hand_out(instance)
    resuming = claim_header(GRANT, secret)
    meeting = Meeting(
        NoiseKey(keys.noise.public), DerpKey(keys.derp.public), DerpKey(claimer_derp.public)
    )
    bare_header = claim_header(GRANT)
    identity = ClaimerIdentity(meeting, bare_header, b"\0" * 16, instance, Feature(0), 3)
    counts: list[int] = []

    def entropy(size: int) -> bytes:
        counts.append(size)
        return drawn(f"claimer {len(counts)}", size)

    claimer = Claimer(Instant(0), identity, [0], entropy, lambda _: False, lambda *_: None)
    claimer.claim_again(Instant(1), resuming, secret)
    (packet,) = claimer.packets_to_send(Instant(1))
    ephemeral = KeyPair.from_secret(drawn("claimer 4", 32))
    document = {
        "written_by": "tests/vectors/record_resumption.py",
        "seed": SEED.hex(),
        "grant": {
            "id": GRANT.id.hex(),
            "expires_at": GRANT.expires_at,
            "capability": int(GRANT.capability),
            "name": GRANT.name,
        },
        "claimer": {
            "derp_public": claimer_derp.public.hex(),
            "ephemeral_secret": drawn("claimer 4", 32).hex(),
            "instance": instance.hex(),
            "program": "",
        },
        "bare_header": bare.hex(),
        "resuming_header": resuming(ephemeral.public).hex(),
        "resumption_secret": secret.hex(),
        "message": encode(Resumption(secret)).hex(),
        "claim": bytes(packet.data).hex(),
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(record())
    print(FILE)
