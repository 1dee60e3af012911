"""Devices: which there are, that this process sees its own alone, and what they do meanwhile."""
