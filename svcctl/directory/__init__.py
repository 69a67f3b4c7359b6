"""Where people come from, and which state each of them is in."""
