"""`python -m tehon` is the `tehon` command."""

import sys

from tehon.cli.main import main

sys.exit(main())
