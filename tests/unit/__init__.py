"""Parts by themselves: no process is started and no Trainer runs long."""
