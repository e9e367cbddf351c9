"""Checks of the data: personal identifiers, splits, profile."""
