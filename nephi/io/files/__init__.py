"""Files as such: written whole or not at all, compressed, and what libraries print while they read."""
