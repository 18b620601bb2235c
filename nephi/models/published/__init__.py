"""Published registration networks, exactly as their weights need them, and the import of weight files."""
