"""The miniature: a drawn world whose right edits are known, and models trained on it."""
