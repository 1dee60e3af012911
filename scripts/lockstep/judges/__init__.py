"""Judges: a module or folder for each backend, its settings beside what they configure.

Importing a backend's settings imports no torch.
"""
