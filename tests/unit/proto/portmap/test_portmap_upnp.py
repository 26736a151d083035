"""One port at a simulated UPnP gateway: conflicts, permanent leases, and who is believed."""

import pytest
from support.fake_gateway import Entry, FakeGateway
from support.portmap_home import HOUR_S, PORT, UPNP, Home, made, reasons

from tunnel.proto.portmap.mapping import MappingLost, MappingMade, PortMapping, Reason
from tunnel.units import Instant


def upnp_home(**knobs):
    return Home(FakeGateway(**knobs), protocols=[UPNP])


@pytest.mark.parametrize("code", [402, 725])
def test_a_gateway_without_leases_gets_a_permanent_mapping_that_is_deleted(code):
    home = upnp_home(faults={"AddPortMapping": [code]})

    assert made(home).lifetime_s is None
    assert home.gateway.table[PORT].lease_s == 0
    home.machine.release(Instant(home.now))
    home.run_for(1)

    assert home.gateway.table == {}
    assert home.machine.is_released


def test_a_permanent_mapping_is_renewed_all_the_same():
    home = upnp_home(only_permanent=True)
    made(home)
    home.gateway.table.clear()

    home.run_for(HOUR_S + 60)

    assert PORT in home.gateway.table
    assert home.take_events() == []


def test_a_conflict_leads_to_another_external_port_and_the_other_one_stays():
    theirs = Entry("10.0.1.77", 9, 0)
    home = upnp_home(table={PORT: theirs})

    port = made(home).external_port

    assert port != PORT
    assert home.gateway.table[PORT] is theirs
    home.machine.release(Instant(home.now))
    home.run_for(1)
    assert home.gateway.table == {PORT: theirs}


def test_conflicts_without_end_are_given_up():
    home = upnp_home(faults={"AddPortMapping": [718] * 50})

    assert reasons(home) == {UPNP: Reason.PORT_TAKEN}
    assert home.gateway.asked.count("AddPortMapping") == 6


def test_version_2_chooses_a_free_port_itself():
    theirs = Entry("10.0.1.77", 9, 0)
    home = upnp_home(igd_version=2, table={PORT: theirs})

    assert made(home).external_port == PORT + 1
    assert "AddPortMapping" not in home.gateway.asked
    home.run_for(HOUR_S + 60)  # a renewal keeps that port
    assert set(home.gateway.table) == {PORT, PORT + 1}
    home.machine.release(Instant(home.now))
    home.run_for(1)
    assert home.gateway.table == {PORT: theirs}


@pytest.mark.parametrize("code", [401, 501, 602, 606])
def test_version_2_that_cannot_choose_is_asked_for_one_port(code):
    home = upnp_home(igd_version=2, faults={"AddAnyPortMapping": [code]})

    assert made(home).external_port == PORT
    assert home.gateway.asked[-1] == "AddPortMapping"


def test_a_reserved_port_below_1024_is_given_back():
    home = upnp_home(igd_version=2, granted_port=80)

    assert reasons(home) == {UPNP: Reason.PORT_UNUSABLE}
    assert "DeletePortMapping" in home.gateway.asked


def test_a_gateway_that_wants_equal_ports_gets_them():
    home = upnp_home(table={PORT: Entry("10.0.1.77", 9, 0)}, faults={"AddPortMapping": [718, 724]})
    del home.gateway.table[PORT]

    assert made(home).external_port == PORT


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (606, Reason.NOT_ALLOWED),
        (728, Reason.NO_RESOURCES),
        (501, Reason.ERROR),
        (999, Reason.ERROR),
    ],
)
def test_upnp_errors_become_reasons_with_the_gateway_s_words(code, reason):
    home = upnp_home(faults={"AddPortMapping": [code] * 9})

    assert reasons(home) == {UPNP: reason}
    assert f"{code} No Luck" in home.machine.failures()[UPNP].words


@pytest.mark.parametrize(
    "location",
    [
        "http://192.0.2.1:5000/rootDesc.xml",
        "http://10.0.1.11/",
        "https://10.0.1.1/",
        "http://router/x",
        "http://127.0.0.1/",
    ],
)
def test_a_description_elsewhere_is_never_fetched(location):
    home = upnp_home(location=location)

    assert reasons(home) == {UPNP: Reason.SILENT}
    assert not any(hasattr(what, "host") for _, what in home.sent)


