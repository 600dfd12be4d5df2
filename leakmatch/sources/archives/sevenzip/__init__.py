"""7z: its headers, its chains of coders, and the key that locks them."""
