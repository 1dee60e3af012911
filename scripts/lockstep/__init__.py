"""Lockstep: benchmark image-editing models on every GPU, in waves."""

__version__ = "0.1.0"
