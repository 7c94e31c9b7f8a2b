"""Measurements that are no tests: each is run by hand, `python -m benchmarks.<name>`, and prints its numbers."""
