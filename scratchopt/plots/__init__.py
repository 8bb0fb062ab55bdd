"""Pictures of several runs together."""
