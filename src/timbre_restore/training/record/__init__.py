"""What a run leaves to read and shows while it goes on: log, trackers, progress, page."""
