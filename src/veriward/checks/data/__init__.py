"""Questions about the data alone: what they hold, whether the splits overlap, what a column gives away."""
