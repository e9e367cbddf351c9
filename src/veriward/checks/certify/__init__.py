"""Certificates: what no attacker can do, whatever he tries."""
