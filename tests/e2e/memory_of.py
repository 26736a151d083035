"""How much memory and processor time a process has used, by /proc."""

import os
from pathlib import Path

from support.processes import Process

from tunnel.units import KIB


def memory_mb(process: Process, what: str = "VmRSS") -> float:
    """Memory in use, or with VmHWM the most that ever was."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith(what)]
    return int(line.split()[1]) / KIB


def processor_s(process: Process) -> float:
    """Seconds of a processor that a process has taken so far."""
    fields = (
        Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    )
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
