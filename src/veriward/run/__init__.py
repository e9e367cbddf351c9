"""Plan, schedule, remember, resume."""
