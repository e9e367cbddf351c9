"""Subjects that ship with the package."""
