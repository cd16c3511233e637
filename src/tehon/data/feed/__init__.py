"""Batches of indices to tensors."""
