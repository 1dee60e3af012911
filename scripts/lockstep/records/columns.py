"""Columns of the tables of scores beside the criteria; no criterion can take their names."""

NUMBERS = ("score", "expected_score", "uncertainty", "spread", "swapped_score")
"""Columns of a score that hold numbers."""

MEASURES = (
    *("source_width", "source_height", "edited_width", "edited_height", "size_ratio"),
    *("psnr", "ssim", "changed_share", "shift_x", "shift_y", "zoom_percent", "matched_share"),
    *("colour_l", "colour_a", "colour_b", "colour_cast"),
)
"""Columns of what an edit kept of its source that hold numbers; all others hold texts."""

SIMILARITIES = ("clip_similarity", "clip_text", "dino_similarity", "lpips")
"""Columns of what models told of an edit beside its source that hold numbers."""

COLUMNS = (
    *("id", "category", "status", *NUMBERS, "difficulty", "tags", "instruction", "rewritten"),
    *("description", "rationale", "source", "edited", "reasoning", "judgements", "error"),
    *("judge", "prompt_cut"),
    *(*MEASURES, "copy_of_source", *SIMILARITIES, "clip_text_cut"),
)
"""In their order; criteria stand before the difficulty."""
