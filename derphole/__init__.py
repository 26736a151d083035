"""What people run: tokens, rendezvous and one conversation per module."""

__version__ = "0.1.0"
PROGRAM = f"derphole {__version__}"  # what we are called where versions matter
# Fixed by what shells expect: a process ended by signal n reports 128 + n.
SIGNAL_EXIT_BASE = 128
HANG_UP = 1  # fixed by POSIX: SIGHUP, which Windows does not name
