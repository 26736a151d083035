"""The option texts that several commands share; docopt reads them as part of each usage text.

An option line has its flags in 28 columns behind four blanks, with two blanks at least before the
description, which docopt needs.
"""

RELAY_OPTIONS = """\
    --derp-map URL|FILE         Relay map to use instead of the public one
    --relay URL                 One relay to use instead of a map:
                                https://host[:port][#sha256:HEX] or http://host[:port];
                                derper's pin is #sha256-raw:HEX
    --ca-file FILE              Trust the authorities in this PEM file, too
"""

TRACE_OPTION = """\
    --trace FILE                Append a trace as JSON lines, without secrets
    --trace-size SIZE           Limit the trace to this size; its first half and the newest
                                lines are kept (default 64M; K, M, G)
"""

BEFORE_TIMEOUT = f"""\
{RELAY_OPTIONS}\
    --force-relay               Stay on the relay, use no direct path
    --udp-port N                Use this UDP port for direct paths, such as one that a
                                router forwards to this machine
    --timeout SECONDS           Give up waiting for the other side after this time (0: never,
                                even when no relay can be used; default:
"""

ISSUER_OPTIONS = f"""\
{BEFORE_TIMEOUT.rstrip()} no limit)
{TRACE_OPTION}"""

CLAIMER_OPTIONS = f"""\
{BEFORE_TIMEOUT.rstrip()} 120 once
                                the relay says that nobody is there)
{TRACE_OPTION}"""

SOURCE_OPTIONS = """\
    --token TOKEN               Token, instead of the argument
    --token-file FILE           File that holds the token
    --token-stdin               Read the token from the first line of standard input
"""

HIDE_PROGRESS_OPTION = """\
    --hide-progress             Show no bar while bytes are moving
"""

GLOBAL_OPTIONS = """\
    -v, --verbose               Print states and debug lines
    -q, --quiet                 Print only tokens, instructions, addresses and errors
    -s, --silent                The same as --quiet
    --json                      Print one JSON event a line on standard error
    -h, --help                  Print this help
    -V, --version               Print the version
    --help-llm                  Print a Markdown reference of all commands
"""
