"""Records a claim of version 2 and what an issuer of version 1 answers, with all that went in.

    python tests/vectors/record_other_version.py

The claim is put together here, as docs/protocol.md says that every version begins; behind that it
is longer than ours.  Seeds are fixed, so today's code writes the same bytes.  Read again, with the
document alone, by tests/unit/other_version_reader.py.
"""

import json
from hashlib import blake2b
from pathlib import Path

from nacl import bindings

from derphole.token.admission import ClaimHeader, SessionGate, encode_header
from derphole.token.grant import Capability, Grant, Mint
from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.link.parameters import NO_FEATURE
from tunnel.proto.meeting.issuer import Issuer, IssuerIdentity
from tunnel.units import Instant, WallTime

FILE = Path(__file__).parent / "other_version.json"

SEED = bytes(range(32))
GRANT = Grant(bytes.fromhex("c0c1c2c3c4c5c6c7"), 1_900_003_600, Capability.LISTEN, "from later")
PROGRAM = b"a recorder, issuer 1.2.3"
LATER = 2  # the claim's version
PAYLOAD_SIZE = 300


def drawn(label: str, size: int) -> bytes:
    """Return bytes that are always the same."""
    return blake2b(label.encode(), digest_size=size).digest()


def claim_of(version: int, issuer: Mint, grant: Grant, claimer_derp: bytes) -> bytes:
    """Return a claim of another version: the front of every version, then bytes of its own."""
    keys = issuer.keys
    ephemeral = KeyPair.from_secret(drawn("claimer ephemeral", 32)).public
    sealed_header = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        encode_header(ClaimHeader(grant)),
        None,
        ephemeral[:24],
        derive(keys.noise.public, "claim header"),
    )
    front = bytes.fromhex("5453f09f92ac01") + bytes((version,)) + ephemeral + sealed_header
    payload = drawn("payload of a later version", 60) * (PAYLOAD_SIZE // 60)
    key = derive(issuer.secret_of(grant), "claim mac")
    mac = derive(key, "claim", front + payload, claimer_derp, keys.derp.public, size=16)
    return front + mac + payload


def record() -> str:
    """Return the record as the text of its file."""
    issuer = Mint.from_seed(SEED)
    keys = issuer.keys
    claimer_derp = KeyPair.from_secret(drawn("claimer derp", 32)).public
    identity = IssuerIdentity(keys.noise, DerpKey(keys.derp.public), NO_FEATURE, 3, program=PROGRAM)
    machine = Issuer(
        identity,
        SessionGate(keys, GRANT),
        lambda size: drawn("issuer", size),
        lambda _: False,
        lambda *_: None,
    )
    claim = claim_of(LATER, issuer, GRANT, claimer_derp)
    now, wall = Instant(0), WallTime(1_900_000_000.0)
    machine.handle_packet(now, wall, 0, DerpKey(claimer_derp), memoryview(claim))
    (answer,) = machine.packets_to_send(now)
    document = {
        "written_by": "tests/vectors/record_other_version.py",
        "seed": SEED.hex(),
        "grant": {
            "id": GRANT.id.hex(),
            "expires_at": GRANT.expires_at,
            "capability": int(GRANT.capability),
            "name": GRANT.name,
        },
        "claimer": {"derp_public": claimer_derp.hex()},
        "program": PROGRAM.decode(),
        "claim": claim.hex(),
        "answer": bytes(answer.data).hex(),
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(record())
    print(FILE)
