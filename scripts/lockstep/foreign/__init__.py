"""Files and texts of others: limited when they are read, made safe when they are shown."""
