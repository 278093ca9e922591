"""Source against index, and the mending of what failed."""
