"""Named tensors in files."""
