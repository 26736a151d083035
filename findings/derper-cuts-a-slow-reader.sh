#!/bin/sh
# Usage: findings/derper-cuts-a-slow-reader.sh
#
# Software:  tailscale.com/cmd/derper v1.102.5, Linux.
# Guessed:   a client that reads slowly loses packets (its queue of 32 drops the oldest) and keeps its connection.
# Seen:      a client that takes 256 KiB/s without ever pausing, while more is sent to it, is cut two seconds after it
#            became slow.  It does not notice: what the server's kernel still held, several megabytes, goes on coming
#            for some 18 s, and only then the end.  The sender is told nothing.  The same client stays connected if it
#            is sent less than it takes.
# Output:    derper v1.102.5; a reader that takes 256 KiB/s after a fast second, without a pause
#            sent 16 MiB/s: cut after 3.3 s, noticed by the reader after 21.4 s, 4622 KiB later
#            sent 192 KiB/s: cut never, noticed never
# Why:       each write to a client has two seconds, and the kernel wakes a writer only when a third of a send buffer
#            of 4 MiB is free.
# For us:    what is in flight to a receiver has to follow the rate at which it takes bytes, not the slots of the
#            relay's queue; and that packets come does not say that the connection still stands.
#
# Needs Go and Python with venv.  It installs into a temporary folder, talks to loopback only, takes a minute
# after the build, and fails if what was seen has changed.
set -eu

work=$(mktemp -d)
derper=
trap 'if [ -n "$derper" ]; then kill "$derper" 2>/dev/null || true; wait "$derper" 2>/dev/null || true; fi; chmod -R u+w "$work"; rm -rf "$work"' EXIT

version=v1.102.5
GOBIN=$work GOFLAGS=-modcacherw go install "tailscale.com/cmd/derper@$version"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check install pynacl==1.6.2

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$work/derper" -a "127.0.0.1:$port" -http-port -1 -stun=false -c "$work/derper.json" >"$work/derper.log" 2>&1 &
derper=$!

"$work/venv/bin/python" - "$port" "$version" "$work/derper.log" <<'PYTHON'
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from nacl.public import Box, PrivateKey, PublicKey

PORT, VERSION, LOG = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
SERVER_KEY, CLIENT_INFO, SERVER_INFO, SEND_PACKET = 1, 2, 3, 4
RATE = 256 << 10
FAST_S = 1.0
WATCH_S = 30.0


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def send_frame(connection, kind, body):
    connection.sendall(struct.pack(">BI", kind, len(body)) + body)


def read_frame(connection):
    kind, size = struct.unpack(">BI", read_exactly(connection, 5))
    return kind, read_exactly(connection, size)


def log_in():
    """Return (connection, public key) of a new client."""
    deadline = time.monotonic() + 20
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", PORT), 5)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    head = "GET /derp HTTP/1.1\r\nHost: localhost\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
    connection.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += read_exactly(connection, 1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    kind, body = read_frame(connection)
    assert kind == SERVER_KEY
    key, nonce = PrivateKey.generate(), os.urandom(24)
    sealed = Box(key, PublicKey(body[8:40])).encrypt(json.dumps({"version": 2}).encode(), nonce)
    send_frame(connection, CLIENT_INFO, bytes(key.public_key) + nonce + sealed.ciphertext)
    kind, body = read_frame(connection)
    assert kind == SERVER_INFO
    connection.settimeout(WATCH_S)
    return connection, bytes(key.public_key)


def send_at(sender, target, rate, stop):
    packet = target + bytes(32 << 10)
    began, sent = time.monotonic(), 0
    while not stop.is_set():
        if sent > rate * (time.monotonic() - began):
            time.sleep(0.005)
            continue
        send_frame(sender, SEND_PACKET, packet)
        sent += len(packet)


def watch(send_rate):
    """Read fast for a second and RATE bytes a second then, without a pause.

    Returns the seconds until derper logged that a write had timed out and until the reader saw an
    end, each None if that did not come, and how many bytes were read between the two.
    """
    reader, key = log_in()
    sender, _ = log_in()
    stop, taken, fast, unaware = threading.Event(), 0, 0, 0
    thread = threading.Thread(target=send_at, args=(sender, key, send_rate, stop))
    logged = LOG.stat().st_size
    cut_at = None
    thread.start()
    began = time.monotonic()
    try:
        while (passed := time.monotonic() - began) < WATCH_S:
            if cut_at is None and b"i/o timeout" in LOG.read_bytes()[logged:]:
                cut_at = passed
                stop.set()
            if passed > FAST_S and taken > fast + RATE * (passed - FAST_S):
                time.sleep(0.005)
                continue
            piece = reader.recv(4096)
            if not piece:
                return cut_at, passed, unaware
            taken += len(piece)
            unaware += len(piece) if cut_at is not None else 0
            if passed <= FAST_S:
                fast = taken
        return cut_at, None, unaware
    finally:
        stop.set()
        thread.join()
        reader.close()
        sender.close()


def seconds(value):
    return "never" if value is None else f"{value:.1f} s"


cut_at, ended_at, unaware = watch(send_rate=16 << 20)
kept_cut_at, kept_ended_at, _ = watch(send_rate=RATE * 3 // 4)
print(f"derper {VERSION}; a reader that takes {RATE >> 10} KiB/s after a fast second, without a pause")
print(f"sent 16 MiB/s: cut after {seconds(cut_at)}, noticed by the reader after {seconds(ended_at)}, "
      f"{unaware >> 10} KiB later")
print(f"sent {RATE * 3 // 4 >> 10} KiB/s: cut {seconds(kept_cut_at)}, noticed {seconds(kept_ended_at)}")
is_cut = cut_at is not None and cut_at < 12 and (ended_at is None or ended_at > cut_at + 1)
if not is_cut or unaware < 256 << 10 or kept_cut_at is not None or kept_ended_at is not None:
    sys.exit("this is not what was seen before")
PYTHON
