"""Code of others that lies here whole, because it cannot be installed without being built.

    docopt.py    docopt 0.6.2, under the MIT licence beside it.  Its one change: four patterns are
                 raw strings now, for what they were is a warning from Python 3.12 on.

Nothing here is formatted, linted or typed: a newer version is to be compared line by line.
"""
