"""Bytes of any picture format to canonical pixels: sniff, open, decode, turn upright, one colour rule for all."""
