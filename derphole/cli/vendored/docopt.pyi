"""The part of docopt that is used here."""

class DocoptExit(SystemExit): ...

class Option:
    short: str  # or None, when there is the other
    long: str
    argcount: int

def parse_defaults(doc: str) -> list[Option]: ...
def docopt(
    doc: str,
    argv: list[str] | None = None,
    help: bool = True,  # noqa: A002
) -> dict[str, str | bool | list[str] | None]: ...
