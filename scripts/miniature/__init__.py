"""What makes the miniature: its models before training, their training, and the finished files."""
