"""Titles: what there is to watch and how it is found."""
