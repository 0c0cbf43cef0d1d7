"""Checkpoints: writing and reading them, resuming from them, and which settings may have changed since."""
