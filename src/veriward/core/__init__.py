"""The vocabulary; no algorithms."""
