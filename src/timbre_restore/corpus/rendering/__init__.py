"""From a row of the plan to sound: noises, rooms, mixtures, items."""
