"""Parts that several folders need: the table of optimizers, oracles, commands, browsers."""
