"""How each torch operation becomes `mfm`, one operation family a file."""
