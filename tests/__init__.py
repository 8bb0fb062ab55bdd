"""Tests: tests/README.md says which claim is held where."""
