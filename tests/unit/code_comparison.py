"""Compares the tables of docs/protocol.md with what the code has."""

from collections.abc import Mapping
from hashlib import blake2b
from inspect import signature

from nacl import bindings
from protocol_document import FIELD, number, parse_whole, value_of

from derphole.derptun import limits as tunnels
from derphole.forwarding import limits
from derphole.speech import access_messages as ssh
from derphole.speech import messages, stream_proof, turns
from derphole.speech import transfer_messages as transfer
from derphole.speech.endings import Ending
from derphole.speech.messages import Resumption, Total
from derphole.speech.resets import ResetCode
from derphole.token import hints, validity
from derphole.token import resumption as resumption_
from derphole.token import text as token
from derphole.token.admission import FLAG_RESUMING, Refusal
from derphole.token.grant import (
    GRANT_ID_SIZE,
    MAX_NAME_SIZE,
    Capability,
    Grant,
    Mint,
    resumption_proof,
    resumption_secret,
)
from derphole.transfer import entries, held, pieces, repairs
from tunnel.crypto import aead, kdf, link_keys, noise, replay
from tunnel.crypto.cpace import Agreement
from tunnel.crypto.keys import DerpKey, KeyPair, Secret
from tunnel.proto.code import code_issuer, code_series, terms
from tunnel.proto.code.code_claimer import CodeClaimer
from tunnel.proto.datagrams import outgoing
from tunnel.proto.link import liveness, parameters, path, rekey, resending
from tunnel.proto.meeting import asking, claimer, handshake, issuer, places
from tunnel.proto.paths import packet_size
from tunnel.proto.rate import relay as congestion
from tunnel.proto.recovery import acks, loss, rtt
from tunnel.proto.relay_client.regions import fallback_regions
from tunnel.proto.streams import credit, receive_stream
from tunnel.proto.streams import table as streams
from tunnel.units import Instant
from tunnel.wire import code, derp, frames, packet
from tunnel.wire import handshake as wire
from tunnel.wire.derpmap import RelayMap, RelayNode, RelayRegion

