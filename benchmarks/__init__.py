"""Ratios of the product's speed and memory to what the same machine does bare, on real photographs: `python -m benchmarks`."""
