"""`python visualize.py ...` is `rtmdet visualize ...`: see rtmdet/cli/visualize.py."""

import sys

from rtmdet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["visualize", *sys.argv[1:]]))
