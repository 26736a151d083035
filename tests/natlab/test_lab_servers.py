"""Real servers run in the lab: miniupnpd maps ports on a router, coturn answers as STUN server."""

import re
from collections.abc import Iterator

import pytest
from lab import Lab
from lab_servers import STUN_PORT, PortMapper, start_coturn
from namespaces import LabError
from nat_kinds import BEHAVIOUR, NatKind
from natlab_support import received, require_program
from topology import Topology

# miniupnpd maps nothing where the WAN address is one for documentation; this looks like a real one
# and, like everything in the lab, leads nowhere.
REAL_LOOKING = Topology(nat_a=NatKind.SYMMETRIC, public4="5.5.5")
LEASE_S = 60
ARRIVAL_S = 1.0


@pytest.fixture(params=[REAL_LOOKING], ids=["symmetric"])
def topology(request: pytest.FixtureRequest) -> Topology:
    plan: Topology = request.param
    return plan


@pytest.fixture
def mapper(lab: Lab) -> Iterator[PortMapper]:
    require_program("miniupnpd")
    require_program("natpmpc")
    mapper = PortMapper(lab, "a", upnp=False)
    yield mapper
    mapper.stop()


def map_port(lab: Lab, inner: int, outer: int, lease_s: int = LEASE_S) -> str:
    """Ask the router for a UDP mapping by NAT-PMP, and return what natpmpc says."""
    gateway = lab.topology.site("a").lan4
    return lab.a.run("natpmpc", "-g", gateway, "-a", outer, inner, "udp", lease_s)


def arrives(lab: Lab, inner: int, outer: int) -> bool:
    """Tell whether what a stranger sends to the public port comes to the host's port."""
    with lab.a.udp_socket("", inner) as udp, lab.b.udp_socket() as stranger:
        stranger.sendto(b"hello", (lab.router("a").public_address, outer))
        return received(udp, ARRIVAL_S) is not None


def test_miniupnpd_maps_a_port_for_strangers_by_nat_pmp(lab: Lab, mapper: PortMapper):
    assert not arrives(lab, 40000, 41000)

    said = map_port(lab, 40000, 41000)

    assert f"Public IP address : {lab.router('a').public_address}" in said
    assert "Mapped public port 41000 protocol UDP to local port 40000" in said
    assert len(mapper.mappings()) == 1
    assert arrives(lab, 40000, 41000)


def test_a_mapping_that_is_given_back_is_gone(lab: Lab, mapper: PortMapper):
    map_port(lab, 40000, 41000)

    map_port(lab, 40000, 41000, lease_s=0)

    assert mapper.mappings() == []
    assert not arrives(lab, 40000, 41000)


def test_mappings_outlive_a_restart_of_the_router_service(lab: Lab, mapper: PortMapper):
    map_port(lab, 40000, 41000)

    mapper.stop()
    mapper.start()

    assert len(mapper.mappings()) == 1
    assert arrives(lab, 40000, 41000)


def test_a_router_with_upnp_alone_answers_no_nat_pmp(lab: Lab):
    require_program("miniupnpd")
    require_program("natpmpc")
    mapper = PortMapper(lab, "a", pmp=False)

    with pytest.raises(LabError):
        map_port(lab, 40000, 41000)

    mapper.stop()


@pytest.mark.parametrize("topology", [Topology()], ids=["documentation"], indirect=True)
def test_miniupnpd_refuses_where_its_public_address_is_none(lab: Lab, mapper: PortMapper):
    with pytest.raises(LabError):
        map_port(lab, 40000, 41000)

    assert mapper.mappings() == []


@pytest.mark.parametrize("kind", [NatKind.FULL_CONE, NatKind.RESTRICTED, NatKind.SYMMETRIC])
def test_coturn_sees_the_same_kinds_of_nat_as_the_lab(lab: Lab, kind: NatKind):
    require_program("turnserver")
    require_program("turnutils_natdiscovery")
    lab.set_nat("a", kind)
    first, _ = start_coturn(lab)

    said = lab.a.run("turnutils_natdiscovery", "-m", "-f", "-p", STUN_PORT, first)

    behaviour = BEHAVIOUR[kind]
    assert behaviour is not None
    assert f"reflexive addr: {lab.router('a').public_address}:" in said
    verdicts = re.findall(r"NAT with (.+?) (Mapping|Filtering)!", said)
    assert [(words.lower().replace(" ", "-"), what) for words, what in verdicts] == [
        (behaviour.mapping, "Mapping"),
        (behaviour.filtering, "Filtering"),
    ]
