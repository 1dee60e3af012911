"""What is generated from the configuration's models: the JSON schema and the table of all keys."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_origin

from pydantic import Field, create_model

from lockstep.config import backends
from lockstep.config.run import Config
from lockstep.config.section import Section
from lockstep.config.sentences import section_in
from lockstep.editors import rewriting
from lockstep.editors.settings import EditorSettings
from lockstep.judges.settings import JudgeSettings
from lockstep.models.backend import BackendSettings

KINDS = backends.known()

UNIONS: dict[str, tuple[str, type[Section], Mapping[str, type[Section]]]] = {
    "editors": ("editors[].", EditorSettings, KINDS.editors),
    "judge": ("judge.", JudgeSettings, KINDS.judges),
    "rewrite": ("editors[].rewrite.", BackendSettings, rewriting.KINDS),
}
"""Keys that take one of several kinds: how their keys begin, what they share, and the kinds."""


def json_schema() -> str:
    """Return the JSON schema of a configuration file, for editors' completion."""
    by_type = Field(discriminator="type")
    editor: Any = Annotated[Union[tuple(KINDS.editors.values())], by_type]  # noqa: UP007
    judge: Any = Annotated[Union[tuple(KINDS.judges.values())], by_type]  # noqa: UP007
    editors: Any = tuple[editor, ...]
    fields = Config.model_fields
    kind = create_model(
        "Config",
        __base__=Config,
        __doc__=Config.__doc__,
        editors=(editors, Field(description=fields["editors"].description)),
        judge=(judge, Field(description=fields["judge"].description)),
        judges=(tuple[judge, ...], Field(description=fields["judges"].description)),
    )
    schema = kind.model_json_schema()
    for name in ("judge", "judges"):
        schema["required"].remove(name)
    schema["oneOf"] = [{"required": ["judge"]}, {"required": ["judges"]}]
    # a preset may give what an editor needs
    for each in KINDS.editors.values():
        schema["$defs"][each.__name__]["required"] = ["name"]
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def documentation() -> str:
    """Return the table of all keys in Markdown."""
    lines = ["| key | default | what it does |", "|---|---|---|", *_rows("", Config.model_fields)]
    return "\n".join(lines) + "\n"


def _rows(prefix: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each key, and those of the sections in it."""
    for name, field in fields.items():
        kind = field.annotation
        if name not in UNIONS and isinstance(kind, type) and issubclass(kind, Section):
            yield from _rows(f"{prefix}{name}.", kind.model_fields)
            continue
        default = (
            "needed"
            if field.is_required()
            else f"`{json.dumps(field.default, ensure_ascii=False)}`"
        )
        yield f"| `{prefix}{name}` | {default} | {field.description or ''} |"
        if name == "judges":
            # each has the keys of `judge`
            continue
        if name in UNIONS:
            yield from _union_rows(*UNIONS[name])
        elif (item := section_in(kind)) is not None:
            several = "[]" if get_origin(kind) is tuple else ""
            yield from _rows(f"{prefix}{name}{several}.", item.model_fields)


def _union_rows(
    prefix: str, shared: type[Section], kinds: Mapping[str, type[Section]]
) -> Iterator[str]:
    common = {name: field for name, field in shared.model_fields.items() if name != "type"}
    yield from _rows(prefix, common)
    for tag, section in kinds.items():
        yield f"| `{prefix}type: {tag}` | | {section.__doc__} |"
        known = {*shared.model_fields, "type"}
        own = {name: field for name, field in section.model_fields.items() if name not in known}
        yield from _rows(prefix, own)
