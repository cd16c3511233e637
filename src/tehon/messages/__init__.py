"""Sentences for people, and the error that carries one."""