CONSTANTS = {
    "kdf_personalisation": kdf.PERSONALISATION,
    "kdf_length_size": 2,
    "checksum_size": token.CHECKSUM_SIZE,
    "grant_id_size": GRANT_ID_SIZE,
    "max_name_size": MAX_NAME_SIZE,
    "max_regions": hints.MAX_REGIONS,
    "own_relay": hints.OWN_RELAY,
    "own_relays": hints.OWN_RELAYS,
    "max_own_relays": hints.MAX_OWN_RELAYS,
    "own_relay_tls": hints.FLAG_TLS,
    "own_relay_pin": hints.FLAG_PIN,
    "own_relay_plain": hints.FLAG_PLAIN,
    "own_relay_other": hints.FLAG_OTHER,
    "pin_size": hints.PIN_SIZE,
    "max_host_size": hints.MAX_HOST_SIZE,
    "host_alphabet": hints.HOST_ALPHABET[1:].encode(),
    "session_life_s": token.SESSION_LIFE_S,
    "max_session_life_s": token.MAX_SESSION_LIFE_S,
    "reader_grace_s": validity.READER_GRACE_S,
    "derp_magic": derp.MAGIC,
    "derp_not_here": derp.GoneReason.NOT_HERE,
    "handshake_magic": wire.MAGIC,
    "kind_claim": wire.Kind.CLAIM,
    "kind_decision": wire.Kind.DECISION,
    "kind_other_version": wire.Kind.OTHER_VERSION,
    "smallest_claim": wire.SMALLEST_CLAIM,
    "largest_claim": wire.LARGEST_CLAIM,
    "version": wire.VERSION,
    "header_nonce_size": handshake.HEADER_NONCE_SIZE,
    "noise_name": noise.PROTOCOL_NAME,
    "prologue_label": handshake.PROLOGUE_LABEL,
    "feature_relay_only": parameters.Feature.RELAY_ONLY,
    "feature_datagrams": parameters.Feature.DATAGRAMS,
    "first_retry_s": asking.FIRST_RETRY_S,
    "max_retry_s": asking.MAX_RETRY_S,
    "relay_turn_s": asking.RELAY_TURN_S,
    "admission_s": claimer.ADMISSION_S,
    "tunnel_give_up_s": tunnels.GIVE_UP_S,
    "renew_after_s": tunnels.RENEW_AFTER_S,
    "max_admission_s": claimer.MAX_ADMISSION_S,
    "probe_s": places.PROBE_S,
    "max_knocking": places.MAX_KNOCKING,
    "closed_s": places.CLOSED_S,
    "max_closed": places.MAX_CLOSED,
    "pending_s": issuer.PENDING_S,
    "max_pending": issuer.MAX_PENDING,
    "max_pending_of_grant": issuer.MAX_PENDING_OF_GRANT,
    "claims_per_s": issuer.CLAIMS.rate,
    "claims_of_grant_per_s": issuer.CLAIMS_OF_GRANT.rate,
    "claims_of_claimer_per_s": issuer.CLAIMS_OF_CLAIMER.rate,
    "meeting_parent": terms.MEETING_PARENT,
    "code_channel": terms.CHANNEL,
    "code_says_claimer": terms.SAID[0],
    "code_says_issuer": terms.SAID[1],
    "code_text_size": code.ANSWER_TEXT_SIZE,
    "code_draws": code_series.MOST_DRAWS,
    "code_probe_s": code_issuer.PROBE_S,
    "code_runs_per_s": code_issuer.RUNS.rate,
    "code_runs": code_issuer.MOST_RUNS,
    "code_wrong": code_issuer.MOST_WRONG,
    "code_dead": code_series.MOST_DEAD,
    "code_s": signature(CodeClaimer).parameters["limit_s"].default,
    "code_absence_s": signature(CodeClaimer).parameters["absence_s"].default,
    "max_lost": resumption_.MAX_LOST,
    "max_gone": resumption_.MAX_GONE,
    "direction_issuer": b"issuer",
    "direction_claimer": b"claimer",
    "type_bulk": packet.BULK,
    "type_general": packet.GENERAL,
    "relay_path": packet.RELAY_PATH,
    "bulk_alignment": packet.BULK_ALIGNMENT,
    "max_number": packet.MAX_NUMBER,
    "max_relay_packet": packet.MAX_RELAY_PACKET,
    "replay_window": replay.WINDOW,
    "rekey_after_s": rekey.REKEY_AFTER_S,
    "rekey_after_bytes": rekey.REKEY_AFTER_BYTES,
    "rekey_overlap_s": rekey.OVERLAP_S,
    "max_frames": frames.MAX_FRAMES,
    "stream_ends": frames.STREAM_ENDS,
    "max_offset": frames.MAX_OFFSET,
    "max_ack_ranges": frames.MAX_ACK_RANGES,
    "max_candidates": frames.MAX_CANDIDATES,
    "max_close_text": frames.MAX_CLOSE_TEXT,
    "credit_floor": credit.FLOOR,
    "credit_pool": credit.POOL,
    "max_window": credit.MAX_WINDOW,
    "max_gaps": receive_stream.MAX_GAPS,
    "max_streams": streams.MAX_PEER_STREAMS,
    "packets_per_ack": acks.PACKETS_PER_ACK,
    "max_ack_delay_s": rtt.MAX_ACK_DELAY_S,
    "prompt_packets": acks.PROMPT_PACKETS,
    "initial_rtt_s": rtt.INITIAL_RTT_S,
    "max_probe_timeout_s": loss.MAX_PROBE_TIMEOUT_S,
    "keepalive_s": liveness.KEEPALIVE_S,
    "quiet_s": liveness.QUIET_S,
    "held_back_s": liveness.HELD_BACK_S,
    "stall_s": liveness.STALL_S,
    "give_up_s": signature(parameters.LinkParameters).parameters["give_up_after_s"].default,
    "relay_grant_total": congestion.RELAY_GRANT_TOTAL,
    "relay_grant_minimum": congestion.RELAY_GRANT_MINIMUM,
    "first_relay_window": congestion.FIRST_RELAY_WINDOW,
    "first_relay_packet": congestion.FIRST_RELAY_FRAME,
    "min_relay_packet": congestion.MIN_RELAY_FRAME,
    "frame_s": congestion.FRAME_S,
    "window_gain": congestion.WINDOW_GAIN,
    "start_gain": congestion.START_GAIN,
    "start_growth": congestion.START_GROWTH,
    "start_doubles_s": congestion.START_DOUBLES_S,
    "cut_off_s": path.CUT_OFF_S,
    "again_packet": congestion.AGAIN_FRAME,
    "again_growth": congestion.AGAIN_GROWTH,
    "again_share": congestion.AGAIN_SHARE,
    "again_doubles_s": congestion.AGAIN_DOUBLES_S,
    "least_frames": congestion.LEAST_FRAMES,
    "polite_after": congestion.POLITE_AFTER,
    "polite_window": congestion.POLITE_WINDOW,
    "relay_silence_s": path.RELAY_SILENCE_S,
    "wide_probes": resending.WIDE_PROBES,
    "base_datagram": packet_size.BASE_DATAGRAM,
    "max_datagram": packet_size.MAX_DATAGRAM,
    "max_probes": packet_size.MAX_PROBES,
    "max_forwarded": frames.MAX_DATAGRAM,
    "min_piece": frames.MIN_PIECE,
    "datagram_wait_ms": round(outgoing.MAX_WAIT_S * 1e3),
    "datagram_age_ms": round(outgoing.MAX_AGE_S * 1e3),
    "raise_after_s": packet_size.RAISE_AFTER_S,
    "control_stream": 0,
    "data_stream": 2,
    "digest_size": messages.DIGEST_SIZE,
    "max_message_body": messages.MAX_BODY,
    "come_back_s": limits.COME_BACK_S,
    "confirm_s": stream_proof.CONFIRM_S,
    "linger_s": stream_proof.LINGER_S,
    "not_known": transfer.NOT_KNOWN,
    "max_offer_name": transfer.MAX_NAME,
    "max_answer_text": transfer.MAX_ANSWER_TEXT,
    "piece_size": pieces.PIECE_SIZE,
    "piece_digest_size": transfer.PIECE_DIGEST_SIZE,
    "max_pieces": pieces.MAX_PIECES,
    "max_parts": pieces.MAX_PARTS,
    "max_held_entries": held.MAX_HELD_ENTRIES,
    **{f"access_{verdict.name.lower()}": int(verdict) for verdict in ssh.AccessVerdict},
    "max_key_line": ssh.MAX_KEY_LINE,
    "max_hosts": ssh.MAX_HOSTS,
    "max_host_keys": ssh.MAX_HOST_KEYS,
    **{f"offer_{kind.name.lower()}": kind for kind in transfer.Kind},
    **{f"answer_{verdict.name.lower()}": verdict for verdict in transfer.Verdict},
    **{f"declined_{reason.name.lower()}": reason for reason in transfer.Reason},
    **{f"start_{origin.name.lower()}": origin for origin in transfer.Origin},
    "entry_personalisation": entries.KEY_PERSONALISATION,
    **{f"entry_{kind.name.lower()}": kind for kind in entries.EntryType},
    "accepted": wire.ACCEPTED,
    **{f"refused_{reason.name.lower()}": reason for reason in Refusal},
    **{ending.name.lower(): ending for ending in Ending},
    **{f"reset_{code.name.lower()}": code for code in ResetCode},
    **{f"capability_{capability.name.lower()}": capability for capability in Capability},
}
DERP_FRAMES = {
    f"derp_{kind.name.lower()}": kind
    for kind in derp.FrameType
    if not 0x09 <= kind <= 0x11 and kind is not derp.FrameType.NOTE_PREFERRED
}
MAXIMUM = {8: (1 << 62) - 1, 4: 0xFFFFFFFF}
TOP, GAP = 0x5000000000, 0xF8F9FAFB
FRAMES = {
    "ping": (frames.Ping(), {}),
    "ack": (
        frames.Ack(0xF1F2, 0xF3, 0xF4F5F6F7, ((TOP, TOP + 1), (TOP - GAP - 0x13, TOP - GAP - 1))),
        {
            "path": 0xF1F2,
            "relay_grant": 0xF3,
            "more": 1,
            "delay_us": 0xF4F5F6F7,
            "largest": TOP + 1,
            "length": 2,
        },
    ),
    "challenge": (frames.Challenge(b"\xf1" * 8), {"token": number(b"\xf1" * 8)}),
    "answer": (
        frames.Answer(b"\xf1" * 8, "192.0.2.7", 0xF2F3),
        {
            "token": number(b"\xf1" * 8),
            "ip": number(bytes(10) + b"\xff\xff\xc0\x00\x02\x07"),
            "port": 0xF2F3,
        },
    ),
    "candidates": (
        frames.Candidates(
            (frames.Candidate(0xF1, "ff::", 0xF2F3), frames.Candidate(0xF4, "ff::f", 0xF5F6))
        ),
        {"count": 2},
    ),
    "receive_buffer": (frames.ReceiveBuffer(MAXIMUM[4]), {"size": MAXIMUM[4]}),
    "stream": (
        frames.StreamData(MAXIMUM[8], MAXIMUM[8] - 3, b"abc", is_end=True),
        {
            "stream": MAXIMUM[8],
            "offset": MAXIMUM[8] - 3,
            "flags": 1,
            "size": 3,
            "data": number(b"abc"),
        },
    ),
    "reset": (
        frames.Reset(MAXIMUM[8], MAXIMUM[8] - 1, MAXIMUM[4]),
        {"stream": MAXIMUM[8], "final_size": MAXIMUM[8] - 1, "code": MAXIMUM[4]},
    ),
    "stop": (frames.Stop(MAXIMUM[8], MAXIMUM[4]), {"stream": MAXIMUM[8], "code": MAXIMUM[4]}),
    "credit": (
        frames.Credit(MAXIMUM[8], MAXIMUM[8] - 1, MAXIMUM[4]),
        {"stream": MAXIMUM[8], "limit": MAXIMUM[8] - 1, "recalls": MAXIMUM[4]},
    ),
    "recall": (
        frames.Recall(MAXIMUM[8], MAXIMUM[8] - 1, MAXIMUM[4]),
        {"stream": MAXIMUM[8], "limit": MAXIMUM[8] - 1, "recalls": MAXIMUM[4]},
    ),
    "return": (
        frames.Return(MAXIMUM[8], MAXIMUM[8] - 1, MAXIMUM[4]),
        {"stream": MAXIMUM[8], "limit": MAXIMUM[8] - 1, "recalls": MAXIMUM[4]},
    ),
    "rekey": (frames.Rekey(b"\xf1" * 32), {"ephemeral": number(b"\xf1" * 32)}),
    "rekey_answer": (frames.RekeyAnswer(b"\xf1" * 32), {"ephemeral": number(b"\xf1" * 32)}),
    "datagram": (
        frames.Datagram(MAXIMUM[8], MAXIMUM[4], 0xE0F1, 0xE0F4, b"abc"),
        {
            "flow": MAXIMUM[8],
            "number": MAXIMUM[4],
            "offset": 0xE0F1,
            "whole": 0xE0F4,
            "size": 3,
            "data": number(b"abc"),
        },
    ),
    "close": (frames.Close(0xF1F2, "why"), {"code": 0xF1F2, "size": 3, "text": number(b"why")}),
}

