"""What programs that we start get for an environment.

A frozen program runs with its own libraries first (LD_LIBRARY_PATH), and says so to its children:
`ssh` would load our libcrypto in place of its own.  What was set before is in the same variable
with _ORIG behind it.  Source: PyInstaller 6.22, seen with both of its forms.
"""

from collections.abc import Mapping

LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")
ORIGINAL = "_ORIG"
OF_THE_LOADER = "_PYI_"


def clean_environment(environ: Mapping[str, str], *without: str) -> dict[str, str]:
    """Return an environment for another program.

    Args:
        environ: ours.
        without: names that it is not to have either.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(OF_THE_LOADER) and name not in without
    }
    is_frozen = any(name.startswith(OF_THE_LOADER) for name in environ)
    for name in LIBRARY_PATHS:
        original = kept.pop(name + ORIGINAL, None)
        if original is not None:
            kept[name] = original
        elif is_frozen:
            kept.pop(name, None)
    if is_frozen:
        kept["PYINSTALLER_RESET_ENVIRONMENT"] = "1"  # for another run of ourselves
    return kept
