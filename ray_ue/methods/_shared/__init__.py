"""What several methods share: samplers, random numbers, delta updates, and the network that a method trains."""
