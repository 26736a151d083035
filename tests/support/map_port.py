"""Keep one UDP port mapped until told to stop: a process for labs and for trying real routers.

    python tests/support/map_port.py GATEWAY LOCAL PORT [--protocol PCP|NAT-PMP|UPnP]...
                                     [--mapping-port N] [--search-port N]

GATEWAY and LOCAL may be "auto": then this machine's default gateway is used.  Each event is a line
of JSON on stdout, {"event": "made" | "lost" | "none" | "released", ...}.  SIGINT, SIGTERM or the
end of stdin releases the mapping; the exit code is 0 if the gateway confirmed that.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import gevent
from gevent.event import Event
from gevent.os import tp_read

from tunnel.values import replace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tunnel.net.ifaces import default_gateway
from tunnel.net.ports.portmap import GatewayPorts, MappedPort, PortMapper
from tunnel.net.tasks import TaskGroup
from tunnel.proto.portmap.mapping import MappingLost, MappingMade, MappingProtocol, NoMapping

RELEASE_S = 3.0


def describe(event: MappingMade | MappingLost | NoMapping) -> dict[str, object]:
    """Return an event as JSON can write it."""
    if isinstance(event, NoMapping):
        reasons = {protocol.value: each.words for protocol, each in event.failures.items()}
        return {"event": "none", "reasons": reasons}
    mapping = event.mapping
    values: dict[str, object] = {
        "event": "made" if isinstance(event, MappingMade) else "lost",
        "protocol": mapping.protocol.value,
        "ip": mapping.external_ip,
        "port": mapping.external_port,
        "lifetime_s": mapping.lifetime_s,
        "is_public": mapping.is_public,
    }
    if isinstance(event, MappingLost):
        values["reason"] = event.failure.words
    return values


def report(mapped: MappedPort) -> None:
    """Print events as they come."""
    while True:
        event = mapped.next_event()
        if event is not None:
            print(json.dumps(describe(event)), flush=True)


def await_end_of_input(stop: Event) -> None:
    """Set `stop` when stdin ends."""
    while tp_read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def main() -> int:
    """Run until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("gateway")
    parser.add_argument("local")
    parser.add_argument("port", type=int)
    parser.add_argument(
        "--protocol", action="append", choices=[each.value for each in MappingProtocol]
    )
    parser.add_argument("--mapping-port", type=int)
    parser.add_argument("--search-port", type=int)
    options = parser.parse_args()
    found = default_gateway()
    if found is None and "auto" in (options.gateway, options.local):
        parser.error("this machine has no default gateway")
    gateway = found.ip if found and options.gateway == "auto" else options.gateway
    local = found.local_ip if found and options.local == "auto" else options.local
    ports = GatewayPorts()
    if options.mapping_port:
        ports = replace(ports, mapping=options.mapping_port)
    if options.search_port:
        ports = replace(ports, search=options.search_port)
    protocols = [
        MappingProtocol(name) for name in options.protocol or [p.value for p in MappingProtocol]
    ]

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stop.set)
    mapper = PortMapper(gateway, local, os.urandom, protocols=protocols, ports=ports)
    with TaskGroup("map_port", lambda _: stop.set()) as tasks:
        mapper.start(tasks)
        tasks.spawn("report", report, mapper.map(options.port))
        tasks.spawn("stdin", await_end_of_input, stop)
        stop.wait()
        is_confirmed = mapper.release(RELEASE_S)
        tasks.raise_failure()
    mapper.close()
    print(json.dumps({"event": "released", "confirmed": is_confirmed}), flush=True)
    return 0 if is_confirmed else 1


if __name__ == "__main__":
    sys.exit(main())
