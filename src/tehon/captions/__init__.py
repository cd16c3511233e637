"""Editing captions: tags as text, and the files that hold them."""