KEY, OTHER_KEY = b"\xf1" * 16, b"\xf2" * 16
MESSAGES = {
    "resumption": (Resumption(bytes(range(16))), {"secret": number(bytes(range(16)))}),
    "total": (Total(MAXIMUM[8]), {"size": MAXIMUM[8]}),
    "offer": (
        transfer.Offer(
            transfer.Kind.SEVERAL, KEY, b"name", MAXIMUM[8] - 1, MAXIMUM[8] - 2, 0o123, -2
        ),
        {
            "kind": 3,
            "mode": 0o123,
            "source": number(KEY),
            "entries": MAXIMUM[8] - 1,
            "size": MAXIMUM[8] - 2,
            "mtime_ns": (1 << 64) - 2,
            "name_size": 4,
            "name": number(b"name"),
        },
    ),
    "totals": (
        transfer.Totals(
            MAXIMUM[8] - 1, MAXIMUM[8] - 2, MAXIMUM[8] - 3, MAXIMUM[8] - 4, True, MAXIMUM[8]
        ),
        {
            "entries": MAXIMUM[8] - 1,
            "size": MAXIMUM[8] - 2,
            "held_entries": MAXIMUM[8] - 3,
            "held_size": MAXIMUM[8] - 4,
            "is_final": 1,
            "omitted": MAXIMUM[8],
        },
    ),
    "answer": (
        transfer.Answer(transfer.Verdict.DECLINED, transfer.Reason.KIND, "why"),
        {"verdict": 3, "reason": 5, "text_size": 3, "text": number(b"why")},
    ),
    "have_parts": (
        transfer.HaveParts((transfer.Part(KEY, 7), transfer.Part(OTHER_KEY, MAXIMUM[8]))),
        {
            "count": 2,
            "count*": [
                {"key": number(KEY), "held": 7},
                {"key": number(OTHER_KEY), "held": MAXIMUM[8]},
            ],
        },
    ),
    "have_entries": (
        transfer.HaveEntries((KEY, OTHER_KEY)),
        {"count": 2, "count*": [{"key": number(KEY)}, {"key": number(OTHER_KEY)}]},
    ),
    "have_checked": (
        transfer.HaveChecked((transfer.Checked(KEY, OTHER_KEY), transfer.Checked(OTHER_KEY, KEY))),
        {
            "count": 2,
            "count*": [
                {"key": number(KEY), "digest": number(OTHER_KEY)},
                {"key": number(OTHER_KEY), "digest": number(KEY)},
            ],
        },
    ),
    "have_end": (transfer.HaveEnd(), {}),
    "start": (transfer.Start(transfer.Origin.CANNOT_SEEK), {"origin": 4}),
    "pieces": (
        transfer.Pieces((KEY, OTHER_KEY)),
        {"count": 2, "count*": [{"digest": number(KEY)}, {"digest": number(OTHER_KEY)}]},
    ),
    "progress": (transfer.Progress(MAXIMUM[8]), {"stored": MAXIMUM[8]}),
    "result": (transfer.Result(MAXIMUM[8], 1), {"refused": MAXIMUM[8], "skipped": 1}),
    "key": (ssh.AccessKey(b"key"), {"line_size": 3, "line": number(b"key")}),
    "access": (
        ssh.Access(ssh.AccessVerdict.FAILED, "why", "me", 2222, ("host",), ("one", "two")),
        {
            "verdict": 6,
            "port": 2222,
            "a": 3,
            "text": number(b"why"),
            "b": 2,
            "user": number(b"me"),
            "hosts": 1,
            "hosts*": [{"c": 4, "host": number(b"host")}],
            "keys": 2,
            "keys*": [{"d": 3, "key": number(b"one")}, {"d": 3, "key": number(b"two")}],
        },
    ),
}
IN_EXCHANGES = {"fin", "confirm", "confirm_ack"}


