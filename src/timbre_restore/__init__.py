"""Gives a voice back what noise suppression took from it."""

__version__ = "0.1.0"

__all__ = ["__version__"]
