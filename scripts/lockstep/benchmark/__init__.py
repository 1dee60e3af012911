"""Benchmarks: one reader for each format, the same samples from all (docs/benchmarks.md)."""