def differences(document) -> list[str]:
    """Return what the document and the code do not agree on, in words."""
    checks = (constants, code_messages, frame_table, message_table, repair_header, entry_key, message_turns, derivations, other_version,
              layouts, tokens, own_relay, aeads)  # fmt: skip
    return [line for check in checks for line in check(document)]


def constants(document):
    wanted: Mapping[str, object] = {**CONSTANTS, **DERP_FRAMES}
    written = {}
    for rows in document.tables.values():
        for row in rows:
            if "constant" in row:
                written[row.name] = value_of(row["value"])
    for name in sorted(written.keys() | wanted.keys()):
        if written.get(name) != wanted.get(name):
            yield f"{name}: {written.get(name)!r} is written, the code has {wanted.get(name)!r}"


def frame_table(document):
    names = {row.name for row in document.tables["frames"]}
    if names != FRAMES.keys() | {"padding"}:
        yield "the document has other frames than the code"
    padding = document.row("frames", "padding")
    zeros = bytes((value_of(padding["type"]),)) * 3
    try:
        is_padding = frames.decode_frames(zeros) == [] and not padding["fields"]
    except frames.DecodeError:
        is_padding = False
    if not is_padding:
        yield "padding is another byte"
    for name, (frame, expected) in FRAMES.items():
        row, data = document.row("frames", name), frames.encode(frame)
        values = parse_whole(row["fields"].strip("`"), data[1:])
        got = {key: number(value) for key, value in values.items() if not key.endswith("*")}
        if data[0] != value_of(row["type"]) or got != expected:
            yield f"{name} is written otherwise by the code"
    ack = parse_whole(
        document.row("frames", "ack")["fields"].strip("`"), frames.encode(FRAMES["ack"][0])[1:]
    )
    gap = {"gap": GAP, "length": 0x13}
    if [{key: number(value) for key, value in more.items()} for more in ack["more*"]] != [gap]:
        yield "further ranges are written otherwise by the code"
    row = document.row("frames", "candidates")
    values = parse_whole(row["fields"].strip("`"), frames.encode(FRAMES["candidates"][0])[1:])
    first = values["count*"][0]
    if [number(value) for value in first.values()] != [
        0xF1,
        number(b"\x00\xff" + bytes(14)),
        0xF2F3,
    ]:
        yield "candidates are written otherwise by the code"


