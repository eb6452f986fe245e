"""Benchmarks: each prints its numbers and fails where a promise is not kept."""
