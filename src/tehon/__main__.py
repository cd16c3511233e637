"""`python -m tehon` is the `tehon` command."""

import sys

from tehon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
