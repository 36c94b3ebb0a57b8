# No tests at all.