def numbers(values):
    """Return what was read with every value as a number."""
    return {
        key: [numbers(item) for item in value] if isinstance(value, list) else number(value)
        for key, value in values.items()
    }


def message_table(document):
    """Compare the messages that no exchange shows."""
    if {row.name for row in document.tables["messages"]} != MESSAGES.keys() | IN_EXCHANGES:
        yield "the document has other messages than the code"
    for name, (message, expected) in MESSAGES.items():
        row, data = document.row("messages", name), messages.encode(message)
        values = parse_whole(row["body"].strip("`"), data[messages.HEADER_SIZE :])
        if data[0] != value_of(row["type"]) or numbers(values) != expected:
            yield f"{name.upper()} is written otherwise by the code"


def repair_header(document):
    row = document.row("repair_header", "repair")
    values = parse_whole(row["fields"].strip("`"), repairs.repair_header(0xF1F2F3F4, b"abc"))
    digest = number(pieces.piece_digest(b"abc"))
    if numbers(values) != {"piece": 0xF1F2F3F4, "size": 3, "digest": digest}:
        yield "a repair begins otherwise in the code"


def entry_key(document):
    """Take a key apart that was made of what the document says is hashed."""
    entry = entries.Entry(b"a/b", entries.EntryType.LINK, 0xF1F2, -3, 0o123, b"../c")
    wanted = {"type": 3, "mode": 0o123, "size": 0xF1F2, "mtime_ns": (1 << 64) - 3, "path_size": 3,
              "path": number(b"a/b"), "target": number(b"../c")}  # fmt: skip
    sizes = {"path": 3, "target": 4}
    fields = document.row("entry_key", "entry")["fields"].strip("`")
    data = b"".join(
        wanted[name].to_bytes(int(size) if size.isdigit() else sizes[name], "little")
        for _, _, name, size in FIELD.findall(fields)
    )
    person = document.constant("entry_personalisation")
    if (
        numbers(parse_whole(fields, data)) != wanted
        or entry.key != blake2b(data, digest_size=16, person=person).digest()
    ):
        yield "the key of an entry is made otherwise by the code"


