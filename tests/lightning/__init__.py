"""Callbacks and optimizers under a Trainer."""
