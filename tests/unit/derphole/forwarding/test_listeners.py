"""The kernel's tables of sockets: real ones of both byte orders, and whatever else comes."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from derphole.forwarding.listeners import Listener, decode_listeners
from tunnel.errors import DecodeError

# Printed by Linux 6 on x86-64: two listeners, both ends of a connection, one that is closing.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:8709 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 2135092 2 000000001b071da1 100 0 0 10 0                   
   1: 00000000:8707 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2134335 1 000000003c5dc997 100 0 0 10 0                   
   3: 0100007F:8709 0100007F:80AA 01 00000000:00000000 00:00000000 00000000     0        0 0 1 000000002a66263e 20 0 0 10 -1                         
   4: 0100007F:80AA 0100007F:8709 01 00000000:00000000 00:00000000 00000000     0        0 2135097 2 00000000fdb708a0 20 0 0 10 -1                   
   5: 0100007F:C4A2 0100007F:8709 06 00000000:00000000 03:00001769 00000000     0        0 0 3 00000000d2c9a1f7                                      
"""  # noqa: W291 - the kernel pads its lines
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:870A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135093 1 00000000c850f617 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:870C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135096 1 00000000400858ca 100 0 0 10 0
   2: 00000000000000000000000000000000:870B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135095 1 00000000ea14e4a9 100 0 0 10 0
   3: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135099 1 00000000ea14e4b0 100 0 0 10 0
"""
# The same sockets as a big-endian machine (s390x) prints them: words are not turned round.
TCP_BIG = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 7F000001:8709 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 2135092 2 000000001b071da1 100 0 0 10 0
   1: 00000000:8707 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2134335 1 000000003c5dc997 100 0 0 10 0
"""
TCP6_BIG = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000001:870A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135093 1 00000000c850f617 100 0 0 10 0
   1: 00000000000000000000FFFF7F000001:870C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135096 1 00000000400858ca 100 0 0 10 0
   2: 00000000000000000000000000000000:870B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135095 1 00000000ea14e4a9 100 0 0 10 0
   3: 20010DB8000000000000000000000001:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2135099 1 00000000ea14e4b0 100 0 0 10 0
"""
HEAD = TCP.splitlines(keepends=True)[0]
LISTENERS = [("127.0.0.1", 34569), ("0.0.0.0", 34567)]
LISTENERS6 = [("::1", 34570), ("127.0.0.1", 34572), ("::", 34571), ("2001:db8::1", 443)]


def listeners(table, byte_order):
    found = decode_listeners(table.splitlines(keepends=True), byte_order)
    return [(str(each.ip), each.port) for each in found]


@pytest.mark.parametrize(
    ("table", "byte_order", "expected"),
    [
        (TCP, "little", LISTENERS),
        (TCP_BIG, "big", LISTENERS),
        (TCP6, "little", LISTENERS6),
        (TCP6_BIG, "big", LISTENERS6),
        (HEAD, "little", []),
    ],
    ids=["IPv4", "IPv4 big-endian", "IPv6", "IPv6 big-endian", "head alone"],
)
def test_listeners_are_read_and_connections_left_out(table, byte_order, expected):
    assert listeners(table, byte_order) == expected


@pytest.mark.parametrize(
    ("ip", "wanted", "does_take"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "::1", False),
        ("::", "::1", True),
        ("::", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_a_listener_takes_what_is_sent_to_its_address(ip, wanted, does_take):
    listener = Listener(ip_address(ip), 80)

    assert listener.takes(ip_address(wanted), 80) is does_take
    assert not listener.takes(ip_address(wanted), 81)


@pytest.mark.parametrize(
    "line",
    [
        "0: 0100007F:8709 00000000:0000",  # cut
        "0: 0100007F 00000000:0000 0A",  # no port
        "0: 0100007F:87 00000000:0000 0A",
        "0: 0100007:8709 00000000:0000 0A",
        "0: 0100007G:8709 00000000:0000 0A",
        "0: -100007F:8709 00000000:0000 0A",
        "0: 0x00007F:8709 00000000:0000 0A",
        "0: 0100007F:87_9 00000000:0000 0A",
        "0: ０100007F:8709 00000000:0000 0A",
        "0: 127.0.0.1:34569 00000000:0000 0A",
        "\n",
    ],
)
def test_a_line_of_another_form_is_an_error(line):
    with pytest.raises(DecodeError):
        listeners(TCP + line, "little")


@pytest.mark.parametrize(
    "table", ["", "\n", "Proto Recv-Q Send-Q  Local Address\n", TCP[len(HEAD) :]]
)
def test_a_table_without_its_columns_is_an_error(table):
    with pytest.raises(DecodeError):
        listeners(table, "little")


@given(st.booleans(), st.lists(st.text(max_size=80)), st.sampled_from(["little", "big"]))
@example(True, ["0: :::: x 0A"], "little")
def test_any_lines_are_listeners_or_a_decode_error(has_head, lines, byte_order):
    try:
        found = list(decode_listeners([HEAD, *lines] if has_head else lines, byte_order))
    except DecodeError:
        return
    assert len(found) <= len(lines)


@given(st.data())
def test_a_table_with_one_letter_changed_is_listeners_or_a_decode_error(data):
    table = data.draw(st.sampled_from([TCP, TCP6]))
    at = data.draw(st.integers(0, len(table) - 1))
    changed = table[:at] + data.draw(st.characters()) + table[at + 1 :]
    try:
        found = listeners(changed, "little")
    except DecodeError:
        return
    assert all(0 <= port <= 65535 for _, port in found)


@given(st.ip_addresses(), st.integers(0, 65535), st.sampled_from(["little", "big"]))
def test_an_address_is_read_as_the_kernel_writes_it(ip, port, byte_order):
    words = [ip.packed[at : at + 4] for at in range(0, len(ip.packed), 4)]
    digits = "".join(f"{int.from_bytes(word, byte_order):08X}" for word in words)
    [found] = decode_listeners([HEAD, f"  7: {digits}:{port:04X} 0:0 0A 0:0"], byte_order)

    assert found.port == port
    mapped = getattr(ip, "ipv4_mapped", None)
    assert found.ip == (ip if mapped is None else mapped)