def message_turns(document):
    names = {message: name.lower().replace("-", "_") for message, name in turns.NAMES.items()}
    wanted = {
        stage.name.lower(): ", ".join(f"`{names[message]}`" for message in may_come)
        for stage, may_come in turns.MAY_COME.items()
    }
    written = {row.name: row["may come"] for row in document.tables["turns"]}
    if written != wanted:
        yield "other messages may come in the code"


def code_messages(document):
    session, share, tag = bytes(range(16)), bytes(range(32)), bytes(range(64))
    made = {
        "hello": code.Hello(session, share),
        "share": code.Share(session, share),
        "proof": code.Proof(session, tag),
        "answer": code.Answer(session, tag, tag + bytes(464)),
        "wrong": code.Wrong(session),
        "probe": code.Probe(session),
    }
    if {row.name for row in document.tables["code_messages"]} != made.keys():
        yield "the document has other messages of codes than the code"
    for name, message in made.items():
        row, data = document.row("code_messages", name), code.encode_code_message(message)
        head = wire.MAGIC + bytes((value_of(row["kind"]), wire.VERSION))
        values = parse_whole(row["body"].strip("`"), data[len(head) :])
        fields = {key: value for key, value in values.items() if key != "zeros"}
        wanted = {key: getattr(message, key) for key in fields}
        if not data.startswith(head) or fields != wanted or any(values.get("zeros", b"")):
            yield f"{name.upper()} is written otherwise by the code"
    place = b"12-048219"
    secret = document.derive(
        "meeting_secret", {"meeting_parent": b"derphole meeting", "place": place}
    )
    if secret != terms.CodeTerms(place, b"").meeting.secret:
        yield "the meeting is derived otherwise by the code"
    agreement = Agreement(tag, tag, tag)
    answer = terms.sealed_answer(agreement, session, b"a token")
    key = document.derive("code_answer_key", {"code_key": tag})
    head = code.answer_head(session, tag)
    opened = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(answer.sealed, head, bytes(12), key)
    if opened.rstrip(b"\0") != b"a token" or len(head) != 88:
        yield "the answer is sealed otherwise by the code"


