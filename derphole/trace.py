"""`--trace FILE`: one JSON object a line, with stable event names and never a secret.

    {"t": seconds since the start, "event": "path.relay_changed", ...}

The machines hand over names and plain values; what they hand over is public by construction (no
keys, no stream bytes, no token text).  The file is made with mode 0600.
"""

import json
import os
from pathlib import Path
from typing import TextIO

from derphole.errors import UsageError
from tunnel.net.clock import monotonic, wall


class TraceFile:
    """Writes a trace; without a path it swallows everything.

    Raises `UsageError` if the file cannot be made.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        self._started_at = monotonic()
        if path is None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "a", buffering=1)
        except OSError as error:
            raise UsageError(
                f"the trace file {path} cannot be written: {error.strerror}", shows_help=False
            ) from error
        self("trace.started", {"unix_s": round(wall(), 3)})

    def __call__(self, event: str, values: dict[str, object]) -> None:
        """Write one event; a full disk ends the trace and nothing else."""
        if self._file is None:
            return
        line = json.dumps({"t": round(monotonic() - self._started_at, 6), "event": event, **values})
        try:
            self._file.write(line + "\n")
        except OSError:
            self.close()

    def close(self) -> None:
        """Write no more."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                return  # what the disk did not take is lost; the trace is no result
