"""The theory gate: every rate, limit and invariance, measured from the optimizers' own steps."""
