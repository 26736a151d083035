"""`python -m derphole`."""

from derphole.cli.main import main

if __name__ == "__main__":
    main()
