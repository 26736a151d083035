"""A node on the path of every datagram that wants to do harm, without keys: seeded mixtures.

    host a --NAT--> public network --[ HostileNode ]--> NAT--> host b      both directions

It reads, changes, drops, repeats, holds back and makes up datagrams, passes real ones on from
addresses of its own and of a victim, answers what it cannot open, and brings back what passed on
this link and on earlier ones.  `Witness` sits beside the hosts, opens what they send, and sees
that nothing but proofs goes where no challenge was answered, and little of that.
"""

from collections import Counter
from collections.abc import Callable

from inside import sealer_of
from udp_network import Address, Datagram, UdpNetwork
from world import Host

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.packets import OpenedBulk, OpenedGeneral, PacketOpener, PacketSealer
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout

OWN_IP = "198.51.100.9"
VICTIM_IP = "192.0.2.66"
MOST_COPIES = 6
MOST_HELD = 64
MOST_SEEN = 400
AMPLIFICATION = 3


class Witness:
    """Opens every datagram of two hosts as it is sent, and complains.

    Attributes:
        answered: (host, address) pairs whose challenge by the host the other side has answered.
        sent: bytes to each (host, address) before that.
        received: bytes from each (host, address).
    """

    def __init__(self, network: UdpNetwork) -> None:
        self.answered: set[tuple[Host, Address]] = set()
        self.sent: Counter[tuple[Host, Address]] = Counter()
        self.received: Counter[tuple[Host, Address]] = Counter()
        self._asked: dict[bytes, tuple[Host, Address]] = {}
        self._offered: set[Address] = set()
        self._openers: dict[int, PacketOpener] = {}
        self._network = network
        network.watch_sent = self.watch_sent
        network.watch_delivered = self.watch_delivered

    def watch_delivered(self, host: Host, source: Address, data: bytes) -> None:
        """Note what came to a host."""
        self.received[host, source] += len(data)

    def watch_sent(self, host: Host, remote: Address, data: bytes) -> None:
        """Open what a host sends, and see that it may go there."""
        opened = self._open(host, data)
        assert opened is not None, "a host sent what nobody can open"
        to = host, remote
        frames: list[wire.Frame] = []
        if isinstance(opened, OpenedGeneral):
            frames = list(wire.decode_frames(opened.frames))
        for frame in frames:
            if isinstance(frame, wire.Challenge):
                self._asked[frame.token] = to
            elif isinstance(frame, wire.Answer) and frame.token in self._asked:
                self.answered.add(self._asked[frame.token])
        if to in self.answered:
            return
        is_data = isinstance(opened, OpenedBulk) or not all(
            isinstance(frame, wire.Challenge | wire.Answer) for frame in frames
        )
        assert not is_data, f"data to {remote}, which answered no challenge"
        if remote[0] not in self._honest_ips():
            self.sent[to] += len(data)
            limit = AMPLIFICATION * self.received[to]
            assert self.sent[to] <= limit, f"{self.sent[to]} bytes to {remote}, over {limit}"

    def _open(self, host: Host, data: bytes) -> OpenedGeneral | OpenedBulk | None:
        """Open with the key of whichever link of the host sealed it."""
        for link in reversed(host.links):
            sealer = sealer_of(link)
            if layout.link_index_of(data) != sealer._link_index:
                continue
            opener = self._openers.get(id(sealer))
            if opener is None:
                opener = self._openers[id(sealer)] = PacketOpener(sealer._aead, bytes(32))
                opener._key_by_phase[0] = sealer._key  # hosts are not re-keyed in these runs
            opened = opener.open(memoryview(data))
            if opened is not None:
                opener.mark(opened)
                return opened
        return None

    def _honest_ips(self) -> set[str]:
        """Addresses that the hosts truly have, which they offer each other as candidates."""
        ips = set()
        for port in self._network.ports.values():
            ips.update(port.ips)
            if port.nat is not None:
                ips.add(port.nat.ip)
        return ips


