"""Pictures on disk to batches of indices: pure, seeded, no torch."""
