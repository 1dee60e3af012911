"""Editing one shard of a category: stages beside each other, in waves with its peers."""
