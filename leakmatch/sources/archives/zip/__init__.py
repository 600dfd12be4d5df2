"""Zip, with everything that is still met: ZIP64, split archives, old methods, both kinds of encryption."""
