"""From pictures on disk to tensors."""
