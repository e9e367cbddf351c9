"""Checks of the model's file itself."""
