"""Trainable changes to frozen layers. Knows no family, no settings, no file format."""
