"""The one typed model of all settings, and its surfaces. No torch."""
