"""The documentation site, built and walked."""
