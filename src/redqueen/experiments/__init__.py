"""Flags, what they are for whom, and experiments with them."""
