"""What is worth a few minutes before a run of days: steps timed, a small trial, one batch learned by heart."""
