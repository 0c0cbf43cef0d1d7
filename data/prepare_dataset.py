"""Door: makes training pairs; the same as `timbre-restore prepare`."""

import sys

from timbre_restore.apps.entry import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
