"""What a run records and shows while it is in progress: log, trackers, progress, page."""
