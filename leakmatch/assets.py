"""Files by content: a name, a SHA-256, and mirrors in order."""
