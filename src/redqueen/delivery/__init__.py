"""Releases: code, configuration, flags and routes as one unit that is tried, widened, promoted or undone."""
