"""Differential privacy: mechanisms, accounting, private training."""
