"""How long a step takes, against torch and against a bare loop."""
