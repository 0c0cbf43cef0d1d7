"""From items to a folder: files, packed parts, markers, lists, locks, and the disk space they need."""
