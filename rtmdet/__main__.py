"""`python -m rtmdet ...` is `rtmdet ...`: see rtmdet/cli/main.py."""

import sys

from rtmdet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
