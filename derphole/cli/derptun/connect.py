"""`connect --stdio`: one connection to what a server serves, for ssh's ProxyCommand."""

import os
from contextlib import ExitStack
from pathlib import Path

from derphole import HANG_UP
from derphole.cli.derptun.client_source import SERVICE_OPTION, client_source
from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options
from derphole.cli.frame.options import BEFORE_TIMEOUT, SOURCE_OPTIONS, TRACE_OPTION
from derphole.cli.frame.output import Output
from derphole.errors import Interrupted, UsageError
from tunnel.units import Seconds
from tunnel.values import replace

# Chosen (design, section 5): ssh's own patience is longer.
TIMEOUT_S: Seconds = 60.0

USAGE = f"""\
Connect standard input and output to what the server serves, as ssh's ProxyCommand.

Once the connection is up nothing is said on standard error, where some programs take it for data,
unless it is a terminal or --verbose is given.  It ends by itself when the other side ends the
connection, or when nobody reads its output any more.

USAGE:
    derptun connect [options] [--] [TOKEN]

ARGUMENTS:
    TOKEN               A client token (default: the variable DERPTUN_TOKEN)

OPTIONS:
    --stdio                     Use standard input and output: required
{SOURCE_OPTIONS}\
{SERVICE_OPTION}\
    --print-ssh-config HOST     Print the block for ~/.ssh/config instead
    --log-file FILE             Append to a file what is said, to the end: ssh often throws
                                standard error away
{BEFORE_TIMEOUT.rstrip()} 60)
{TRACE_OPTION}
EXAMPLES:
    derptun connect --stdio --token-file client.dtc
    derptun connect --stdio --token-file client.dtc --print-ssh-config myhost
"""


def run(arguments: Arguments, output: Output) -> int:
    """Copy until the connection has ended, and return 0."""
    host = arguments.text("--print-ssh-config")
    if host is not None:
        from derphole.cli.derptun.ssh_block import ssh_block

        block = ssh_block(arguments, host)
        client_source(arguments, output)  # what ssh could not use is told now
        output.payload_line(block)
        return 0
    if not arguments.flag("--stdio"):
        raise UsageError("--stdio is required: connect uses standard input and output")
    options = network_options(arguments)
    if options.timeout_s is None and not options.is_patient:
        options = replace(options, timeout_s=TIMEOUT_S)
    options = replace(options, is_patient=True)  # the time alone bounds the wait
    _log(arguments, output)
    with ExitStack() as stack:
        token = client_source(arguments, output, warns_of_mode=False)

        from derphole.cli.frame.signals import EndingSignals
        from derphole.derptun.connect import Connect, close_standard_output
        from derphole.edges.status_socket import runtime_folder, told
        from derphole.edges.stdio import standard_input, standard_output

        source, sink = standard_input(), standard_output()
        stack.callback(source.close)
        stack.callback(sink.close)

        def close_sink() -> None:
            sink.close()
            close_standard_output()

        connect = Connect(options, token, source, sink, output.report, close_sink)
        try:
            folder = runtime_folder(arguments.environ)
            with EndingSignals(), told(folder, connect.describe):
                connect.run(output.mute)
        except Interrupted as interrupted:
            if interrupted.signum == HANG_UP:
                output.mute()  # ssh's usual goodbye
    return 0


def _log(arguments: Arguments, output: Output) -> None:
    """Begin to write down what is said; raises `UsageError`."""
    path = arguments.text("--log-file")
    if path is None:
        return
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        fd = os.open(Path(path), flags, 0o600)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"--log-file {path} cannot be written: {reason}", shows_help=False
        ) from error
    output.log_to(os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace"))
