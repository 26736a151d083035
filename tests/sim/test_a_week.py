"""A week of a tunnel in the simulated world: outages, restarts, re-keys, clients that come and go.

Nothing may grow: what the machines of the server and of a client that stays hold at the end of the
week is what they held after the first hours.
"""

import random
from collections.abc import Iterable

import pytest
from test_renewal import GIVE_UP_S, PLACES, RENEW_S, TunnelWorld
from world import HEADER, SECRET

from tunnel.proto.meeting.claimer import LinkUp

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
RETURN_S = 10.0
# Where a machine ends: what it is given from outside, and what all objects of a kind share.
FOREIGN = ("World", "Host", "Inbox", "Random", "function", "module", "type", "builtin", "method")


def size_of(machine: object) -> int:
    """Count the objects that a machine holds, those of the world around it left out."""
    import gc

    seen: set[int] = set()
    waiting: list[object] = [machine]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or type(thing).__name__.startswith(FOREIGN):
            continue
        seen.add(id(thing))
        waiting += gc.get_referents(thing)
    return len(seen)


def forget(world: TunnelWorld, hosts: Iterable[object]) -> None:
    """Have the world forget what it noted: it is the test that grows by it."""
    world.trace.clear()
    for host in hosts:
        host.events[:] = host.events[-4:]
        live = [number for number, link in enumerate(host.links) if not link.is_closed]
        host.links[:] = [host.links[number] for number in live]
        host.inboxes[:] = [host.inboxes[number] for number in live]
        for inbox in host.inboxes:
            inbox.received.clear()
            inbox.receiving.clear()
            inbox.ended.clear()
            inbox.events.clear()


def back(world: TunnelWorld, host: object) -> float:
    """Send something until it arrives; returns how long that took."""
    began_at = world.now
    while True:
        if host.link is None or host.link.is_closed:
            links = host.machine.links
            if links and links[-1].is_closed and not host.machine.is_renewed:
                host.machine.claim_again(host.instant, lambda _: HEADER, SECRET)
            count = len(host.all(LinkUp))
            world.drive(lambda count=count: len(host.all(LinkUp)) > count, seconds=120)
        link, data = host.link, world.rng.randbytes(2000)
        stream = host.send_all(data)
        boxes = world.server.inboxes
        world.drive(
            lambda: link.is_closed or any(box.received.get(stream) == data for box in boxes),
            seconds=120,
        )
        if not link.is_closed:
            return world.now - began_at


def befall(world: TunnelWorld, rng: random.Random, host: object) -> None:
    """Do one of the things that happen in a week, and undo it."""
    match rng.choice(("cut", "cut", "restart", "restart late", "relay", "sleep", "frozen")):
        case "cut":
            world.cut(host)
            world.run_for(rng.choice((5.0, 60.0, 180.0, 1800.0)))
            world.cut(host, is_cut=False)
        case "restart":
            world.kill()
            world.serve()
        case "restart late":
            world.kill()
            world.run_for(rng.choice((30.0, 300.0, 1800.0)))
            world.serve()
        case "relay":
            world.relay.stop()
            world.run_for(rng.choice((1.0, 30.0, 300.0)))
            world.relay.start()
        case "sleep":
            world.sleep(host, rng.choice((60.0, 7200.0)), does_clock_stop=rng.random() < 0.5)
        case "frozen":
            world.freeze()
            world.hosts.remove(world.server)
            world.run_for(2.0)
            world.serve()


@pytest.mark.timeout(1800)
def test_nothing_grows_in_a_week(is_full: bool) -> None:
    days = 7 if is_full else 0.5
    world, rng = TunnelWorld(11), random.Random(11)
    stays = world.opener()
    sizes, took, rekeys = [], [], 0
    ends_at = world.now + days * DAY_S
    while world.now < ends_at:
        world.run_for(rng.uniform(0.2, 1.5) * HOUR_S)
        befall(world, rng, stays)
        took.append(back(world, stays))
        visitor = world.claimer(give_up_after_s=GIVE_UP_S, renew_after_s=RENEW_S)
        world.drive(lambda visitor=visitor: visitor.has(LinkUp))
        took.append(back(world, visitor))
        if rng.random() < 0.5:
            visitor.link.close(visitor.instant, 16, "done")
            world.run_for(1)
        world.hosts.remove(visitor)
        world.relay.disconnect(visitor)
        world.run_for(700)  # who left without a word has been given up by then
        back(world, stays)
        rekeys += len(world.noted("link.rekeyed"))
        forget(world, (stays, world.server))
        world.run_for(60)
        places = world.server.machine.places
        assert len(places.by_index) <= PLACES
        sizes.append(size_of(stays.machine) + size_of(world.server.machine))

    early, late = sizes[: len(sizes) // 3], sizes[-(len(sizes) // 3) :]
    assert max(late) <= 1.15 * max(early), (max(early), max(late))
    assert max(took) <= RETURN_S
    assert rekeys
