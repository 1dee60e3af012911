"""Prompts in the form that a pipeline takes."""

import json


def formed(instruction: str, form: str, sources: int) -> str:
    """Return the prompt of an instruction in the form that a pipeline takes."""
    if form == "tagged":
        tags = (f"<img><|image_{number}|></img>" for number in range(1, sources + 1))
        return f"{' '.join(tags)} {instruction}"
    if form == "json":
        try:
            given = json.loads(instruction)
        except (ValueError, RecursionError):
            given = None
        if not (isinstance(given, dict) and "edit_instruction" in given):
            return json.dumps({"edit_instruction": instruction}, ensure_ascii=False)
    return instruction
