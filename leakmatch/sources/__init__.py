"""Bytes in: lists folders, walks containers found by signature, and keeps to a budget. Extracts nothing to disk."""
