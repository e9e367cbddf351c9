"""Families of questions: one folder each, one file a check."""
