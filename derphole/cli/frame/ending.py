"""The signals that end a command.

Apart from `signals`, which imports gevent: they are taken from the first milliseconds on.
"""

import signal

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
