"""From a plan row to sound: noises, rooms, mixtures, items."""
