"""Runs derphole as another version of it: python later_program.py VERSION FEATURES -- ARGUMENTS...

It calls itself derphole 9.9.9, speaks protocol VERSION, and knows the features of the bit set
FEATURES.  What is the same in every version is the same here.
"""

import sys


def main() -> int:
    split = sys.argv.index("--")
    version, features = (int(word) for word in sys.argv[1:split])
    import derphole

    derphole.PROGRAM = "derphole 9.9.9"
    from tunnel.wire import handshake as wire

    wire.VERSION = version
    from tunnel.proto.link import parameters

    # Before anything imports them by name.
    parameters.SUPPORTED_FEATURES = parameters.Feature(features)
    sys.argv[:] = ["derphole", *sys.argv[split + 1 :]]
    from derphole.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
