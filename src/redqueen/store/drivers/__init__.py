"""Stores that answer the ports: memory (for tests) and SQLite; folder and S3 for objects."""
