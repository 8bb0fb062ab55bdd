"""What `scripts/compare.py` is made of: a store of runs, a search, statistics and a report."""
