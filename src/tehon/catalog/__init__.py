"""What exists, as frozen facts: model families and what their files look like. No torch."""
