"""`ssh invite`: prints a token, takes one key from whoever uses it, and keeps it.

    control stream (0)   <-- KEY      it is shown, the person is asked, it is added
                         ACCESS -->   once it is on the disk, or will not be

What is decided when is in `derphole.ssh.exchange`.  Source: docs/protocol.md, section
"Conversations".
"""

from collections.abc import Callable

from derphole.config import NetworkOptions
from derphole.conversation import UNEXPECTED, Conversation
from derphole.edges.accounts import Account
from derphole.edges.authorized_file import AuthorizedFile
from derphole.edges.ssh_server import LOCAL, answers, own_host_keys, own_hosts, own_port
from derphole.errors import DerpholeError, KeyDeclined, KeyRefused, KeysUnwritable
from derphole.rendezvous.issuer import IssuerRendezvous
from derphole.speech.access_messages import Access, AccessVerdict
from derphole.speech.decisions import Decision, KeepPlace, KeyOffered
from derphole.ssh.authorized_keys import Standing, spoilt_key
from derphole.ssh.exchange import TakingKey
from derphole.ssh.public_key import KeyUnusable, PublicKey, parse_public_key
from derphole.ssh.statuses import KeyKept, KeyShown
from derphole.ssh.strict_modes import refusals
from derphole.status import Caution, Notice, Report
from derphole.token.grant import Capability
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.net.threads import in_thread
from tunnel.units import WallTime

GUEST_AWAITED = "the other side to use the token"
GONE = "that one is gone, and what was asked about its key does not count; the token is still good"
SAID_NOTHING = "somebody used the token and sent no key; it is still good"
VERDICTS = {
    Standing.ABSENT: AccessVerdict.STORED,
    Standing.PRESENT: AccessVerdict.PRESENT,
    Standing.RESTRICTED: AccessVerdict.RESTRICTED,
}
Ask = Callable[[str], bool | None]


def invite(
    options: NetworkOptions,
    account: Account,
    *,
    port: int | None,
    expires_at: WallTime | None,
    ask: Ask | None,
    report: Report,
) -> None:
    """Print a token, and let the key of whoever uses it in.

    Args:
        options: the settings of the command.
        account: who can log in with it.
        port: of the ssh server here; None for what its settings say.
        expires_at: when the token ends; None for the usual life.
        ask: asks the person whether a key is wanted; None where every key is.
        report: told what a person wants to know.

    Raises `DerpholeError`.
    """
    file = AuthorizedFile(account)
    in_thread(file.check_writable)
    port = port or in_thread(own_port)
    _tell_obstacles(file, account, port, report)
    with IssuerRendezvous(options, report, Capability.SSH, expires_at) as rendezvous:
        rendezvous.offer()
        while True:
            link = rendezvous.wait_link(GUEST_AWAITED)
            inviter = _Inviter(rendezvous, link, file, account, port, ask)
            inviter.take()
            if not inviter.proof.is_replaced:
                return
            report(Notice(GONE if inviter.proof.key_came else SAID_NOTHING))


def _tell_obstacles(file: AuthorizedFile, account: Account, port: int, report: Report) -> None:
    """Say what would keep a key from letting anybody in, while that can be mended."""
    for refusal in refusals(in_thread(file.parts), account.name, account.user_id):
        report(Caution(f"{refusal.sentence}; `{refusal.command}` mends it"))
    if not account.lets_in:
        report(
            Caution(
                f"{account.name} has {account.shell} for a shell, so that nobody can log in; "
                f"`chsh -s /bin/sh {account.name}` mends it"
            )
        )
    spoilt = spoilt_key(in_thread(file.contents))
    if spoilt is not None:
        report(
            Caution(
                f"the first key in {file.path} lets nobody in: a byte order mark stands before it"
            )
        )
    if not answers(LOCAL, port):
        report(
            Caution(
                f"no ssh server answers on port {port} of this machine: the key is kept, "
                "but lets nobody in before one runs"
            )
        )


class _Inviter:
    """One link's work."""

    def __init__(
        self,
        rendezvous: IssuerRendezvous,
        link: Link,
        file: AuthorizedFile,
        account: Account,
        port: int,
        ask: Ask | None,
    ) -> None:
        self.proof = TakingKey(monotonic(), "the other side's key")
        self._conversation = Conversation(rendezvous, link, self.proof, self._carry_out)
        self._rendezvous = rendezvous
        self._link = link
        self._file = file
        self._account = account
        self._port = port
        self._ask = ask
        self._control: Stream | None = None
        self._failure: DerpholeError | None = None
        self._kept: KeyKept | None = None

    def take(self) -> None:
        """Do it, and tell what came of it."""
        report = self._rendezvous.report
        self._rendezvous.report_path(self._link)
        try:
            self._conversation.run(reading=self.hear)
        finally:
            if self._kept is not None:  # it stands, whatever became of the link
                report(self._kept)
        if self.proof.is_replaced:
            return
        if self._failure is not None:
            raise self._failure
        self._rendezvous.complete()
        if not self.proof.is_acknowledged:
            report(Caution("the other side may not know it: its connection ended too early"))

    # -- works ------------------------------------------------------------------------------

    def hear(self) -> None:
        """Hear which key comes."""
        self._control = self._link.accept_stream()
        self._link.refuse_streams(UNEXPECTED)
        self._conversation.attend(self._control)

    def decide(self, line: bytes) -> None:
        """Decide about a key, keep it, and answer."""
        try:
            access = self._kept_key(line)
        except KeyRefused as error:
            access = self._failed(AccessVerdict.UNUSABLE, error, str(error.sentence))
        except KeyDeclined as error:
            access = self._failed(AccessVerdict.DECLINED, error, "it was declined there")
        except KeysUnwritable as error:
            text = f"it could not be kept there ({error.reason})"
            access = self._failed(AccessVerdict.FAILED, error, text)
        if access is not None:
            self._conversation.follow(self.proof.answer(monotonic(), access))
            self._conversation.start(self.await_parting)

    def _kept_key(self, line: bytes) -> Access | None:
        """Return the answer of a key that lets in; raises what keeps it out.

        None where the other side has left before the key was kept.
        """
        account, port = self._account, self._port
        key = _parsed(line)
        self._rendezvous.report(KeyShown(key, "received"))
        if self._ask is not None and not self._ask(f"let it log in as {account.name}?"):
            raise KeyDeclined
        may_be_kept = self.proof.keep_place()
        if not may_be_kept:
            return None
        self._conversation.follow(may_be_kept)
        found = in_thread(self._file.add, key)
        self._kept = KeyKept(
            self._file.path,
            account.name,
            found is Standing.ABSENT,
            found is Standing.RESTRICTED,
        )
        text = "it was there already, behind options" if found is Standing.RESTRICTED else ""
        hosts, host_keys = in_thread(own_hosts), in_thread(own_host_keys, port)
        return Access(VERDICTS[found], text, account.name, port, tuple(hosts), tuple(host_keys))

    def _failed(self, verdict: AccessVerdict, error: DerpholeError, text: str) -> Access:
        self._failure = error
        return Access(verdict, text)

    def await_parting(self) -> None:
        """Wait until the other side knows our answer."""
        assert self._control is not None
        self._control.wait_acknowledged()
        self._conversation.follow(self.proof.handle_acknowledged())

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case KeyOffered(line):
                self._conversation.start(lambda: self.decide(line))
            case KeepPlace():
                self._rendezvous.keep_places()
            case _:
                pass


def _parsed(line: bytes) -> PublicKey:
    try:
        return parse_public_key(line)
    except KeyUnusable as error:
        raise KeyRefused("the key that came", str(error)) from error
