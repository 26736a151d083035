"""The ways in which a secret could show in a text, and a search for all of them at once."""

import base64
import json
from urllib.parse import quote

MINIMUM = 8  # fewer bytes are found by chance


def forms_of(secret: bytes) -> set[str]:
    """Return every spelling of a secret that a log, a trace or a `repr` could show."""
    spelled = {
        secret.hex(),
        secret.hex().upper(),
        secret.hex(" "),
        secret.hex(":"),
        repr(secret)[2:-1],
        repr(bytearray(secret))[12:-2],
        ", ".join(map(str, secret)),
        str(int.from_bytes(secret, "big")),
        str(int.from_bytes(secret, "little")),
        secret[::-1].hex(),
        quote(secret),
        json.dumps(secret.decode("latin-1"))[1:-1],
        secret.decode("latin-1"),
        secret.decode("utf-8", "replace"),
        secret.decode("utf-8", "backslashreplace"),
        base64.b32encode(secret).decode().rstrip("="),
        base64.b85encode(secret).decode(),
    }
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        spelled |= {_inner_base64(secret, lead, encode) for lead in range(3)}
    return {form for form in spelled if len(form) >= MINIMUM}


def _inner_base64(secret: bytes, lead: int, encode) -> str:
    """Return the letters of a secret in the base64 of something longer, `lead` bytes before it."""
    whole = encode(bytes(lead) + secret).decode().rstrip("=")
    start = -(-lead * 8 // 6)  # letters that the bytes before it have a part in
    end = (lead + len(secret)) * 8 // 6
    return whole[start:end]


def leaks(text: str, secrets: dict[str, bytes]) -> list[str]:
    """Return which secrets show in a text, and how; the secrets themselves stay unsaid."""
    found = []
    for name, secret in secrets.items():
        if len(secret) < MINIMUM:
            continue
        for form in forms_of(secret):
            place = text.find(form)
            if place >= 0:
                line = text.count("\n", 0, place) + 1
                found.append(f"{name} shows in line {line}, as {len(form)} characters")
    return found
