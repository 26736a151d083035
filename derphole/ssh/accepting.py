"""`ssh accept`: hands a public key over, and says how to log in where it is kept.

Source: docs/protocol.md, section "Conversations".
"""

from collections.abc import Sequence

import gevent

from derphole.config import NetworkOptions
from derphole.conversation import UNEXPECTED, Conversation
from derphole.edges.ssh_server import first_that_answers, scanned_keys
from derphole.errors import NotLetIn
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.waiting import FIRST_WAIT_REPORT_S
from derphole.speech.access_messages import Access, AccessVerdict
from derphole.speech.decisions import Decision
from derphole.ssh.exchange import GivingKey
from derphole.ssh.login import Login, checked_hosts, checked_keys, first_with, login_of
from derphole.ssh.public_key import PublicKey
from derphole.status import Caution, Notice, Report, StateChanged
from derphole.status import State as StateWord
from derphole.token.code import Code
from derphole.token.grant import Capability
from derphole.token.text import SessionToken
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link
from tunnel.net.threads import in_thread

ANSWER_AWAITED = "the inviting side to answer"
WORDS = {
    AccessVerdict.STORED: "the other side has kept the key",
    AccessVerdict.PRESENT: "the other side has had the key already",
}


def accept(
    options: NetworkOptions,
    token: SessionToken | Code,
    key: PublicKey,
    *,
    key_file: str | None,
    report: Report,
) -> Login | None:
    """Hand a key over; returns how to log in, None where no server is known.

    Args:
        options: the settings of the command.
        token: the token or code that `ssh invite` printed.
        key: what is handed over.
        key_file: of the private key, None where it is not known.
        report: told what a person wants to know.

    Raises `NotLetIn` where the key lets nobody in, and every other `DerpholeError`.
    """
    with ClaimerRendezvous(options, report, token, capability=Capability.SSH) as rendezvous:
        report(StateChanged(StateWord.PROBING_DIRECT))
        link = rendezvous.claim(ANSWER_AWAITED)
        access = _Giver(rendezvous, link, key).give()
        rendezvous.complete()
    if access.verdict in WORDS:
        report(Notice(WORDS[access.verdict]))
    elif access.verdict is AccessVerdict.RESTRICTED:
        report(
            Caution(
                "the other side has had the key already, behind options, which go on to restrict "
                "what it may do there"
            )
        )
    else:
        raise NotLetIn(access.text or "it does not say why")
    return _login(access, key_file, report)


def _login(access: Access, key_file: str | None, report: Report) -> Login | None:
    """Return how to log in, by a host where the server of that machine answers."""
    hosts, keys = checked_hosts(access), checked_keys(access)
    if login_of(access, None, None) is None:
        report(Caution("the other side did not say how to log in there in a way that can be used"))
        return None
    found = in_thread(scanned_keys, hosts, access.port)
    if found is not None:
        host = first_with(hosts, found, keys)
    else:
        host = first_that_answers(hosts, access.port)
    if host is None:
        report(Caution(_unreached(hosts, access.port, list(found or ()))))
    return login_of(access, host, key_file)


def _unreached(hosts: Sequence[str], port: int, others: Sequence[str]) -> str:
    """Say why the server of that machine was not found; others are those that answered."""
    if others:
        return (
            f"an ssh server answers at {', '.join(others)}, port {port}, but with other host keys "
            "than the other side told: it is another machine, or something stands between"
        )
    return (
        "the ssh server of that machine cannot be reached from here, by any of its names and "
        f"addresses ({', '.join(hosts)}; port {port})"
    )


class _Giver:
    """One link's work."""

    def __init__(self, rendezvous: ClaimerRendezvous, link: Link, key: PublicKey) -> None:
        self.proof = GivingKey(monotonic(), "the other side's answer", key.line.encode())
        self._conversation = Conversation(rendezvous, link, self.proof, self._carry_out)
        self._rendezvous = rendezvous
        self._link = link

    def give(self) -> Access:
        """Do it, and return what became of the key."""
        self._rendezvous.report_path(self._link)
        self._conversation.run(self.offer, self.tell_waiting)
        assert self.proof.access is not None
        return self.proof.access

    def offer(self) -> None:
        """Say which key it is."""
        control = self._link.open_stream()
        self._link.refuse_streams(UNEXPECTED)
        self._conversation.attend(control)
        self._conversation.follow(self.proof.begin())

    def tell_waiting(self) -> None:
        """Say so when the answer takes its time: somebody may be asked there."""
        gevent.sleep(FIRST_WAIT_REPORT_S)
        if self.proof.access is None:
            self._rendezvous.report(Notice("waiting for the other side to let the key in"))

    def _carry_out(self, decision: Decision) -> None:
        del decision  # the machine of this end decides nothing but what a conversation does itself
