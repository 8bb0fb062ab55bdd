"""Benchmarks of steps and runs, against torch and against a bare loop."""
