"""A destination with something precious around it, and an extractor for it."""

import os
import stat
from contextlib import contextmanager

from derphole.edges.destination import Destination
from derphole.edges.extraction import Extractor

PRECIOUS = b"precious"


def snapshot(path):
    """Return everything below a folder: kind, mode, content or target, and number of links."""
    seen = {}
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            whole = os.path.join(folder, name)
            status = os.lstat(whole)
            if stat.S_ISLNK(status.st_mode):
                what = os.readlink(whole)
            elif stat.S_ISREG(status.st_mode):
                with open(whole, "rb") as file:
                    what = file.read()
            else:
                what = stat.S_IFMT(status.st_mode)
            key = os.path.relpath(whole, path)
            seen[key] = (oct(status.st_mode), what, status.st_nlink if os.path.isfile(whole) else 0)
    return seen


class Scene:
    """`around/into` is where archives go; all else of `around` must stay as it is."""

    def __init__(self, tmp_path):
        self.around = os.fsencode(tmp_path / "around")
        self.into = os.path.join(self.around, b"into")
        os.makedirs(self.into)
        self.put(b"../secret", PRECIOUS)
        os.mkdir(os.path.join(self.around, b"outside"))
        self.put(b"../outside/secret", PRECIOUS)

    def path(self, name):
        return os.path.join(self.into, name)

    def put(self, name, content=PRECIOUS, mode=0o644):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)

    def get(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def mode(self, name):
        return stat.S_IMODE(os.lstat(self.path(name)).st_mode)

    def names(self, name=b"."):
        return sorted(os.listdir(self.path(name)))

    def outside(self):
        """Return what there is beside the destination."""
        return {
            key: value
            for key, value in snapshot(self.around).items()
            if key.split(b"/")[0] != b"into"
        }

    @contextmanager
    def extractor(self, **options):
        destination = Destination(self.into)
        extractor = Extractor(destination.fd, **{"worth_bytes": 0, **options})
        try:
            yield extractor
        finally:
            extractor.close()
            destination.close()

    def extract(self, data, step=None, **options):
        """Extract an archive to its end; return what became of it."""
        with self.extractor(**options) as extractor:
            for at in range(0, len(data), step or len(data)):
                extractor.write([data[at : at + (step or len(data))]])
            extractor.finish()
            return extractor.received


def phrases(told):
    return dict(told.first)