def derivations(document):
    keys = Mint.from_seed(bytes(range(32))).keys
    header, instance = bytes(range(64)), bytes(range(16))
    values = {"minting_key": keys.minting, "bare_header": header, "instance": instance}
    if document.derive("resumption_secret", values) != resumption_secret(
        keys.minting, header, instance
    ):
        yield "the resumption secret is derived otherwise by the code"
    values = {"resumption_secret": header[:16], "ephemeral": header[:32]}
    if document.derive("resumption_proof", values) != resumption_proof(header[:16], header[:32]):
        yield "the resumption proof is derived otherwise by the code"
    yield from rekeyed(document)
    nodes = (RelayNode("n", 1, "relay.example"),)
    regions = {id_: RelayRegion(id_, "", "", nodes) for id_ in range(1, 40)}
    relay_map, key = RelayMap(regions), DerpKey(keys.derp.public)
    ranks = {
        id_: document.derive(
            "region_rank", {"issuer_derp": key, "region_id": id_.to_bytes(4, "little")}
        )
        for id_ in regions
    }
    if len(next(iter(ranks.values()))) != 16 or sorted(ranks, key=ranks.get)[
        :9
    ] != fallback_regions(relay_map, key, 9):
        yield "regions are ranked otherwise by the code"


def rekeyed(document):
    """Run a re-key of both sides, and derive its root from what went over the wire."""
    root, secrets = bytes(range(32)), {True: b"\x21" * 32, False: b"\x43" * 32}
    sides = {}
    for is_issuer, secret in secrets.items():
        sealer, opener = link_keys.packet_keys(root, aead.AeadId.AEGIS_256, is_issuer, 1)
        sides[is_issuer] = rekey.Rekeying(
            Instant(0),
            is_issuer,
            Secret(root),
            aead.AeadId.AEGIS_256,
            sealer,
            opener,
            lambda _, drawn=secret: drawn,
        )
    now = Instant(rekey.REKEY_AFTER_S)
    answer = sides[False].handle_rekey(now, sides[True].handle_timeout(now, 0))
    sides[True].handle_answer(now, answer)
    publics = {
        is_issuer: KeyPair.from_secret(secret).public for is_issuer, secret in secrets.items()
    }
    values = {
        "root": root,
        "shared": KeyPair.from_secret(secrets[True]).exchange(publics[False]),
        "issuer_ephemeral": publics[True],
        "claimer_ephemeral": publics[False],
    }
    if {side._root.value for side in sides.values()} != {document.derive("next_root", values)}:
        yield "the next root is derived otherwise by the code"


