"""Videos: frames picked by scene and time."""
