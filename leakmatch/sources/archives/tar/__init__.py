"""Tar, with the extensions of GNU, POSIX and star."""
