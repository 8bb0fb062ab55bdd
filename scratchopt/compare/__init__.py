"""What `scripts/compare.py` is made of: plan and search, statistics, verdict and report."""
