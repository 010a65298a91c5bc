"""Checks for one GPU, each beside its bare limit in the same process: `make gpu`, and `make gpu-bundle` for a machine without a network."""
