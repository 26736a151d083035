"""Descriptions and SOAP answers as real gateways write them, and as hostile ones might."""

import pytest

from tunnel.errors import DecodeError, Truncated
from tunnel.wire import igd

LOCATION = igd.Url("10.0.1.1", 5000, "/rootDesc.xml")
IP_1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
IP_2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
PPP_1 = "urn:schemas-upnp-org:service:WANPPPConnection:1"


def service_xml(kind, control):
    return (
        f"<service><serviceType>{kind}</serviceType><serviceId>urn:upnp-org:serviceId:x</serviceId>"
        f"<controlURL>{control}</controlURL><eventSubURL>/evt</eventSubURL></service>"
    )


def description(*services, base=""):
    inner = "".join(service_xml(*each) for each in services)
    return (
        '<?xml version="1.0"?>\n<root xmlns="urn:schemas-upnp-org:device-1-0">'
        f"<specVersion><major>1</major><minor>1</minor></specVersion>{base}"
        "<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>"
        "<friendlyName>Bob &amp; Alice's router</friendlyName>"
        "<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1"
        "</serviceType><controlURL>/l3f</controlURL></service></serviceList>"
        f"<deviceList><device><serviceList>{inner}</serviceList></device></deviceList>"
        "</device></root>\n\0"
    ).encode()


def soap(inner):
    return (
        '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f"<s:Body>{inner}</s:Body></s:Envelope>\r\n"
    ).encode()


def fault(code, words):
    return soap(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
        f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
        f"<errorDescription>{words}</errorDescription></UPnPError></detail></s:Fault>"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.1.1:5000/rootDesc.xml", LOCATION),
        ("HTTP://10.0.1.1:5000/rootDesc.xml#top", LOCATION),
        ("http://10.0.1.1", igd.Url("10.0.1.1", 80, "/")),
        ("http://10.0.1.1/a?b=c", igd.Url("10.0.1.1", 80, "/a?b=c")),
    ],
)
def test_a_url_is_read(text, expected):
    assert igd.parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "path"),
    [("/ctl/IPConn", "/ctl/IPConn"), ("ctl/IPConn", "/upnp/ctl/IPConn"), ("?a", "/upnp/?a")],
)
def test_a_relative_url_starts_at_its_base(text, path):
    base = igd.Url("10.0.1.1", 5000, "/upnp/desc.xml?x=/y/")

    assert igd.parse_url(text, base) == igd.Url("10.0.1.1", 5000, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://10.0.1.1/",
        "http://router.local/",
        "http://[fe80::1]/",
        "http://user@10.0.1.1/",
        "http://10.0.1.1:0/",
        "http://10.0.1.1:65536/",
        "http://10.0.1.256/",
        "http://010.0.1.1/",
        "http://10.0.1.1/\r\nX: y",
        "http://10.0.1.1/a b",
        "//10.0.1.2/x",
        "ftp://10.0.1.1/x",
        "/" + "x" * 600,
    ],
)
def test_a_url_that_is_not_plain_http_to_an_address_is_refused(text):
    with pytest.raises(DecodeError):
        igd.parse_url(text, LOCATION)


def test_a_description_names_the_services_that_map_ports_best_first():
    document = description((PPP_1, "/ctl/PPP"), (IP_1, "/ctl/IP1"), (IP_2, "/ctl/IP2"))

    services = igd.decode_description(document, LOCATION)

    assert services == (
        igd.Service(IP_2, igd.Url("10.0.1.1", 5000, "/ctl/IP2")),
        igd.Service(IP_1, igd.Url("10.0.1.1", 5000, "/ctl/IP1")),
        igd.Service(PPP_1, igd.Url("10.0.1.1", 5000, "/ctl/PPP")),
    )
    assert [each.can_choose_port for each in services] == [True, False, False]


def test_a_url_base_on_the_same_host_counts():
    document = description((IP_1, "ctl"), base="<URLBase>http://10.0.1.1:49152/a/</URLBase>")

    [service] = igd.decode_description(document, LOCATION)

    assert service.control == igd.Url("10.0.1.1", 49152, "/a/ctl")


