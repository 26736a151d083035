"""No object shows the secrets it holds: `repr`, `str` and error texts of everything that has one."""

import ast
import gc
import traceback
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from secret_forms import leaks

from derphole.cli.invocation import append_crash, without_tokens
from derphole.config import NetworkOptions
from derphole.errors import DerpholeError
from derphole.rendezvous.relays import dial_options
from derphole.speech.messages import Resumption
from derphole.status import Instruction, TokenIssued
from derphole.token.admission import SessionGate, claim_header
from derphole.token.grant import Capability, Grant, Mint
from derphole.token.hints import RegionHints
from derphole.token.text import ServerToken, client_token, parse_token, session_token, token_text
from tunnel.crypto.aead import AEGIS_256, CHACHA20_POLY1305, AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey, Secret
from tunnel.crypto.link_keys import traffic_key
from tunnel.crypto.noise import Initiator, Responder
from tunnel.crypto.packets import PacketOpener, PacketSealer
from tunnel.errors import TunnelError
from tunnel.net.relay_client.proxy import ProxySettings, parse_proxy_url
from tunnel.proto.link.parameters import Feature, LinkParameters
from tunnel.proto.meeting.claimer import Claimer, ClaimerIdentity, LinkUp
from tunnel.proto.meeting.handshake import Meeting
from tunnel.proto.meeting.issuer import Issuer as IssuerMachine
from tunnel.proto.meeting.issuer import IssuerIdentity
from tunnel.proto.meeting.places import LinkAdmitted
from tunnel.proto.relay_client.derp_client import DerpClient
from tunnel.proto.relay_server.derp_relay import Relay, RoutingLimits
from tunnel.units import Instant, WallTime

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("tunnel.", "derphole.")
SEED = bytes.fromhex("8e1f0c7bd2936a45f05e21a8b7c4d9136f2a80ce417d5b92e3a6f4180b9c2d77")
OTHER = bytes.fromhex("5ad0e7319b46c2f88d15703ea9bc6f24d1830e5cf76a294bb2ce47910fd3586a")
PASSWORD = "correct-horse-battery-staple"
# Fields that hold what must not be shown, wherever they are.
SECRET_FIELDS = {
    "secret", "seed", "minting", "psk", "root", "chaining_key", "authorization", "password",
    "proxy_https", "proxy_http", "private", "traffic_key",
}  # fmt: skip
# ... unless the type says that it hides itself.
HIDING_TYPES = {"Secret"}


def objects_of_a_run() -> tuple[list[object], dict[str, bytes]]:
    """Run issuer and claimer until they are linked; return what they hold and every secret."""
    issuer = Mint.from_seed(SEED)
    grant = Grant(b"grant-id", 1_900_003_600, Capability.LISTEN, "a name")
    token = session_token(issuer, grant, RegionHints((1,)))
    ours = KeyPair.from_secret(OTHER)
    drawn: list[bytes] = []

    def entropy(size: int) -> bytes:
        drawn.append(blake2b(OTHER + bytes((len(drawn),)), digest_size=size).digest())
        return drawn[-1]

    notes: list[object] = []
    gate = SessionGate(issuer.keys, grant)
    machine = IssuerMachine(
        IssuerIdentity(issuer.keys.noise, DerpKey(issuer.keys.derp.public), Feature(0), 3),
        gate, entropy, lambda _: False, lambda *note: notes.append(note),
    )  # fmt: skip
    meeting = Meeting(token.issuer_noise, token.issuer_derp, DerpKey(ours.public))
    identity = ClaimerIdentity(meeting, claim_header(grant), token.secret, b"i" * 16, Feature(0), 3)
    now, wall = Instant(1000.0), WallTime(1_900_000_000.0)
    claimer = Claimer(
        now, identity, [0], entropy, lambda _: False, lambda *note: notes.append(note)
    )
    for side in (machine, claimer):
        side.handle_relay_up(now, 0)
    events: list[object] = []

    def meet() -> None:
        for _ in range(6):
            for packet in claimer.packets_to_send(now):
                machine.handle_packet(now, wall, 0, DerpKey(ours.public), memoryview(packet.data))
            for packet in machine.packets_to_send(now):
                claimer.handle_packet(now, wall, 0, token.issuer_derp, memoryview(packet.data))
            events.extend(taken(machine, claimer))

    meet()
    resumption = gate.resumptions.hand_out(b"i" * 16)
    claimer.link.close(now, 25, "reconnecting")
    claimer.claim_again(now, claim_header(grant, resumption), resumption)
    meet()
    assert [type(event) for event in events].count(LinkUp) == 2
    assert [type(event) for event in events].count(LinkAdmitted) == 2
    (link,) = machine.links
    root = link._rekeying._root.value
    secrets = {
        "seed": SEED, "minting": issuer.keys.minting, "noise": issuer.keys.noise.secret,
        "derp": issuer.keys.derp.secret, "claimer's key": OTHER, "grant secret": token.secret,
        "resumption secret": resumption,
        "root": root, "token": token_text(token).encode(),
        **{f"traffic {side}": traffic_key(root, AeadId.AEGIS_256, side) for side in (True, False)},
        **{f"drawn {n}": value for n, value in enumerate(drawn) if len(value) >= 16},
    }  # fmt: skip
    return [machine, claimer, issuer, token, identity, events, notes], secrets


