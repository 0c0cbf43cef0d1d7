"""Checkpoints: written and read, what a run goes on from, and what may have changed since."""