@pytest.mark.parametrize(
    ("kind", "control", "base"),
    [
        (IP_1, "http://10.0.1.2:5000/ctl", ""),
        (IP_1, "http://192.0.2.1/ctl", ""),
        (IP_1, "", ""),
        (IP_1, "javascript:x y", ""),
        ("urn:schemas-upnp-org:service:WANIPConnection:1&quot;&#13;&#10;X: y", "/ctl", ""),
        ("urn:schemas-upnp-org:service:WANIPConnection:123", "/ctl", ""),
    ],
)
def test_a_service_elsewhere_or_of_another_kind_is_left_out(kind, control, base):
    assert igd.decode_description(description((kind, control), base=base), LOCATION) == ()


def test_a_url_base_on_another_host_is_ignored():
    document = description((IP_1, "/ctl"), base="<URLBase>http://192.0.2.1/</URLBase>")

    [service] = igd.decode_description(document, LOCATION)

    assert service.control.host == "10.0.1.1"


def test_many_services_are_cut_to_a_few_and_repeated_ones_count_once():
    many = description(*((IP_1, f"/ctl/{number}") for number in range(50)))
    same = description(*((IP_1, "/ctl") for _ in range(50)))

    assert len(igd.decode_description(many, LOCATION)) == igd.MAX_SERVICES
    assert len(igd.decode_description(same, LOCATION)) == 1


