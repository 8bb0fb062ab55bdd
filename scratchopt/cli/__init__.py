"""The bodies of the commands in scripts/."""
