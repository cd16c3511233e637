"""Settings to a plan: all that is known before the first step. No torch."""
