"""The engine: runs a rule over many tensors, eagerly or compiled to one kernel."""