def test_a_request_for_a_description_is_plain_http():
    assert igd.encode_get(LOCATION) == (
        b"GET /rootDesc.xml HTTP/1.1\r\nHost: 10.0.1.1:5000\r\nUser-Agent: derphole\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_a_mapping_is_asked_for_in_the_order_of_the_specification():
    service = igd.Service(IP_1, igd.Url("10.0.1.1", 5000, "/ctl/IPConn"))
    call = igd.encode_add_call(
        service, igd.PortMapping(41002, 40002, "10.0.1.2", 7200), any_port=False
    )
    head, _, body = call.partition(b"\r\n\r\n")

    assert head.split(b"\r\n") == [
        b"POST /ctl/IPConn HTTP/1.1",
        b"Host: 10.0.1.1:5000",
        b"User-Agent: derphole",
        b"Connection: close",
        b'Content-Type: text/xml; charset="utf-8"',
        f'SOAPAction: "{IP_1}#AddPortMapping"'.encode(),
        f"Content-Length: {len(body)}".encode(),
    ]
    assert body == soap_call(
        "AddPortMapping",
        IP_1,
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>41002</NewExternalPort>"
        "<NewProtocol>UDP</NewProtocol><NewInternalPort>40002</NewInternalPort>"
        "<NewInternalClient>10.0.1.2</NewInternalClient><NewEnabled>1</NewEnabled>"
        "<NewPortMappingDescription>derphole</NewPortMappingDescription>"
        "<NewLeaseDuration>7200</NewLeaseDuration>",
    )


def soap_call(action, kind, arguments):
    return (
        '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{kind}">{arguments}</u:{action}></s:Body></s:Envelope>'
    ).encode()


def test_the_other_calls_carry_what_they_must():
    service = igd.Service(IP_2, igd.Url("10.0.1.1", 5000, "/ctl"))
    mapping = igd.PortMapping(41002, 40002, "10.0.1.2", 0)

    assert igd.encode_external_address_call(service).endswith(
        soap_call("GetExternalIPAddress", IP_2, "")
    )
    assert igd.encode_delete_call(service, 41002).endswith(
        soap_call(
            "DeletePortMapping",
            IP_2,
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>41002</NewExternalPort>"
            "<NewProtocol>UDP</NewProtocol>",
        )
    )
    any_port = igd.encode_add_call(service, mapping, any_port=True)
    assert f'SOAPAction: "{IP_2}#AddAnyPortMapping"'.encode() in any_port
    assert b"<NewLeaseDuration>0</NewLeaseDuration>" in any_port


def test_the_external_address_is_read():
    document = soap(
        f'<u:GetExternalIPAddressResponse xmlns:u="{IP_1}"><NewExternalIPAddress> 5.5.5.10\n'
        "</NewExternalIPAddress></u:GetExternalIPAddressResponse>"
    )
    answer = igd.decode_answer(document)

    assert isinstance(answer, igd.Answer)
    assert igd.external_address(answer) == "5.5.5.10"


@pytest.mark.parametrize("text", ["", "5.5.5", "::1", "5.5.5.10 or so", "<b/>"])
def test_an_external_address_that_is_none_is_refused(text):
    document = soap(
        f"<u:XResponse><NewExternalIPAddress>{text}</NewExternalIPAddress></u:XResponse>"
    )
    answer = igd.decode_answer(document)

    with pytest.raises(DecodeError):
        igd.external_address(answer)


def test_the_reserved_port_is_read():
    document = soap(
        "<u:AddAnyPortMappingResponse><NewReservedPort>41003</NewReservedPort></u:AddAnyPortMappingResponse>"
    )

    assert igd.reserved_port(igd.decode_answer(document)) == 41003


@pytest.mark.parametrize("text", ["", "65536", "-1", "many", "٤"])
def test_a_reserved_port_that_is_none_is_refused(text):
    document = soap(
        f"<u:AddAnyPortMappingResponse><NewReservedPort>{text}</NewReservedPort></u:AddAnyPortMappingResponse>"
    )
    answer = igd.decode_answer(document)

    with pytest.raises(DecodeError):
        igd.reserved_port(answer)


def test_an_answer_without_content_is_done():
    assert igd.decode_answer(soap(f'<u:AddPortMappingResponse xmlns:u="{IP_1}"/>')) == igd.Answer(
        {"AddPortMappingResponse": "", "Body": "", "Envelope": ""}
    )


def test_a_fault_is_read_with_its_words_made_harmless():
    assert igd.decode_answer(fault(718, "ConflictInMappingEntry")) == igd.Fault(
        718, "ConflictInMappingEntry"
    )
    evil = igd.decode_answer(fault(501, "&#27;[2J\n" + "x" * 500 + "<![CDATA[<b>]]>"))

    assert isinstance(evil, igd.Fault)
    assert evil.words.startswith("?[2J xxx")
    assert len(evil.words) == igd.MAX_WORDS_SHOWN


def test_entities_character_references_comments_and_cdata_are_understood():
    document = soap(
        "<!-- <errorCode>9</errorCode> --><u:XResponse><a>&lt;&amp;&#65;&#x42;&bogus;&#xD800;&#0;</a>"
        "<b><![CDATA[<&amp;>]]></b></u:XResponse>"
    )
    answer = igd.decode_answer(document)

    assert isinstance(answer, igd.Answer)
    assert answer.values["a"] == "<&AB&bogus;\ufffd\ufffd"
    assert answer.values["b"] == "<&amp;>"


@pytest.mark.parametrize(
    "document",
    [
        b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">]><root>&lol;</root>',
        b'<!DOCTYPE root SYSTEM "http://192.0.2.1/x.dtd"><root/>',
        b"<root><a></b></root>",
        b"<root></a></root>",
        b"</root>",
        b"<root>< a/></root>",
        b"<root><1/></root>",
        b"<root><a:b:c/></root>",
        b"<" + b"a" * 200 + b"/>",
        b"<a>" * 40 + b"</a>" * 40,
        b"<root>" + b"<a></a>" * 2001 + b"</root>",
        b"<root>" + b" " * (64 << 10) + b"</root>",
        "<root><a/></root>".encode("utf-16"),
        soap("<hello/>"),
        fault("", "no code"),
        fault("9" * 400, "a long code"),
    ],
)
def test_what_is_not_plain_xml_with_an_answer_is_refused(document):
    with pytest.raises(DecodeError):
        igd.decode_answer(document)


def test_a_document_that_is_cut_is_refused_everywhere():
    document = fault(718, "ConflictInMappingEntry").strip()
    for size in range(len(document)):
        with pytest.raises(Truncated):
            igd.decode_answer(document[:size])
