"""Access by ssh: whom it is for, the key, and the file that keys are kept in."""

import shlex

from derphole.errors.base import DerpholeError


class AccountUnknown(DerpholeError):
    """There is no such user.

    Args:
        user: the name.
    """

    code = "account-unknown"
    says = "this machine has no user {user}"
    next_step = "name one that it has with --user (`getent passwd` lists them)"

    def __init__(self, user: str) -> None:
        super().__init__(user=user)


class KeysUnwritable(DerpholeError):
    """The file of the keys that let a user in cannot be read or changed.

    Args:
        path: of the file.
        reason: the system's words.
    """

    code = "keys-unwritable"
    says = "{path} cannot be changed: {reason}; no key in it was touched"
    next_step = "mend that, or run the command as a user who may change it"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)
        self.reason = reason


class NoKeyFound(DerpholeError):
    """There is no public key to hand over.

    Args:
        place: where it was looked for.
        private: a private key that is there, whose public one can be made.
    """

    code = "no-key"
    says = "no public key was found in {place}"
    next_step = "make one with `ssh-keygen -t ed25519`, or name its file with --key-file"

    def __init__(self, place: str, private: str | None = None) -> None:
        made = None
        if private is not None:
            quoted = shlex.quote(private)
            made = f"make it of the private one: `ssh-keygen -y -f {quoted} > {quoted}.pub`"
        super().__init__(next_step=made, place=place)


class SeveralKeys(DerpholeError):
    """There are several public keys, and nobody says which.

    Args:
        names: of them, in words.
    """

    code = "several-keys"
    says = "there are several public keys: {names}"
    next_step = "name the one to hand over with --key-file"

    def __init__(self, names: str) -> None:
        super().__init__(names=names)


class KeyRefused(DerpholeError):
    """What was to be handed over is no key that lets anybody in.

    Args:
        what: the file, or "the key that came".
        fault: what is wrong, as a phrase that follows it.
    """

    code = "key-refused"
    says = "{what} {fault}"
    next_step = "hand over an OpenSSH public key, such as ~/.ssh/id_ed25519.pub"

    def __init__(self, what: str, fault: str) -> None:
        super().__init__(what=what, fault=fault)


class NotLetIn(DerpholeError):
    """The key that this side handed over lets nobody in.

    Args:
        reason: the other side's words.
    """

    code = "not-let-in"
    says = "the other side did not take the key: {reason}"
    next_step = "see its messages, then start both again"

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


class KeyDeclined(DerpholeError):
    """The person on this side did not want the key."""

    code = "key-declined"
    says = "the key was declined, and nothing was written"
    next_step = "to take it after all, start both commands again"


class GivingDeclined(DerpholeError):
    """The person on this side did not want to hand the key over."""

    code = "giving-declined"
    says = "nothing was sent"
    next_step = "to hand the key over after all, run the command again: the token is still good"


class NobodyToAsk(DerpholeError):
    """A question has to be answered, and there is no terminal.

    Args:
        question: what would be asked.
    """

    code = "nobody-to-ask"
    says = "nobody can be asked {question}, since this is no terminal"
    next_step = "use --yes if that is wanted"

    def __init__(self, question: str) -> None:
        super().__init__(question=question)


class ConfigUnwritable(DerpholeError):
    """The person's ssh config cannot be changed; the key is handed over all the same.

    Args:
        path: of the file.
        reason: the system's words.
    """

    code = "config-unwritable"
    says = "the key is handed over, but {path} cannot be changed: {reason}"
    next_step = "put the block that was printed into it yourself"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path=path, reason=reason)
