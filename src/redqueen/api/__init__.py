"""The HTTP edge: /api/v1 and the web app."""
