"""Makes the faults of a plan in a lab, and heals them; what is left is healed at the end."""

import signal
import threading
import time
from collections.abc import Callable, Mapping

from lab import Lab
from lab_transfers import RELAY_PORT, Stage
from support.processes import Process
from wires import UDP, Way

from soak_lib.plan import OF_ADDRESSES, Fault, FaultKind
from soak_lib.ways import Applied

# Chosen.
TCP = "meta l4proto tcp"
NEW_ADDRESS = 77
SMALL_MTU = 1280
USUAL_MTU = 1500
RELAY_READY_S = 20.0

Heal = Callable[[], None]


class FaultMaker:
    """Makes faults in one lab.

    Args:
        lab: where.
        stage: whose relay is the relay.
        programs: the program under test on each host.
    """

    def __init__(self, lab: Lab, stage: Stage, programs: Mapping[str, Process]) -> None:
        self._lab = lab
        self._stage = stage
        self._programs = programs
        self._began: dict[Fault, float] = {}
        self._heals: dict[Fault, Heal] = {}
        self._healed: dict[Fault, float] = {}
        self._restarts: list[threading.Thread] = []

    def begin(self, fault: Fault) -> None:
        """Make a fault."""
        if fault.kind is FaultKind.RELAY_FROZEN:
            self._await_restarts()
        self._began[fault] = time.monotonic()
        self._heals[fault] = self._make(fault)

    def heal(self, fault: Fault) -> None:
        """Undo a fault; a killed relay is back a moment later."""
        heal = self._heals.pop(fault, None)
        if heal is None:
            return
        if fault.kind is FaultKind.RELAY_KILLED:
            restart = threading.Thread(target=self._restart_relay, args=(fault,), daemon=True)
            self._restarts.append(restart)
            restart.start()
            return
        heal()
        self._healed[fault] = time.monotonic()

    def heal_all(self) -> None:
        """Undo what is left, and wait until the relay is back."""
        for fault in list(self._heals):
            self.heal(fault)
        self._await_restarts()

    def applied(self) -> list[Applied]:
        """Return what was made, after everything was healed."""
        return [Applied(each, began, self._healed[each]) for each, began in self._began.items()]

    def _await_restarts(self) -> None:
        for restart in self._restarts:
            restart.join(RELAY_READY_S)

    def _restart_relay(self, fault: Fault) -> None:
        self._stage.start_relay()
        self._healed[fault] = time.monotonic()

    def _make(self, fault: Fault) -> Heal:
        """Make a fault and return what undoes it."""
        match fault.kind:
            case FaultKind.RELAY_KILLED:
                self._stage.relay.send_signal(signal.SIGKILL)
                self._stage.relay.wait()
                return _nothing
            case FaultKind.RELAY_FROZEN:
                return _frozen(self._stage.relay)
            case FaultKind.PEER_STOPPED:
                return _frozen(self._programs[fault.side])
            case FaultKind.RELAY_SWALLOWS:
                return self._swallow(fault)
            case FaultKind.UDP_GONE | FaultKind.TCP_GONE:
                match = UDP if fault.kind is FaultKind.UDP_GONE else TCP
                return self._lab.wire(fault.side).block(match, *map(Way, fault.ways)).lift
            case FaultKind.MTU_LOWERED:
                return self._lower_mtu(fault)
            case _:
                assert fault.kind in OF_ADDRESSES
                return self._unsettle(fault)

    def _swallow(self, fault: Fault) -> Heal:
        match = {"up": f"tcp dport {RELAY_PORT}", "down": f"tcp sport {RELAY_PORT}"}
        blocks = [
            self._lab.wire(site).block(match[way], Way(way)) for site in "ab" for way in fault.ways
        ]

        def lift() -> None:
            for block in blocks:
                block.lift()

        return lift

    def _lower_mtu(self, fault: Fault) -> Heal:
        if fault.mtu:
            return self._lab.swallow_udp(fault.side, fault.mtu).lift
        host = self._lab.host(fault.side)
        host.ip(f"link set dev eth0 mtu {SMALL_MTU}")
        return lambda: host.ip(f"link set dev eth0 mtu {USUAL_MTU}")

    def _unsettle(self, fault: Fault) -> Heal:
        if fault.kind is FaultKind.ADDRESS_CHANGED:
            self._lab.move(fault.side, NEW_ADDRESS)
            return _nothing
        self._lab.take_addresses(fault.side)
        return lambda: self._lab.give_addresses(fault.side)


def _frozen(process: Process) -> Heal:
    process.send_signal(signal.SIGSTOP)
    return lambda: process.send_signal(signal.SIGCONT)


def _nothing() -> None:
    """Undo what undoes itself."""
