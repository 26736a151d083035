"""Runs derphole and records its secrets: python record_secrets.py RECORD [FAULT] -- ARGUMENTS...

Everything that is drawn or derived goes to RECORD, a line "name hex" each: random bytes, what the
key derivation takes and gives, results of key exchanges, Noise's chaining keys.  FAULT is
module:Class.method, which then fails with an exception that nobody expects.
"""

import functools
import importlib
import os
import sys
from typing import Any

MINIMUM = 16  # shorter draws are nonces and ids that are public


def main() -> int:
    split = sys.argv.index("--")
    record_path, faults = sys.argv[1], sys.argv[2:split]
    record = os.open(record_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def keep(name: str, value: object) -> None:
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, bytes | bytearray) and len(part) >= MINIMUM:
                os.write(record, f"{name} {bytes(part).hex()}\n".encode())

    def keeping(name: str, function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            keep(name, result)
            return result

        return wrapper

    os.urandom = keeping("random", os.urandom)
    from tunnel.crypto import kdf, noise
    from tunnel.crypto.keys import KeyPair

    derived = kdf.derive

    @functools.wraps(derived)
    def derive(key: bytes, label: str, *parts: bytes, size: int = 32) -> bytes:
        result = derived(key, label, *parts, size=size)
        if label != "claim header":  # its key is the issuer's public one
            keep(f"parent-of-{label}".replace(" ", "-"), key)
            keep(label.replace(" ", "-"), result)
        return result

    kdf.derive = derive  # before anything imports it by name
    noise._hkdf = keeping("noise", noise._hkdf)
    KeyPair.exchange = keeping("exchange", KeyPair.exchange)
    for fault in faults:
        plant(fault)
    sys.argv[:] = ["derphole", *sys.argv[split + 1 :]]
    from derphole.cli.main import main as run

    return run()


def plant(fault: str) -> None:
    """Make a method fail with an exception that nobody expects."""
    module, _, path = fault.partition(":")
    owner, _, name = path.rpartition(".")

    def fail(self: object, *arguments: object, **options: object) -> None:
        raise ZeroDivisionError(f"planted in {path}")

    setattr(getattr(importlib.import_module(module), owner), name, fail)


if __name__ == "__main__":
    sys.exit(main())
