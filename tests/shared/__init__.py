"""What tests of several folders need: the table of optimizers, the oracles, browsers."""
