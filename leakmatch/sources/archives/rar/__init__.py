"""RAR: headers in Python, unpacking by the unrar library."""
