"""Reads the recorded resuming claim with docs/protocol.md alone; no code of ours is imported."""

from exchange_reader import ExchangeReader, check
from nacl import bindings
from protocol_document import number, parse_whole


class ResumingClaimReader:
    """Derives the secret from the seed, and opens message and claim with it."""

    def __init__(self, document, recorded):
        self.document = document
        self.recorded = recorded
        self.reader = ExchangeReader(
            document, {"packets": [{"bytes": recorded["claim"]}], "claimer": recorded["claimer"]}
        )
        self.values = self.reader.values

    def run(self):
        self.derive()
        self.read_message()
        self.read_claim()
        return self

    def derive(self):
        document, values, recorded = self.document, self.values, self.recorded
        values["seed"] = bytes.fromhex(recorded["seed"])
        for name in ("noise_static_secret", "derp_secret", "minting_key"):
            values[name] = document.derive(name, values)
        for name, secret in (
            ("issuer_noise", "noise_static_secret"),
            ("issuer_derp", "derp_secret"),
        ):
            values[name] = bindings.crypto_scalarmult_base(values[secret])
        values["claimer_derp"] = bytes.fromhex(recorded["claimer"]["derp_public"])
        values["instance"] = bytes.fromhex(recorded["claimer"]["instance"])
        values["bare_header"] = self.bare_header()
        values["resumption_secret"] = document.derive("resumption_secret", values)

    def bare_header(self):
        """The header of the token's claim, made of the grant."""
        grant = self.recorded["grant"]
        held = {
            "capability": grant["capability"],
            "expiry": grant["expires_at"],
            "grant_id": number(bytes.fromhex(grant["id"])),
            "padded_name": number(grant["name"].encode()),
        }
        fields = [entry.split(":") for entry in self.document.layout("header").split()]
        return b"".join(held.get(name, 0).to_bytes(int(size), "little") for name, size in fields)

    def read_message(self):
        ((name, body),) = self.reader.messages(bytes.fromhex(self.recorded["message"]))
        check(name == "resumption", "another message")
        check(body["secret"] == self.values["resumption_secret"], "the secret that was handed out")

    def read_claim(self):
        document, values = self.document, self.values
        data = self.reader.packets[0]
        claim = self.reader.read_message("claim", "kind_claim", data)
        nonce = claim["ephemeral"][: document.constant("header_nonce_size")]
        values["header"] = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            claim["sealed_header"], None, nonce, document.derive("claim_header_key", values)
        )
        self.header = parse_whole(document.layout("header"), values["header"])
        bare = parse_whole(document.layout("header"), values["bare_header"])
        check(number(self.header["flags"]) == 1, "it does not say that it resumes")
        values["ephemeral"] = claim["ephemeral"]
        proof = document.derive("resumption_proof", values)
        check(self.header["proof"] == proof, "another process")
        for name in ("capability", "zero", "expiry", "grant_id", "padded_name"):
            check(self.header[name] == bare[name], f"the header's {name}")
        # The resumption secret takes the place of the grant's.
        values["grant_secret"] = values["resumption_secret"]
        values["claim_without_mac"] = data.replace(claim["mac"], b"")
        values["claim_mac_key"] = document.derive("claim_mac_key", values)
        check(document.derive("claim_mac", values) == claim["mac"], "the claim's MAC")
        self.reader.open_message_1(claim)
        check(self.reader.claim["instance"] == values["instance"], "the payload's instance")
