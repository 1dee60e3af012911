"""What is generated from the configuration's models: the JSON schema and the table of all keys."""

import json
from typing import Any

from lockstep.config import KINDS, Config, Editor, Section


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors' completion."""
    schema = Config.model_json_schema()
    # a preset may give what an editor needs
    for kind in KINDS.values():
        schema["$defs"][kind.__name__]["required"] = ["name"]
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def documentation() -> str:
    """Return the table of all keys in Markdown."""
    lines = ["| key | default | what it does |", "|---|---|---|"]

    def row(prefix: str, name: str, field: Any) -> None:
        default = "needed" if field.is_required() else _yaml(field.default)
        lines.append(f"| `{prefix}{name}` | {default} | {field.description or ''} |")

    for name, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for inner, inner_field in kind.model_fields.items():
                row(f"{name}.", inner, inner_field)
            continue
        row("", name, field)
        if name == "editors":
            for inner, inner_field in Editor.model_fields.items():
                row("editors[].", inner, inner_field)
            for tag, editor in KINDS.items():
                lines.append(f"| `editors[].type: {tag}` | | {editor.__doc__} |")
                for inner, inner_field in editor.model_fields.items():
                    if inner not in Editor.model_fields and inner != "type":
                        row("editors[].", inner, inner_field)
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(value, ensure_ascii=False)}`"
