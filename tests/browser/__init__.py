"""Tests in a real Chromium. A package, so that what its modules share ends with its last test."""
