"""Door: trains; the same as `timbre-restore train`, and what `torchrun --nproc_per_node=N train.py` starts."""

import sys

from timbre_restore.apps.entry import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
