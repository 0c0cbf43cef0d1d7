"""Checks worth a few minutes before a run of days: timed steps, a small trial, and overfitting one batch."""