def test_an_answer_from_another_machine_is_not_believed():
    home = upnp_home(has_upnp=False)
    answer = FakeGateway().answer_search(b"M-SEARCH * HTTP/1.1\r\n")

    home.machine.handle_search_answer(Instant(home.now), answer, "10.0.1.66")

    assert reasons(home) == {UPNP: Reason.SILENT}
    assert home.machine.dropped == 1


def test_a_control_url_elsewhere_is_never_called():
    home = upnp_home(control_url="http://192.0.2.1/ctl/IPConn")

    assert reasons(home) == {UPNP: Reason.NOT_OFFERED}
    assert {what.host for _, what in home.sent if hasattr(what, "host")} == {"10.0.1.1"}


@pytest.mark.parametrize("knobs", [{"is_http_silent": True}, {"control_url": "/missing"}])
def test_http_that_does_not_work_is_told(knobs):
    home = upnp_home(**knobs)

    assert reasons(home)[UPNP] in (Reason.SILENT, Reason.UNREADABLE)


def test_a_gateway_that_answers_the_search_late_is_still_used():
    home = upnp_home(has_upnp=False)
    assert reasons(home) == {UPNP: Reason.SILENT}
    home.gateway.has_upnp = True

    answer = home.gateway.answer_search(b"M-SEARCH * HTTP/1.1\r\n")
    home.machine.handle_search_answer(Instant(home.now), answer, home.gateway.ip)

    assert made(home).protocol is UPNP


def test_a_lost_service_that_was_seen_lately_is_used_without_a_new_search():
    home = upnp_home(faults={})
    made(home)
    home.run_for(100)
    home.machine.check(Instant(home.now))  # seen again now
    home.gateway.faults["AddPortMapping"] = [501]
    home.gateway.asked.clear()
    home.run_for(1)

    lost, again = home.take_events()
    assert isinstance(lost, MappingLost)
    assert isinstance(again, MappingMade)
    assert "search" not in home.gateway.asked


def test_an_answer_to_a_request_of_the_past_changes_nothing():
    home = upnp_home()
    mapping = made(home)

    home.machine.handle_response(Instant(home.now), 1, 200, b"<aResponse/>")
    home.machine.handle_no_response(Instant(home.now), 0, "old")

    assert home.machine.mapping == mapping
    assert home.settled() == []


def test_a_release_in_the_middle_of_asking_deletes_what_may_have_been_made():
    for elapsed_s in (0.0005, 0.0021, 0.0041, 0.0061, 0.0081, 0.0101):
        home = upnp_home()
        home.run_for(elapsed_s)
        home.machine.release(Instant(home.now))
        home.run_for(2)

        assert home.gateway.table == {}
        assert home.machine.is_released


def test_an_http_request_that_fails_during_a_renewal_is_tried_again():
    home = upnp_home()
    mapping = made(home)
    home.gateway.is_http_silent = True
    home.run_for(HOUR_S + 60)
    home.gateway.is_http_silent = False

    home.run_for(HOUR_S)

    assert home.take_events() == []
    assert home.machine.mapping == mapping


def test_a_gateway_that_loses_its_address_loses_the_mapping():
    home = upnp_home()
    mapping = made(home)
    home.gateway.external_ip = "0.0.0.0"

    home.run_for(HOUR_S + 60)

    lost = home.take_events()[0]
    assert (lost.mapping, lost.failure.reason) == (mapping, Reason.NO_EXTERNAL_ADDRESS)


def test_a_service_that_does_not_know_its_address_is_passed_over():
    home = upnp_home(faults={"GetExternalIPAddress": [501]})

    assert reasons(home) == {UPNP: Reason.ERROR}


def test_a_private_address_is_taken_where_there_is_no_other():
    home = upnp_home(external_ip="192.168.1.77")

    assert made(home) == PortMapping(UPNP, "192.168.1.77", PORT, 7200)
