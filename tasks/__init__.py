"""Tasks: what an optimizer is asked to solve. One file a task, its LightningModule and its data."""
