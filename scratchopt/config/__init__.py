"""Configurations: their schemas and checks, all of them without torch."""
