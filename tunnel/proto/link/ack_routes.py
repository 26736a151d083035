"""AckRoutes: what came on each path of the peer's, and by which of our paths that is told.

    usually                        by the path that its packets came on
    when that one is doubtful      by the active path
    told by the relay beside an active direct path     by that one too
    when another path becomes active                   everything once more by it: what is under way
                                                       on the one before may be late or lost

It knows nothing of what was in the packets but whether they ask for an acknowledgement.
"""

from tunnel.crypto.packets import MAX_RECEIVE_PATHS
from tunnel.proto.link.path import Path, Paths
from tunnel.proto.recovery.acks import AckState
from tunnel.units import Instant
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout


class AckRoutes:
    """The acknowledgements that one link owes.

    Args:
        paths: ours, by which they go.
    """

    def __init__(self, paths: Paths) -> None:
        self.our_grant = 0
        self._paths = paths
        self._state_by_path: dict[int, AckState] = {}  # by the peer's id of its path
        self._return_by_path: dict[int, Path] = {}  # the one unused for longest first
        self._again: set[int] = set()  # to be told once more, by the active path
        self._told_by: Path = paths.relay  # the active path when it was last looked at

    def __len__(self) -> int:
        return len(self._state_by_path)

    def clear(self) -> None:
        """Owe nothing any more: the link is over."""
        self._state_by_path.clear()
        self._return_by_path.clear()
        self._again.clear()

    def arrived(
        self,
        arrived_at: Instant,
        by: Path,
        path_id: int,
        first: int,
        count: int,
        is_eliciting: bool,
    ) -> None:
        """Note packets of the peer's path `path_id` that came by `by` and are stored.

        `arrived_at` is when they reached this machine: how long they waited there is told as ours.
        """
        state = self._state_by_path.get(path_id)
        if state is None:
            state = self._state_by_path[path_id] = AckState(path_id)
            if len(self._state_by_path) > MAX_RECEIVE_PATHS:
                self._forget_oldest()
        self._return_by_path.pop(path_id, None)
        self._return_by_path[path_id] = by
        state.received(arrived_at, first, count, is_eliciting)

    def _forget_oldest(self) -> None:
        # The one unused for longest, as the opener does.
        oldest = next(each for each in self._return_by_path if each != layout.RELAY_PATH)
        del self._state_by_path[oldest]
        self._again.discard(oldest)
        self._return_by_path.pop(oldest, None)

    def deadlines(self) -> list[Instant | None]:
        """Return when acknowledgements are due; None for those that are not."""
        return [state.deadline for state in self._state_by_path.values()]

    def follow_active(self) -> None:
        """Have everything told once more if another path is active now."""
        active = self._paths.active
        if active is not self._told_by:
            self._told_by = active
            self._again.update(self._state_by_path)

    def next_path(self, now: Instant) -> Path | None:
        """Return a path by which an acknowledgement is to go now, on its own if need be."""
        if self._again:
            return self._paths.active
        for path_id, state in self._state_by_path.items():
            if state.is_due(now):
                return self._return_path(path_id)
        return None

    def add_to(self, packed: bytearray, now: Instant, path: Path, room: int) -> None:
        """Add what is waiting to be told and goes by `path`, up to `room` bytes in all."""
        active = self._paths.active
        for path_id, state in self._state_by_path.items():
            if len(packed) + wire.MAX_ACK_SIZE > room:
                return
            is_first = state.is_waiting and self._return_path(path_id) is path
            if is_first or (path is active and path_id in self._again):
                packed += wire.encode_ack(state.take(now, self.our_grant))
                self._again.discard(path_id)
            if is_first and path.is_relay and path is not active:
                self._again.add(path_id)

    def _return_path(self, path_id: int) -> Path:
        """Return the path by which acknowledgements of the peer's path go."""
        path = self._return_by_path[path_id]
        return path if path.is_usable else self._paths.active
