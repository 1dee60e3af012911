"""People who rate edits: who rates what, the page that they open, and what they answered."""
