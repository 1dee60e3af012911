"""Models on disk: what they are, whether they are whole, and where they are loaded from."""
