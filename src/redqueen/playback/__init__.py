"""Watching: the right to it, where it lies, and where the viewer stopped."""
