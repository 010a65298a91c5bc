"""A sweep: its request, the space of its settings, trials under Ray Tune, and their records."""
