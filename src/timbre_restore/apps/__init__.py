"""User-facing entry points: the command line, and what is built from its commands."""