def taken(*machines) -> list[object]:
    """Take the events that wait."""
    found = []
    for machine in machines:
        while (event := machine.next_event()) is not None:
            found.append(event)
    return found


def reachable(roots: list[object]) -> Iterator[object]:
    """Yield every object of ours that can be reached from `roots`."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type) or type(value).__name__ == "module":
            continue
        seen.add(id(value))
        if type(value).__module__.startswith(PRODUCT):
            yield value
        is_container = isinstance(value, dict | list | tuple | set | frozenset)
        if is_container or type(value).__module__.startswith((*PRODUCT, "collections")):
            waiting += gc.get_referents(value)


def shown(value: object) -> str:
    """Return everything that printing or formatting a value shows."""
    return "\n".join((repr(value), str(value), f"{value}", repr([value]), repr({"value": value})))


def test_nothing_that_a_link_is_made_of_shows_a_secret() -> None:
    roots, secrets = objects_of_a_run()

    found = list(reachable(roots))

    kinds = {type(value).__name__ for value in found}
    assert {"PeerLink", "Rekeying", "PacketSealer", "PacketOpener", "LinkParameters", "KeyPair",
            "IssuerKeys", "SessionGate", "Resumptions", "OutgoingClaim", "Initiator", "SymmetricState", "Secret",
            "SessionToken", "Grant", "ClaimerIdentity"} <= kinds  # fmt: skip
    shows = {type(value).__name__: leaks(shown(value), secrets) for value in found}
    assert {name: what for name, what in shows.items() if what} == {}


def holders() -> dict[str, object]:
    """One of everything that holds a secret, with secrets that are known."""
    issuer = Mint.from_seed(SEED)
    grant = Grant(b"grant-id", 1_900_003_600, Capability.LISTEN)
    pair = KeyPair.from_secret(SEED)
    parameters = LinkParameters(True, DerpKey(bytes(32)), Secret(SEED), AeadId.AEGIS_256, 1, 0, 0, 1,
                                1, False)  # fmt: skip
    initiator = Initiator(pair.public, SEED, b"prologue", KeyPair.from_secret(OTHER))
    sealed = initiator.write_message_1(b"payload")
    proxy = f"http://somebody:{PASSWORD}@proxy.example:8080"
    options = NetworkOptions(proxy_https=proxy, proxy_http=proxy)
    meeting = Meeting(NoiseKey(bytes(32)), DerpKey(bytes(32)), DerpKey(bytes(32)))
    return {
        "Secret": Secret(SEED),
        "KeyPair": pair,
        "IssuerKeys": issuer.keys,
        "Mint": issuer,
        "SessionGate": SessionGate(issuer.keys, grant),
        "SessionToken": session_token(issuer, grant, RegionHints()),
        "ClientToken": client_token(issuer, grant, RegionHints()),
        "ServerToken": ServerToken(SEED, 1_900_003_600, RegionHints()),
        "PacketSealer": PacketSealer(AEGIS_256, SEED, 1),
        "PacketOpener": PacketOpener(CHACHA20_POLY1305, SEED),
        "LinkParameters": parameters,
        "Initiator": initiator,
        "SymmetricState": initiator._state,
        "Responder": Responder(pair, SEED, b"prologue", KeyPair.from_secret(OTHER).public, sealed),
        "IssuerIdentity": IssuerIdentity(pair, DerpKey(pair.public), Feature(0), 3),
        "ClaimerIdentity": ClaimerIdentity(meeting, bytes(64), SEED[:16], SEED[16:], Feature(0), 3),
        "DerpClient": DerpClient(pair, bytes, Instant(0.0), Instant(1.0)),
        "Relay": Relay(pair, RoutingLimits(), bytes),
        "ProxySettings": ProxySettings(https=proxy, http=proxy),
        "ProxyAddress": parse_proxy_url(proxy),
        "NetworkOptions": options,
        "DialOptions": dial_options(options),
        "TokenIssued": TokenIssued(
            token_text(session_token(issuer, grant, RegionHints())), WallTime(0.0)
        ),
        "Resumption": Resumption(SEED[:16]),
        "Instruction": Instruction(token_text(session_token(issuer, grant, RegionHints()))),
    }


def known_secrets() -> dict[str, bytes]:
    issuer = Mint.from_seed(SEED)
    grant = Grant(b"grant-id", 1_900_003_600, Capability.LISTEN)
    token = token_text(session_token(issuer, grant, RegionHints()))
    return {
        "seed": SEED, "half of it": SEED[:16], "other half": SEED[16:], "other": OTHER,
        "minting": issuer.keys.minting, "grant secret": issuer.secret_of(grant),
        "noise": issuer.keys.noise.secret, "derp": issuer.keys.derp.secret,
        "password": PASSWORD.encode(), "credentials": f"somebody:{PASSWORD}".encode(),
        "token": token.encode(), "end of the token": token[60:90].encode(),
    }  # fmt: skip


@pytest.mark.parametrize("name", holders())
def test_what_holds_a_secret_does_not_show_it(name: str) -> None:
    holder = holders()[name]

    assert type(holder).__name__ == name
    assert leaks(shown(holder), known_secrets()) == []


def dataclass_fields(path: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Yield (class, field, type, whether the class or the field hides it) of one module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        marks = [
            ast.unparse(mark) for mark in node.decorator_list if "dataclass" in ast.unparse(mark)
        ]
        if not marks:
            continue
        has_repr = any(
            isinstance(item, ast.FunctionDef) and item.name == "__repr__" for item in node.body
        )
        is_hidden = has_repr or "repr=False" in marks[0]
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                hides = is_hidden or "repr=False" in (ast.unparse(item.value) if item.value else "")
                yield node.name, item.target.id, ast.unparse(item.annotation), hides


def test_every_dataclass_hides_the_fields_that_are_named_like_secrets() -> None:
    showing = [
        f"{path.relative_to(ROOT)}: {name}.{field}"
        for package in ("tunnel", "derphole")
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, field, kind, hides in dataclass_fields(path)
        if field in SECRET_FIELDS and kind not in HIDING_TYPES and not hides
    ]

    assert showing == []


def test_a_dataclass_that_shows_a_secret_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "a.py"
    planted.write_text("@dataclass(slots=True)\nclass A:\n    seed: bytes\n    root: Secret\n")

    assert list(dataclass_fields(planted)) == [
        ("A", "seed", "bytes", False),
        ("A", "root", "Secret", False),
    ]


WRONG = {
    "a seed of a wrong size": lambda: Mint.from_seed(SEED[:20]),
    "a server token of a wrong size": lambda: ServerToken(SEED[:20], 0, RegionHints()),
    "a traffic key of a wrong size": lambda: PacketSealer(AEGIS_256, SEED[:20], 1),
    "a private key of a wrong size": lambda: KeyPair.from_secret(SEED[:20]),
    "a public key of low order": lambda: KeyPair.from_secret(SEED).exchange(bytes(32)),
    "a public key of a wrong size": lambda: KeyPair.from_secret(SEED).exchange(SEED[:20]),
    "a message of another key": lambda: Responder(
        KeyPair.from_secret(SEED), OTHER, b"", KeyPair.from_secret(OTHER).public, bytes(80)
    ),
    "a token whose end is missing": lambda: parse_token(
        token_text(ServerToken(SEED, 1_900_003_600, RegionHints()))[:-3]
    ),
    "a token with a changed letter": lambda: parse_token(
        token_text(ServerToken(SEED, 1_900_003_600, RegionHints())).swapcase()
    ),
    "a proxy that is none": lambda: parse_proxy_url(f"socks5://somebody:{PASSWORD}@proxy"),
    "a proxy whose port is none": lambda: parse_proxy_url(f"http://somebody:{PASSWORD}@proxy:x"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_error_says_the_secret_it_is_about(case: str) -> None:
    secrets = {**known_secrets(), "cut seed": SEED[:20]}

    with pytest.raises((TunnelError, DerpholeError, ValueError)) as caught:
        WRONG[case]()

    told = "".join(traceback.format_exception(caught.value))
    assert leaks(f"{told}\n{caught.value!r}", secrets) == []


def test_the_traceback_in_a_trace_has_its_tokens_cut(tmp_path: Path) -> None:
    tokens = [token_text(ServerToken(SEED, 1, RegionHints())), GRANTED, CLIENT]
    trace = tmp_path / "trace"

    cut = without_tokens("ValueError: not this: " + ", ".join(map(repr, tokens)))
    append_crash(trace, cut)

    assert trace.stat().st_mode & 0o777 == 0o600
    said = trace.read_text()
    assert leaks(said, {**known_secrets(), "client": CLIENT.encode()}) == []
    assert [prefix in said for prefix in ("dtsrv1_<cut>", "dhp1_<cut>", "dtcli1_<cut>")] == [
        True
    ] * 3


GRANTED = holders()["TokenIssued"].text
CLIENT = token_text(holders()["ClientToken"])


def test_a_token_is_said_in_its_own_event_alone() -> None:
    issued = TokenIssued(GRANTED, WallTime(0.0))

    assert issued.keys["token"] == GRANTED
    assert leaks(shown(issued), known_secrets()) == []
