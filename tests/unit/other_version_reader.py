"""Reads the recorded claim of version 2 and its answer with docs/protocol.md alone."""

from exchange_reader import ExchangeReader, check
from nacl import bindings
from protocol_document import number, parse, parse_whole


class OtherVersionReader:
    """Reads what is the same in every version, and nothing else."""

    def __init__(self, document, recorded):
        self.document = document
        self.recorded = recorded
        self.values = ExchangeReader(document, {"packets": []}).values
        self.program = b""

    def run(self):
        self.derive()
        self.read_claim()
        self.read_answer()
        return self

    def derive(self):
        document, values = self.document, self.values
        values["seed"] = bytes.fromhex(self.recorded["seed"])
        for public, name in (
            ("issuer_noise", "noise_static_secret"),
            ("issuer_derp", "derp_secret"),
        ):
            values[public] = bindings.crypto_scalarmult_base(document.derive(name, values))
        values["minting_key"] = document.derive("minting_key", values)
        values["claimer_derp"] = bytes.fromhex(self.recorded["claimer"]["derp_public"])

    def read_claim(self):
        document, values = self.document, self.values
        data = bytes.fromhex(self.recorded["claim"])
        check(
            document.constant("smallest_claim") <= len(data) <= document.constant("largest_claim"),
            "the size of a claim",
        )
        claim, _ = parse(document.layout("claim"), data)
        check(claim["magic"] == document.constant("handshake_magic"), "magic")
        check(number(claim["kind"]) == document.constant("kind_claim"), "kind")
        check(number(claim["version"]) != document.constant("version"), "another version")
        nonce = claim["ephemeral"][: document.constant("header_nonce_size")]
        sealed, key = claim["sealed_header"], document.derive("claim_header_key", values)
        header = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, None, nonce, key)
        values |= parse_whole(document.layout("header"), header)
        values["grant_secret"] = document.derive("grant_secret", values)
        values["claim_without_mac"] = data.replace(claim["mac"], b"")
        values["claim_mac_key"] = document.derive("claim_mac_key", values)
        values["claim_mac"] = document.derive("claim_mac", values)
        check(values["claim_mac"] == claim["mac"], "the claim's MAC")

    def read_answer(self):
        document, data = self.document, bytes.fromhex(self.recorded["answer"])
        answer = parse_whole(document.layout("other_version"), data)
        check(answer["magic"] == document.constant("handshake_magic"), "magic")
        check(number(answer["kind"]) == document.constant("kind_other_version"), "kind")
        check(number(answer["version"]) == document.constant("version"), "the issuer's version")
        sealed = answer["sealed_payload"]
        key = document.derive("other_version_key", self.values)
        plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            sealed, data[: -len(sealed)], bytes(12), key
        )
        payload, rest = parse(document.layout("other_version_payload"), plain)
        check(not any(rest), "bytes behind the last field")
        self.program = payload["program"].rstrip(b"\0")
