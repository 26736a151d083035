"""A machine that maps a port, its gateway, and a clock that jumps from one thing to the next."""

from math import inf
from random import Random

from support.fake_gateway import FakeGateway

from tunnel.proto.portmap.machine import PortMapMachine
from tunnel.proto.portmap.mapping import MappingMade, MappingProtocol, NoMapping
from tunnel.units import Instant

PCP, NAT_PMP, UPNP = MappingProtocol.PCP, MappingProtocol.NAT_PMP, MappingProtocol.UPNP
OURS = "10.0.1.2"
PORT = 40000
LAN_DELAY_S = 0.002
HOUR_S = 3600.0


class Home:
    """Machine, gateway and clock; `gateway` can be another one at any time."""

    def __init__(self, gateway=None, port=PORT, protocols=tuple(MappingProtocol), local_ip=OURS):
        self.gateway = gateway or FakeGateway()
        self.now = 1000.0
        self.gateway.started_at = -50000.0
        self.local_ip = self.source_ip = local_ip
        entropy = Random(7).randbytes
        args = (self.gateway.ip, local_ip, port, entropy, protocols)
        self.machine = PortMapMachine(Instant(self.now), *args)
        self.is_cut = False
        self.arrivals = []
        self.events = []
        self.sent = []  # (when, what) of every datagram, search and request

    def run_for(self, duration_s):
        end = self.now + duration_s
        for _ in range(10000):
            self._exchange()
            due = min(
                self.machine.next_timeout() or inf,
                min((at for at, _, _ in self.arrivals), default=inf),
            )
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            for arrival in [each for each in self.arrivals if each[0] <= self.now]:
                self.arrivals.remove(arrival)
                arrival[1](Instant(self.now), *arrival[2])
            self.machine.handle_timeout(Instant(self.now))
        raise AssertionError("the machine never settles")

    def take_events(self):
        self._exchange()
        events, self.events = self.events, []
        return events

    def settled(self):
        """Run until a round has ended; returns the events."""
        self.run_for(3.0)
        return self.take_events()

    def _exchange(self):
        machine, gateway = self.machine, self.gateway
        for data in machine.datagrams_to_send():
            self.sent.append((self.now, data))
            if gateway.is_port_closed:
                self._arrive(machine.handle_closed_port)
            elif (answer := gateway.answer_datagram(self.now, data, self.source_ip)) is not None:
                self._arrive(machine.handle_datagram, answer)
        for search in machine.searches_to_send(Instant(self.now)):
            self.sent.append((self.now, search))
            data = f"M-SEARCH * HTTP/1.1\r\nST: {search.target}\r\n\r\n".encode()
            if (answer := gateway.answer_search(data)) is not None:
                self._arrive(machine.handle_search_answer, answer, gateway.ip)
        for request in machine.requests_to_send():
            self.sent.append((self.now, request))
            answer = None if self.is_cut else gateway.answer_http(request.data, self.source_ip)
            if answer is None:
                self._arrive(machine.handle_no_response, request.number, "no answer", delay_s=1.0)
            else:
                head, _, body = answer.partition(b"\r\n\r\n")
                status = int(head.split(b" ")[1])
                self._arrive(machine.handle_response, request.number, status, body)
        while (event := machine.next_event()) is not None:
            self.events.append(event)

    def _arrive(self, handle, *args, delay_s=LAN_DELAY_S):
        if not self.is_cut or handle == self.machine.handle_no_response:
            self.arrivals.append((self.now + delay_s, handle, args))


def made(home):
    """Return the one mapping that was made."""
    [event] = home.settled()
    assert isinstance(event, MappingMade), event
    return event.mapping


def reasons(home, settle_s=4.0):
    home.run_for(settle_s)
    [event] = home.take_events()
    assert isinstance(event, NoMapping), event
    return {protocol: failure.reason for protocol, failure in event.failures.items()}
