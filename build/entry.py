"""The script that PyInstaller freezes: one program under two names, told apart by argv[0]."""

import sys

from derphole.cli.main import main

sys.exit(main())