class HostileNode:
    """Tampers with what passes the public network.

    Args:
        network: whose middle it sits in.
        old: datagrams of earlier links of the same hosts.

    Attributes:
        tricks: the names of those in use.
        is_active: whether it does harm; before and after, it only looks on.
    """

    def __init__(self, network: UdpNetwork, old: list[bytes]) -> None:
        self.network = network
        self.world = network.world
        self.is_active = False
        self._old = old
        self._rng = self.world.rng
        self._seen: list[Datagram] = []
        self._held: list[Datagram] = []
        self._clients: dict[Address, Address] = {}  # our address -> whom it stands for
        self._swaps: dict[tuple[Address, Address], Address] = {}
        self.tricks = sorted(self._rng.sample(sorted(TRICKS), self._rng.randint(1, 4)))
        self._active = [
            (TRICKS[name], self._rng.choice((0.05, 0.3, 0.7, 1.0))) for name in self.tricks
        ]
        network.tamper = self.tamper
        network.stray = self.take

    def tamper(self, datagram: Datagram) -> list[Datagram]:
        """Return what goes on in place of a datagram."""
        self._seen.append(datagram)
        del self._seen[: len(self._seen) - MOST_SEEN]
        if not self.is_active:
            return [datagram]
        datagrams = [datagram]
        for trick, strength in self._active:
            if self._rng.random() < strength:
                datagrams = [made for each in datagrams for made in trick(self, each)]
        return datagrams[:MOST_COPIES]

    def start(self) -> None:
        """Begin to do harm."""
        self.is_active = True

    def stop(self) -> None:
        """Become an honest network; what was held back is let go."""
        self.is_active = False
        for datagram in self._held:
            self.network.arrive(*datagram)
        self._held.clear()

    def take(self, source: Address, remote: Address, data: bytes) -> None:
        """Take what a host sends to an address of ours, or of the victim, who never answers."""
        if not self.is_active or remote[0] != OWN_IP or source[0] == OWN_IP:
            return
        client = self._clients.get(remote)
        if "pass_on" in self.tricks and client is not None and client[0] != OWN_IP:
            # To the host it stands for, from an address that stands for the sender.
            self.network.arrive(self._address_for(source, client), client, data)
        if "answer_blindly" in self.tricks:
            made = self._rng.choice((data, data[::-1], data + data, self._rng.randbytes(60)))
            self.network.arrive(remote, source, made)

    # -- tricks: what anybody on the path can do ----------------------------------------------

    def flip(self, datagram: Datagram) -> list[Datagram]:
        source, remote, data = datagram
        changed = bytearray(data)
        for _ in range(self._rng.choice((1, 1, 8))):
            bit = self._rng.randrange(8 * min(len(data), self._rng.choice((16, 40, 1 << 16))))
            changed[bit // 8] ^= 1 << bit % 8
        return [(source, remote, bytes(changed))]

    def cut(self, datagram: Datagram) -> list[Datagram]:
        source, remote, data = datagram
        return [(source, remote, data[: self._rng.randrange(1, len(data) + 1)])]

    def drop(self, datagram: Datagram) -> list[Datagram]:
        del datagram
        return []

    def drop_one_way(self, datagram: Datagram) -> list[Datagram]:
        """Drop what goes one way only, and always the same way for a while."""
        is_up = datagram[0] > datagram[1]
        return [] if is_up == (int(self.world.now / 1.5) % 2 == 0) else [datagram]

    def drop_large(self, datagram: Datagram) -> list[Datagram]:
        """Let through what keeps a path alive, and no data."""
        return [datagram] if len(datagram[2]) < 200 else []

    def drop_small(self, datagram: Datagram) -> list[Datagram]:
        return [datagram] if len(datagram[2]) >= 200 else []

    def delay(self, datagram: Datagram) -> list[Datagram]:
        later = self.world.now + self._rng.choice((0.01, 0.2, 1.5, 6.0))
        self.world.at(later, lambda: self.network.arrive(*datagram))
        return []

    def repeat(self, datagram: Datagram) -> list[Datagram]:
        return [datagram] * self._rng.randint(2, 4)

    def hold(self, datagram: Datagram) -> list[Datagram]:
        """Let datagrams go in another order."""
        self._held.append(datagram)
        if len(self._held) < self._rng.randint(2, MOST_HELD):
            return []
        self._rng.shuffle(self._held)
        released, self._held = self._held[:MOST_COPIES], self._held[MOST_COPIES:]
        return released

    def reflect(self, datagram: Datagram) -> list[Datagram]:
        source, remote, data = datagram
        return [datagram, (remote, source, data)]

    def replay(self, datagram: Datagram) -> list[Datagram]:
        return [datagram, self._rng.choice(self._seen)]

    def inject(self, datagram: Datagram) -> list[Datagram]:
        source, remote, _ = datagram
        first = self._rng.choice((b"", b"\x81", b"\x82", b"\x00\x01"))
        junk = first + self._rng.randbytes(self._rng.choice((1, 15, 16, 40, 300, 1400)))
        return [datagram, (self._rng.choice((source, self._any_address())), remote, junk)]

    def forge_header(self, datagram: Datagram) -> list[Datagram]:
        """Change one field: type, phase, path, link index, number, stream, offset."""
        source, remote, data = datagram
        place, size = self._rng.choice(((0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 8)))
        value = self._rng.choice((b"\0", b"\1", b"\x81", b"\x82", b"\xff"))
        made = data[:place] + value * size + data[place + size :]
        return [datagram, (self._rng.choice((source, self._any_address())), remote, made)]

    def forge_sealed(self, datagram: Datagram) -> list[Datagram]:
        """Seal challenges, answers and a close with a key that is not the link's."""
        source, remote, data = datagram
        if len(data) < layout.GENERAL_HEADER_SIZE:
            return [datagram]
        _, _, path, index, number = layout.decode_general_header(memoryview(data))
        sealer = PacketSealer(BY_ID[self._rng.choice(list(AeadId))], bytes(32), index)
        sealer._next_number[path] = min(number + 1, layout.MAX_NUMBER - 1)
        frame = self._rng.choice(
            (
                wire.Challenge(bytes(8)),
                wire.Answer(data[-8:].ljust(8, b"\0"), *source),
                wire.Close(16, "done"),
            )
        )
        return [datagram, (source, remote, bytes(sealer.seal_general(path, wire.encode(frame))[1]))]

    # -- tricks: other addresses ----------------------------------------------------------------

    def replay_elsewhere(self, datagram: Datagram) -> list[Datagram]:
        """Bring back what passed before, from addresses of ours."""
        _, remote, data = self._rng.choice(self._seen)
        return [datagram, (self._any_address(), remote, data)]

    def replay_earlier(self, datagram: Datagram) -> list[Datagram]:
        """Bring back an earlier link's datagrams, also into this link's index."""
        source, remote, data = datagram
        old = self._rng.choice(self._old)
        if self._rng.random() < 0.7:
            old = old[:4] + data[4:8] + old[8:]
        return [datagram, (self._rng.choice((source, self._any_address())), remote, old)]

    def swap_source(self, datagram: Datagram) -> list[Datagram]:
        """Steal real datagrams, which arrive from an address of ours alone, a steady one."""
        source, remote, data = datagram
        return [(self._address_for(source, remote), remote, data)]

    def outrun(self, datagram: Datagram) -> list[Datagram]:
        """The same, but the real one arrives as well, just too late."""
        source, remote, data = datagram
        return [(self._address_for(source, remote), remote, data), datagram]

    def scatter(self, datagram: Datagram) -> list[Datagram]:
        """Pass real datagrams on from ever new addresses, so that path ids run out."""
        _, remote, data = datagram
        return [(self._any_address(), remote, data)]

    def shift_port(self, datagram: Datagram) -> list[Datagram]:
        """Pass real datagrams on from other ports of the real address, as a NAT might."""
        source, remote, data = datagram
        return [((source[0], source[1] + self._rng.randint(1, 40)), remote, data)]

    def aim_at_victim(self, datagram: Datagram) -> list[Datagram]:
        """Have answers go to somebody else."""
        _, remote, data = datagram
        return [((VICTIM_IP, self._rng.choice((53, 123, 4000))), remote, data)]

    def pass_on(self, datagram: Datagram) -> list[Datagram]:
        """Stand between both with addresses of our own; `take` does the way back."""
        return self.swap_source(datagram)

    def answer_blindly(self, datagram: Datagram) -> list[Datagram]:
        """Draw traffic to us, then answer what we cannot open; `take` answers."""
        return self.outrun(datagram)

    # -- inside -----------------------------------------------------------------------------

    def _any_address(self) -> Address:
        ip = self._rng.choice((OWN_IP, OWN_IP, f"198.51.{self._rng.randrange(90)}.7"))
        return ip, self._rng.randrange(1024, 65536)

    def _address_for(self, source: Address, remote: Address) -> Address:
        """Return the address of ours from which `source` seems to send to `remote`."""
        ours = self._swaps.get((source, remote))
        if ours is None:
            ours = self._swaps[source, remote] = (OWN_IP, 2000 + len(self._swaps))
            self._clients[ours] = source
        return ours


TRICKS: dict[str, Callable[[HostileNode, Datagram], list[Datagram]]] = {
    name: getattr(HostileNode, name)
    for name in (
        "flip", "cut", "drop", "drop_one_way", "drop_large", "drop_small", "delay", "repeat",
        "hold", "reflect", "replay", "inject", "forge_header", "forge_sealed", "replay_elsewhere",
        "replay_earlier", "swap_source", "outrun", "scatter", "shift_port", "aim_at_victim",
        "pass_on", "answer_blindly",
    )
}  # fmt: skip
