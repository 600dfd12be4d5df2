"""Perceptual hashes, the join of near ones, and the rule that says two pictures are the same picture."""
