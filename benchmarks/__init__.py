"""Benchmarks: each prints JSON, with its own ceiling measured in the same run."""
