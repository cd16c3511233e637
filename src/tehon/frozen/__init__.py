"""Frozen layers and blocks as operations of our own, which keep no more for the backward than that needs."""
