"""A name server with one answer: every name is at the address it was started with.

    usage: name_server.py LISTEN-ADDRESS ANSWER SILENT-ADDRESS...

What comes to a silent address is taken and never answered.  It says "ready", and serves for ever.
"""

import socket
import struct
import sys

# Fixed by RFC 1035.
PORT = 53
TYPE_A, CLASS_IN = 1, 1
HEADER_SIZE = 12
RESPONSE_FLAGS = 0x8180
NAME_OF_QUESTION = 0xC00C


def bound(address: str) -> socket.socket:
    """Return a socket for questions that come to an address."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, PORT))
    return udp


def answer(question: bytes, ip: str) -> bytes:
    """Return the answer to a message with one question; no record but for an address of IPv4."""
    end = question.index(b"\0", HEADER_SIZE) + 5
    (kind,) = struct.unpack_from(">H", question, end - 4)
    records = b""
    if kind == TYPE_A:
        data = socket.inet_aton(ip)
        records = struct.pack(">HHHIH", NAME_OF_QUESTION, TYPE_A, CLASS_IN, 0, len(data)) + data
    counts = struct.pack(">HHHHH", RESPONSE_FLAGS, 1, bool(records), 0, 0)
    return question[:2] + counts + question[HEADER_SIZE:end] + records


def main() -> None:
    """Serve."""
    listen, ip, *silent = sys.argv[1:]
    _held = [bound(address) for address in silent]
    with bound(listen) as udp:
        print("ready", file=sys.stderr, flush=True)
        while True:
            question, source = udp.recvfrom(512)
            udp.sendto(answer(question, ip), source)


if __name__ == "__main__":
    main()
