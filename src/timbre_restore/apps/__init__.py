"""Doors for people: the command line, and what is built from its verbs."""
