"""`python train.py ...` is `rtmdet train ...`: see rtmdet/cli/train.py."""

import sys

from rtmdet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
