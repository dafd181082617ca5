"""From an uploaded film to a title that plays everywhere."""
