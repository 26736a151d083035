"""The signals that end a command.

Apart from `signals`, which imports gevent: they are taken from the first milliseconds on.
"""

import signal

# Windows has no SIGHUP; SIGBREAK, which others have not, is Ctrl-Break and the end of a console.
ENDING_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
