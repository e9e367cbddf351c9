"""Asking a served model: one connection, rows as JSON, every failure by name."""
