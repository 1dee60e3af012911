"""Columns of the tables of scores beside the criteria; no criterion can take their names."""

NUMBERS = ("score", "expected_score", "uncertainty", "spread", "swapped_score")
"""Columns that hold numbers; all others hold texts."""

COLUMNS = (
    *("id", "category", "status", *NUMBERS, "difficulty", "tags", "instruction", "rationale"),
    *("source", "edited", "reasoning", "judgements", "error", "judge", "prompt_cut"),
)
"""In their order; criteria stand before the difficulty."""
