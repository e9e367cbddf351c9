"""Building blocks for private computing. Knows nothing of checks."""
