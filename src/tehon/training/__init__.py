"""The training step, the loop around it, and what happens now and then beside it."""
