"""Proofs that no change within a budget turns a decision."""
