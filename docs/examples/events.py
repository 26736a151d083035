#!/usr/bin/env python3
"""Send a file with derphole from a program, and read its events.

    echo TOKEN | events.py FILE

The token goes through standard input and a private file: no other user of the machine sees it.
"""

import json
import subprocess
import sys
import tempfile


def main() -> int:
    """Send the file that the first argument names; return derphole's exit code."""
    if len(sys.argv) != 2:
        print("usage: echo TOKEN | events.py FILE", file=sys.stderr)
        return 2
    token = sys.stdin.readline().strip()
    with tempfile.NamedTemporaryFile("w", suffix=".token") as file, open(sys.argv[1], "rb") as data:
        file.write(token + "\n")
        file.flush()
        command = ["derphole", "--json", "pipe", "--token-file", file.name]
        process = subprocess.Popen(command, stdin=data, stderr=subprocess.PIPE, text=True)  # noqa: S603 - fixed words
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "receipt":
                print(f"{event['bytes']} bytes confirmed, {event['digest_kind']} {event['digest']}")
            elif event["event"] == "error":
                print(f"{event['code']}: {event['message']}", file=sys.stderr)
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
