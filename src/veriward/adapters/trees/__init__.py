"""Trees that can be read: one structure for forests and boosted trees of every library."""
