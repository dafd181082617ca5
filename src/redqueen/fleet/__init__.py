"""Desired nodes against observed ones, reconciled by a driver."""
