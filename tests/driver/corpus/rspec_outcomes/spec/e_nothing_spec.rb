# No examples at all.
