"""Deciding what to make: the files found, their side of the split, the random draws, and the plan that fixes it all."""
