"""A process that lacks what Windows lacks imports every module of both packages.

    bare_system.py FOLDER    imported modules to standard output, failures to standard error

Gevent and the standard library are imported before anything is taken away: they have their own ways
for each system, which they choose by more than what is missing.
"""

import importlib
import os
import pkgutil
import signal
import socket
import subprocess  # noqa: F401 - while everything is there
import sys
from importlib.abc import MetaPathFinder

import gevent.socket

MODULES = "fcntl termios tty pwd grp resource curses _curses syslog pty readline"
SIGNALS = """
    SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1
    SIGUSR2 SIGWINCH SIGXFSZ pause pthread_sigmask setitimer sigwait
"""
SOCKETS = """
    AF_NETLINK AF_PACKET AF_UNIX CMSG_LEN CMSG_SPACE IP_RECVERR MSG_CMSG_CLOEXEC MSG_DONTWAIT
    MSG_ERRQUEUE MSG_NOSIGNAL NETLINK_ROUTE SCM_RIGHTS SOCK_CLOEXEC SOCK_NONBLOCK SO_BINDTODEVICE
    SO_PEERCRED SO_REUSEPORT TCP_CORK TCP_INFO TCP_QUICKACK TCP_USER_TIMEOUT recv_fds send_fds
"""
SYSTEM = """
    O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC
    O_TMPFILE POSIX_FADV_DONTNEED POSIX_FADV_SEQUENTIAL POSIX_FADV_WILLNEED RWF_NOWAIT SEEK_DATA
    SEEK_HOLE WIFEXITED WNOHANG chown chroot copy_file_range eventfd fchdir fchmod fchown fdatasync
    fork forkpty fstatvfs fwalk getegid geteuid getgid getgrouplist getgroups getloadavg getpgid
    getpgrp getuid getxattr killpg lchown listxattr memfd_create mkfifo mknod openpty pipe2
    posix_fadvise posix_fallocate pread preadv pwrite pwritev readv sched_getaffinity sendfile
    setgid setsid setuid setxattr splice statvfs sync sysconf tcgetpgrp ttyname uname wait3 wait4
    writev
"""


class Missing(MetaPathFinder):
    """Finds that some modules are not there."""

    def find_spec(self, name, path=None, target=None):
        if name in MODULES.split():
            raise ImportError(f"no module {name} here")


def take_away() -> None:
    """Remove modules and names."""
    for name in MODULES.split():
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Missing())
    sockets = (socket, gevent.socket, importlib.import_module("_socket"))
    for names, homes in ((SIGNALS, (signal,)), (SOCKETS, sockets), (SYSTEM, (os,))):
        for name in names.split():
            for home in homes:
                if hasattr(home, name):
                    delattr(home, name)


def main(folder: str) -> int:
    """Import everything; returns the exit code."""
    sys.path.insert(0, folder)
    take_away()
    failures = 0
    for package in map(importlib.import_module, ("tunnel", "derphole")):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue  # it runs the program
            try:
                importlib.import_module(module.name)
            except (ImportError, AttributeError) as error:
                failures += 1
                print(f"{module.name}: {error}", file=sys.stderr)
            else:
                print(module.name)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
