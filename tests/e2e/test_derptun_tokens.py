"""Tokens of derptun in real processes: files, roles, ends, and the sentence of each mistake."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from desk import DERPTUN, Desk
from support.processes import clean_environment
from tokens import session_text
from tunnels import Tunnel

from derphole.token.grant import Capability

pytestmark = pytest.mark.e2e

PRIVATE = "the file that the token goes to can be used by you alone from now on"


@pytest.fixture
def tunnel(desk: Desk) -> Tunnel:
    return Tunnel(desk)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def in_shell(tunnel: Tunnel, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a person types it, with the umask that most have."""
    return subprocess.run(
        ["sh", "-c", f"umask 022; {line}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean_environment(tunnel.desk.folder), "derptun": " ".join(map(str, DERPTUN))},
        cwd=tunnel.folder,
        check=True,
    )


def test_what_the_documents_tell_people_to_type_leads_to_private_files_and_no_warning(tunnel):
    made = in_shell(tunnel, f"$derptun token server --relay {tunnel.relay_url} > s.dts")
    assert mode(tunnel.folder / "s.dts") == 0o600
    assert made.stdout == ""
    assert made.stderr.count(PRIVATE) == 1
    client = in_shell(tunnel, "$derptun token client --token-file s.dts --name me > c.dtc")
    assert mode(tunnel.folder / "c.dtc") == 0o600
    assert "warning" not in client.stderr
    assert re.search(
        r"^client token [0-9a-f]{16}, name me, good until \S+Z$", client.stderr, re.MULTILINE
    )

    piped = in_shell(tunnel, "$derptun token client --token-file s.dts | tee t.dtc")
    assert re.fullmatch(r"dtcli1_[A-Za-z0-9_-]{20,}\n", piped.stdout)
    assert PRIVATE not in piped.stderr
    (tunnel.folder / "full").write_text("precious\n")
    in_shell(tunnel, "$derptun token client --token-file s.dts >> full")
    assert mode(tunnel.folder / "full") == 0o644
    assert (tunnel.folder / "full").read_text().startswith("precious\ndtcli1_")


def test_a_file_is_made_for_its_owner_and_none_is_replaced_unasked(tunnel):
    assert mode(tunnel.server) == 0o600
    before = tunnel.server.read_text()
    words = ("token", "server", "--relay", tunnel.relay_url, "--output", str(tunnel.server))

    refused = tunnel.derptun(*words, code=1)

    assert "exists already" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert refused.stdout == ""
    assert tunnel.server.read_text() == before
    done = tunnel.derptun(*words, "--overwrite")
    assert done.stdout == ""
    assert tunnel.server.read_text() != before
    assert [path.name for path in tunnel.folder.iterdir()] == ["server.dts"]


def test_a_server_is_renewed_in_place_with_its_clients(tunnel):
    client = tunnel.client("laptop")
    before = json.loads(
        tunnel.derptun("token", "show", "--token-file", str(tunnel.server), "--json").stdout
    )

    done = tunnel.derptun("token", "server", "--renew", str(tunnel.server), "--days", "365")

    after = json.loads(
        tunnel.derptun("token", "show", "--token-file", str(tunnel.server), "--json").stdout
    )
    assert done.stdout == ""
    assert after["expires_at"] - before["expires_at"] >= 184 * 86400
    assert {**after, "expires_at": 0, "expires": 0} == {**before, "expires_at": 0, "expires": 0}
    assert mode(tunnel.server) == 0o600
    shown = json.loads(
        tunnel.derptun("token", "show", "--token-file", str(client), "--json").stdout
    )
    assert shown["server"] == after["id"]
    assert (shown["role"], shown["name"]) == ("client", "laptop")
    earlier = tunnel.derptun(
        "token", "server", "--renew", str(tunnel.server), "--days", "9", code=1
    )
    assert "later than the one that the token has" in earlier.stderr
    missing = tunnel.derptun("token", "server", "--renew", "no.dts", code=1)
    assert "no.dts cannot be used for a token: no such file" in missing.stderr
    assert not (tunnel.folder / "no.dts").exists()
    tunnel.derptun("token", "server", "--renew", str(client), code=1)
    both = tunnel.derptun("token", "server", "--renew", "x", "--output", "y", code=2)
    assert "--output is for a new token" in both.stderr


def test_a_secret_is_never_shown(tunnel):
    client = tunnel.client()
    for path in (tunnel.server, client):
        secret = path.read_text().strip()
        for flags in ([], ["--json"], ["-v"]):
            shown = tunnel.derptun("token", "show", "--token-file", str(path), *flags)
            assert secret[7:47] not in shown.stdout + shown.stderr
        assert shown.stdout == ""


MISTAKES = [
    (["serve", "--tcp", "9"], "client", "token-wrong-role", "a client token"),
    (["token", "client"], "client", "token-wrong-role", "a client token"),
    (["token", "revoke", "0" * 16, "--revoked", "r"], "client", "token-wrong-role", "a client"),
    (["open"], "server", "token-wrong-role", "a server token"),
    (["connect", "--stdio"], "server", "token-wrong-role", "a server token"),
    (["open"], "session", "token-wrong-role", "a session token"),
    (["serve", "--tcp", "9"], "session", "token-wrong-role", "a session token"),
    (["open"], "expired", "token-expired", "the token expired at 2001-"),
    (["connect", "--stdio"], "expired", "token-expired", "the token expired at 2001-"),
    (["serve", "--tcp", "9"], "expired server", "server-token-expired", "expired at 2001-"),
    (["token", "client"], "expired server", "server-token-expired", "--renew"),
    (["open"], "damaged", "token-damaged", "the token is damaged"),
    (["serve", "--tcp", "9"], "damaged server", "token-damaged", "the token is damaged"),
    (["open"], "cut", "token-cut", "the token is cut short"),
    (["open"], "foreign", "token-foreign", "the Go version"),
    (["serve", "--tcp", "9"], "foreign server", "token-foreign", "the Go version"),
    (["open"], "nothing", "not-a-token", "this is not a token"),
]


def texts(tunnel: Tunnel) -> dict[str, str]:
    """Return tokens of every kind of mistake."""
    from derphole.derptun.minting import minted
    from derphole.token.text import ServerToken, parse_token, token_text
    from tunnel.values import replace

    server = parse_token(tunnel.server.read_text())
    assert isinstance(server, ServerToken)
    old = replace(server, expires_at=1_000_000_000)
    client = tunnel.client("mistaken").read_text().strip()

    def damaged(text: str) -> str:
        return text[:50] + ("A" if text[50] != "A" else "B") + text[51:]

    return {
        "client": client,
        "server": token_text(server),
        "session": session_text(Capability.SHARE, 9),
        "expired": token_text(minted(old, bytes(8), 1_000_000_000, "")),
        "expired server": token_text(old),
        "damaged": damaged(client),
        "damaged server": damaged(token_text(server)),
        "cut": client[:-20],
        "foreign": "dtc1_" + "A" * 300,
        "foreign server": "dts1_" + "A" * 300,
        "nothing": "hello world",
    }


def test_every_mistake_has_a_sentence_and_a_code_of_its_own(tunnel):
    given = texts(tunnel)
    for words, kind, code, sentence in MISTAKES:
        path = tunnel.folder / "given"
        path.write_text(given[kind])
        path.chmod(0o600)
        done = tunnel.derptun(*words, "--token-file", str(path), code=1)
        assert sentence in done.stderr, (words, kind, done)
        assert "; " in done.stderr.splitlines()[-1]
        assert done.stdout == ""
        told = tunnel.derptun(*words, "--token-file", str(path), "--json", code=1)
        event = json.loads(told.stderr.splitlines()[-1])
        assert (event["event"], event["code"], event["exit_code"]) == ("error", code, 1), words


def test_wrong_usage_ends_with_2(tunnel):
    server = ("--token-file", str(tunnel.server))
    for words, sentence in (
        (("token", "client", *server, "--days", "3", "--expires", "9d"), "only one of --days or"),
        (("token", "client", *server, "--days", "0"), "invalid --days value"),
        (("token", "client", *server, "--days", "-3"), "--days"),
        (("token", "client", *server, "--expires", "soon"), "invalid --expires value"),
        (("token", "client", *server, "--name", "x" * 33), "invalid --name"),
        (("token", "client", *server, "--name", "ü"), "invalid --name"),
        (("token", "client"), "exactly one of TOKEN, --token, --token-file"),
        (("token", "revoke", *server, "laptop"), "neither the id of a client token"),
        (("token", "server", "--overwrite"), "--overwrite requires --output"),
        (("token", "server", "--region", "1", "--relay", "http://h:1"), "--region or --relay"),
        (("token", "server", "--region", "1,2,3,4"), "invalid --region value"),
        (("serve", *server), "--tcp TARGET is required"),
        (("serve", *server, "--tcp", "nothing"), "invalid target"),
        (("serve", *server, "--tcp", "22", "--qr"), "--qr is for a run without a token"),
        (("connect", *server), "--stdio is required"),
        (("open", "--service", "x", *server), "at most one of --service"),
        (("open", "--service", "../x"), "invalid name of a service"),
        (("token", "client", "--token-file", "missing"), "read --token-file: No such file"),
    ):
        done = tunnel.derptun(*words, code=2)
        assert sentence in done.stderr, done
        assert done.stdout == ""


def test_revocations_are_kept_beside_the_token_and_read_by_serve(tunnel):
    laptop, phone = tunnel.client("laptop"), tunnel.client("phone")
    server = ("--token-file", str(tunnel.server))

    tunnel.derptun("token", "revoke", *server, str(laptop))
    tunnel.derptun("token", "revoke", *server, tunnel.id_of(phone).upper())
    again = tunnel.derptun("token", "revoke", *server, str(phone))

    assert "was revoked before" in again.stderr
    revoked = Path(f"{tunnel.server}.revoked")
    assert mode(revoked) == 0o600
    assert revoked.read_text().splitlines() == [
        f"{tunnel.id_of(laptop)}  # laptop",
        tunnel.id_of(phone),
    ]
    other = tunnel.folder / "other.dts"
    tunnel.derptun("token", "server", "--relay", tunnel.relay_url, "--output", str(other))
    wrong = tunnel.derptun("token", "revoke", "--token-file", str(other), str(laptop), code=1)
    assert "this client token leads to server" in wrong.stderr
    process, _ = tunnel.open(laptop, is_ready=False)
    tunnel.serve(9)
    process.ends_with(1, "the token was revoked")


def test_services_are_kept_under_names(tunnel, desk):
    client = tunnel.client("nas")
    source = ("--token-file", str(client))

    tunnel.derptun("service", "set", "nas", *source)
    tunnel.derptun("service", "set", "zoo.2", *source)

    listed = tunnel.derptun("service", "list")
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        [name, "derptun-client-token"] for name in ("nas", "zoo.2")
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+Z", row[2]) for row in rows)
    assert all(row[3] == "value redacted" for row in rows)
    registry = desk.folder / "config" / "derphole" / "services.json"
    assert mode(registry) == 0o600
    assert mode(registry.parent) == 0o700
    tunnel.derptun("service", "rm", "zoo.2")
    gone = tunnel.derptun("service", "rm", "zoo.2", code=1)
    assert "there is no service zoo.2" in gone.stderr
    unknown = tunnel.derptun("open", "--service", "nass", code=1)
    assert "there is no service nass in the registry (it has nas)" in unknown.stderr
    absent = tunnel.derptun("connect", "--stdio", "--service", "nas", "--timeout", "1", code=1)
    assert "gave up" in absent.stderr or "timed out" in absent.stderr or "waited" in absent.stderr
    registry.write_text("{}")
    damaged = tunnel.derptun("service", "list", code=1)
    assert "it is no registry of services" in damaged.stderr
    assert registry.read_text() == "{}"


def test_a_block_for_ssh_is_printed_that_ssh_can_read(tunnel):
    client = tunnel.client()
    source = ("--stdio", "--token-file", client.name)

    block = tunnel.derptun(
        "connect", *source, "--print-ssh-config", "myhost", "--force-relay"
    ).stdout

    host, alias, proxy = block.splitlines()
    assert (host, alias) == ("Host myhost", "    HostKeyAlias myhost")
    command = proxy.removeprefix("    ProxyCommand ")
    program = command.split()[0]
    assert os.path.isabs(program)
    assert f"--token-file {client}" in command
    assert command.endswith("--force-relay")
    assert "exec" not in command.split()
    tunnel.derptun("connect", "--stdio", "--token", "x", "--print-ssh-config", "h", code=2)
    tunnel.derptun("connect", *source, "--print-ssh-config", "a b", code=2)
