"""The run directory, the only record of a run. No torch."""
