"""The error tree of the programs: what happened, on which side, and what to do next.

`str(error)` is the sentence a person reads; `code` is the stable word of `--json`; `exit_code` is
the exit status of the process; docs/errors.md lists them all.  Only `derphole.cli.invocation`
catches the whole tree.  Text of the other side may be in a sentence as it came:
`derphole.cli.frame.output` escapes it.

    base          what every error has; wrong usage, bugs, signals
    tokens        a token that cannot be made or used
    codes         a code that leads nowhere
    peer          the other side refused, left, stopped, or never came
    data          the bytes could not be read or written, or differ
    files         files and folders that cannot be sent, or cannot be written
    relays        no relay can be used; our own relay cannot run
    forwarding    `share` and `open`
    transfers     what was offered was not taken
    ssh           a key that lets nobody in
    derptun       files of tokens and revocations, and servers

Everybody imports from here.
"""

from derphole.errors.base import (
    DerpholeError,
    InternalError,
    Interrupted,
    ThreadsRefused,
    UdpPortUnusable,
    UsageError,
)
from derphole.errors.codes import (
    CodeElsewhere,
    CodeMistyped,
    CodeNeedsRelay,
    CodeNotProven,
    CodeUnanswered,
    CodeUnknown,
    CodeWrong,
)
from derphole.errors.data import (
    DigestMismatch,
    OutputExists,
    PieceMismatch,
    ReceiverOutputClosed,
    SinkClosed,
    SinkFailed,
    SizeMismatch,
    SourceFailed,
    TransferError,
)
from derphole.errors.derptun import (
    ConnectionLost,
    NotOfThisServer,
    RegistryUnusable,
    ReplacedServer,
    RevocationsUnusable,
    ServedElsewhere,
    ServerFull,
    ServiceUnknown,
    TokenFileUnusable,
)
from derphole.errors.files import (
    PartialUnusable,
    SourceUnusable,
)
from derphole.errors.forwarding import (
    BindFailed,
    ShareEnded,
    TargetFailed,
)
from derphole.errors.peer import (
    AlreadyInUse,
    ClaimRefused,
    FeatureMissing,
    NobodyThere,
    NotAwaited,
    OtherReason,
    OtherVersion,
    PeerAborted,
    PeerBrokeProtocol,
    PeerLeft,
    TimedOut,
    WeBrokeProtocol,
)
from derphole.errors.relays import (
    OWN_RELAY_STEP,
    KeyFileUnusable,
    NoRelayTakesUs,
    RelayNotStarted,
    RelayTrouble,
)
from derphole.errors.ssh import (
    AccountUnknown,
    ConfigUnwritable,
    GivingDeclined,
    KeyDeclined,
    KeyRefused,
    KeysUnwritable,
    NobodyToAsk,
    NoKeyFound,
    NotLetIn,
    SeveralKeys,
)
from derphole.errors.tokens import (
    ExpiryRefused,
    NotAToken,
    ServerExpired,
    SeveralTokens,
    TokenCut,
    TokenDamaged,
    TokenError,
    TokenExpired,
    TokenForeign,
    TokenUnclaimed,
    TokenWrongCapability,
    TokenWrongRole,
    utc_text,
)
from derphole.errors.transfers import (
    Declined,
    DeclinedHere,
    KindRefused,
    NotTaken,
    OutputUnusable,
    PartlyReceived,
    PartlySent,
    PartlyTaken,
    SizeNotWanted,
    SpaceShort,
    TargetExists,
    TargetSkipped,
    TargetUnwritable,
)

__all__ = [
    "OWN_RELAY_STEP",
    "AccountUnknown",
    "AlreadyInUse",
    "BindFailed",
    "ClaimRefused",
    "CodeElsewhere",
    "CodeMistyped",
    "CodeNeedsRelay",
    "CodeNotProven",
    "CodeUnanswered",
    "CodeUnknown",
    "CodeWrong",
    "ConfigUnwritable",
    "ConnectionLost",
    "Declined",
    "DeclinedHere",
    "DerpholeError",
    "DigestMismatch",
    "ExpiryRefused",
    "FeatureMissing",
    "GivingDeclined",
    "InternalError",
    "Interrupted",
    "KeyDeclined",
    "KeyFileUnusable",
    "KeyRefused",
    "KeysUnwritable",
    "KindRefused",
    "NoKeyFound",
    "NoRelayTakesUs",
    "NobodyThere",
    "NobodyToAsk",
    "NotAToken",
    "NotAwaited",
    "NotLetIn",
    "NotOfThisServer",
    "NotTaken",
    "OtherReason",
    "OtherVersion",
    "OutputExists",
    "OutputUnusable",
    "PartialUnusable",
    "PartlyReceived",
    "PartlySent",
    "PartlyTaken",
    "PeerAborted",
    "PeerBrokeProtocol",
    "PeerLeft",
    "PieceMismatch",
    "ReceiverOutputClosed",
    "RegistryUnusable",
    "RelayNotStarted",
    "RelayTrouble",
    "ReplacedServer",
    "RevocationsUnusable",
    "ServedElsewhere",
    "ServerExpired",
    "ServerFull",
    "ServiceUnknown",
    "SeveralKeys",
    "SeveralTokens",
    "ShareEnded",
    "SinkClosed",
    "SinkFailed",
    "SizeMismatch",
    "SizeNotWanted",
    "SourceFailed",
    "SourceUnusable",
    "SpaceShort",
    "TargetExists",
    "TargetFailed",
    "TargetSkipped",
    "TargetUnwritable",
    "ThreadsRefused",
    "TimedOut",
    "TokenCut",
    "TokenDamaged",
    "TokenError",
    "TokenExpired",
    "TokenFileUnusable",
    "TokenForeign",
    "TokenUnclaimed",
    "TokenWrongCapability",
    "TokenWrongRole",
    "TransferError",
    "UdpPortUnusable",
    "UsageError",
    "WeBrokeProtocol",
    "utc_text",
]
