"""What this machine offers: its processor, its memory, the way to its device."""
