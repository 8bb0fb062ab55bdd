"""The comparison of optimizers: schedule and search, statistics, verdict and report."""
