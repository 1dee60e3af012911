"""The configuration: its sections, the backends that it names, a sentence for each mistake."""
