"""Numbers of tables: statistics, agreement, drift, published protocols."""
