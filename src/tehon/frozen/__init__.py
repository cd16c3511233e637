"""Frozen layers as operations of our own: they keep no input for a backward that needs none."""