def other_version(document):
    """Open the answer to another version with what the document says."""
    secret, mac, program = bytes(range(16)), bytes(range(7, 23)), bytes(range(65, 89))
    claim = wire.Claim(9, bytes(32), bytes(80), mac, bytes(16))
    data = handshake.other_version(secret, claim, program)
    answer = parse_whole(document.layout("other_version"), data)
    key = document.derive("other_version_key", {"grant_secret": secret, "claim_mac": mac})
    sealed = answer["sealed_payload"]
    plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
        sealed, data[: -len(sealed)], bytes(12), key
    )
    payload = parse_whole(document.layout("other_version_payload") + " zeros:rest", plain)
    front = [answer[name] for name in ("magic", "kind", "version")]
    if front != [wire.MAGIC, bytes((wire.Kind.OTHER_VERSION,)), bytes((wire.VERSION,))]:
        yield "the answer to another version begins otherwise in the code"
    if payload["program"] != program or any(payload["zeros"]):
        yield "the answer to another version is written otherwise by the code"


def layouts(document):
    name, wide = bytes(range(65, 89)), (1 << 64) - 2
    decision = wire.DecisionPayload(
        0xF1, 0xF2, 0xF3, True, 0xF4F5F6F7, 0xF8F9FAFB, wide, 0xE1E2E3E4, name
    )
    data = wire.encode_decision_payload(decision)
    values = [
        number(value)
        for value in parse_whole(document.layout("decision_payload") + " zeros:rest", data).values()
    ]
    if values != [0xF1, 0xF2, 0xF3, 1, 0xF4F5F6F7, 0xF8F9FAFB, wide, 0xE1E2E3E4, number(name), 0]:
        yield "the decision's payload is written otherwise by the code"
    nonce = document.row("nonces", "nonce")["fields"].strip("`")
    if nonce.split() != ["path:4", "number:8"]:
        yield "the nonce is made otherwise by the code"


def tokens(document):
    issuer_ = Mint.from_seed(bytes(range(32)))
    grant = Grant(bytes(8), 0xF1F2F3F4, Capability.TUNNEL, "name")
    relay = hints.RegionHints((0xF1F2,))
    made = {
        "client": token.client_token(issuer_, grant, relay),
        "server": token.ServerToken(bytes(range(32)), 0xF1F2F3F4, relay),
    }
    for name, value in made.items():
        row, text = document.row("tokens", name), token.token_text(value)
        prefix = value_of(row["prefix"]).decode()
        body = token.urlsafe_b64decode(text.removeprefix(prefix) + "==")[: -token.CHECKSUM_SIZE]
        values = parse_whole(row["body"].strip("`"), body)
        if not text.startswith(prefix) or values["hints"] != hints.encode_hints(relay):
            yield f"{name} tokens are written otherwise by the code"
        if number(values["expiry"]) != 0xF1F2F3F4:
            yield f"the expiry of {name} tokens is written otherwise by the code"


def own_relay(document):
    relay = hints.OwnRelay("relay.example", 0xF1F2, 0xF3F4, tls=True, pin=b"\xf5" * 16)
    row = document.row("hints", "own_relay")
    values = parse_whole(row["fields"].strip("`"), hints.encode_hints(relay))
    flags = hints.OWN_RELAY | hints.FLAG_TLS | hints.FLAG_PIN
    numbers = [number(values[name]) for name in ("flags", "port", "stun_port", "host_size")]
    if numbers != [flags, 0xF1F2, 0xF3F4, 13]:
        yield "an own relay is written otherwise by the code"
    if values["packed_host"] != hints.pack_host(relay.host) + relay.pin:
        yield "the host of an own relay is written otherwise by the code"
    row = document.row("hints", "own_relays")
    several = hints.OwnRelays((relay, hints.OwnRelay("other.example", 443)))
    values = parse_whole(row["fields"].strip("`"), hints.encode_hints(several))
    if number(values["kind"]) != hints.OWN_RELAYS | 2:
        yield "several own relays are written otherwise by the code"
    if values["relays"] != b"".join(map(hints.encode_hints, several.relays)):
        yield "the relays of several own relays are written otherwise by the code"


def aeads(document):
    written = [
        (value_of(row["id"]), value_of(row["name"]).decode(), int(row["nonce"]), int(row["tag"]))
        for row in document.tables["aeads"]
    ]
    if written != [(a.id, a.id.name, a.nonce_size, a.tag_size) for a in aead.BY_ID.values()]:
        yield "the AEADs are others in the code"
    if FLAG_RESUMING != 1:
        yield "the header's flag is another in the code"
