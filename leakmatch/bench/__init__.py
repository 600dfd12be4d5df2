"""Throughput on this machine: what users measure with ``leakmatch bench``, one module for each subject."""
