"""The report: numbers, texts, charts, the page and its bundle."""
