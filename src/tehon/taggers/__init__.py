"""Captions written by models that look at the pictures."""
