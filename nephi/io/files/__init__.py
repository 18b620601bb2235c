"""Files of any format: checks before reading, atomic writing, compression, and messages that libraries print."""
