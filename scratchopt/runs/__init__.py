"""Runs: one trained and written, a directory of them read, a store of them kept."""
