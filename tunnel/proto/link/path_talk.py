"""PathTalk: what the two sides of a link tell each other of direct paths, and what follows.

    our lanes, their candidates        --> paths that are probed
    challenges and answers             --> a path is confirmed, and perhaps taken
    our candidates, our receive buffer --> told, until it is acknowledged

A peer that has no place yet may offer candidates, but they are not probed before it has.  Where a
side keeps to the relay nothing is told, and whoever tells breaks the protocol.
"""

from collections.abc import Callable

from tunnel.errors import ProtocolViolation
from tunnel.proto.link.control_queue import ControlQueue
from tunnel.proto.link.events import AddressSeen, PathAnswered, PathChanged, PeerOffered
from tunnel.proto.link.path import Path, Paths
from tunnel.proto.link.resending import InFlight
from tunnel.proto.paths.candidates import CandidateKind, is_link_local
from tunnel.proto.paths.direct_path import DirectPath
from tunnel.units import ByteCount, Instant
from tunnel.wire import frames as wire


class PathTalk:
    """The frames about direct paths of one link.

    Args:
        paths: those of the link.
        control: takes what is to be told.
        in_flight: told of paths that are gone.
        tell: takes what the link's owner is to know.
        is_relay_only: whether a side wants it so.
        is_admitted: whether the peer has its place from the beginning.
    """

    def __init__(
        self,
        paths: Paths,
        control: ControlQueue,
        in_flight: InFlight,
        tell: Callable[[AddressSeen | PathAnswered | PathChanged | PeerOffered], None],
        is_relay_only: bool,
        is_admitted: bool,
    ) -> None:
        self.is_relay_only = is_relay_only
        self._paths = paths
        self._control = control
        self._in_flight = in_flight
        self._tell = tell
        self._is_admitted = is_admitted
        self._early_candidates: tuple[wire.Candidate, ...] = ()  # the last ones
        self._told_path: DirectPath | None = None
        self._told_buffer: ByteCount | None = None

    # -- commands ---------------------------------------------------------------------------

    def admit(self, now: Instant) -> None:
        """Probe what the peer offers from now on, and what it offered: it has its place."""
        self._is_admitted = True
        if self._early_candidates:
            self._take_candidates(now, self._early_candidates)
            self._early_candidates = ()

    def use_lanes(self, now: Instant, lanes: dict[int, bool], allows_loopback: bool) -> None:
        """Probe direct paths from these lanes (number -> whether IPv6), if both sides want them.

        What is in flight by a lane that is gone goes out again by another path.
        """
        if self.is_relay_only:
            return
        self._paths.direct.allows_loopback = allows_loopback
        for path in self._paths.direct.use_lanes(now, lanes):
            self._in_flight.give_up(path)
        self.choose(now)

    def tell_receive_buffer(self, size: ByteCount) -> None:
        """Tell the other side how many bytes of datagrams may wait at each lane, if that is new."""
        if not self.is_relay_only and size != self._told_buffer:
            self._told_buffer = size
            self._control.add(wire.ReceiveBuffer(min(size, wire.MAX_RECEIVE_BUFFER)))

    def offer(self, candidates: tuple[wire.Candidate, ...]) -> None:
        """Tell the other side where we may be reached, so that it probes us at once.

        Its link-local addresses are probed only where an interface of ours has one too.
        """
        hosts = (each.ip for each in candidates if each.kind == CandidateKind.HOST)
        self._paths.direct.allows_link_local = any(map(is_link_local, hosts))
        if not self.is_relay_only and candidates:
            self._control.offer(wire.Candidates(candidates[: wire.MAX_CANDIDATES]))

    def choose(self, now: Instant) -> None:
        """Take the best path there is, and tell the owner if that is another one than before."""
        chosen = self._paths.direct.choose(now)
        if chosen is not self._told_path:
            self._told_path = chosen
            self._tell(PathChanged(chosen.endpoint if chosen else None))

    # -- what comes in ----------------------------------------------------------------------

    def handle_frame(self, now: Instant, by: Path, frame: wire.Frame) -> None:
        """Take a frame that came by a path of ours; raises `ProtocolViolation`."""
        if self.is_relay_only:
            raise ProtocolViolation("a frame about direct paths although both keep to the relay")
        table = self._paths.direct
        path = table.by_id(by.id)
        match frame:
            case wire.Candidates(candidates) if self._is_admitted:
                self._take_candidates(now, candidates)
            case wire.Candidates(candidates):
                self._early_candidates = candidates
            case wire.ReceiveBuffer(size):
                table.handle_receive_buffer(size)
            case wire.Challenge() if path is not None:
                path.challenged(now, frame)
            case wire.Answer() if path is not None:
                was_confirmed = path.was_confirmed
                if path.answered(now, frame):
                    if not was_confirmed and path.rtt_s is not None:
                        self._tell(PathAnswered(path.endpoint, path.rtt_s))
                    self._tell(AddressSeen(path.endpoint.lane, frame.ip, frame.port))
                self.choose(now)
            case _:
                raise ProtocolViolation("a frame that belongs to a feature not agreed on")

    def _take_candidates(self, now: Instant, candidates: tuple[wire.Candidate, ...]) -> None:
        self._paths.direct.handle_candidates(now, candidates)
        self._tell(PeerOffered())
