"""The miniature's world, whose right edits are known, and tiny models with random weights."""
