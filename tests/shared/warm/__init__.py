"""Processes that start at once: forks of one that has imported the libraries, torch among them."""
