"""Files that nobody reads or changes unseen without a key. docs/security.md has the format."""
