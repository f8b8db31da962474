"""`python infer.py ...` is `rtmdet infer ...`: see rtmdet/cli/infer.py."""

import sys

from rtmdet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["infer", *sys.argv[1:]]))
