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

UNIONS: dict[str, tuple[type[Section], Mapping[str, type[Section]]]] = {
    "editors": (EditorSettings, KINDS.editors),
    "judge": (JudgeSettings, KINDS.judges),
    "rewrite": (BackendSettings, rewriting.KINDS),
}
"""Keys that take one of several kinds: what these share, and the kinds."""


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
    """Return tables of all keys in Markdown, one for each section and kind of backend."""
    fields = Config.model_fields
    top = {name: field for name, field in fields.items() if _section(name, field) is None}
    lines = ["### Keys at the top", "", *_table(top)]
    for name, field in fields.items():
        if name in UNIONS:
            lines += ["", f"### Keys of `{name}`", "", *_union(name)]
        elif (section := _section(name, field)) is not None:
            about = field.description or section.__doc__
            lines += [
                "",
                f"### Keys of `{name}`",
                "",
                f"{about}",
                "",
                *_table(section.model_fields),
            ]
    return "\n".join(lines) + "\n"


def _section(name: str, field: Any) -> type[Section] | None:
    """Return the section that a key holds, whose keys have a table of their own."""
    if name in UNIONS:
        return UNIONS[name][0]
    return None if name == "judges" else section_in(field.annotation)


def _table(fields: Mapping[str, Any]) -> list[str]:
    return ["| key | default | what it does |", "|---|---|---|", *_rows("", fields)]


def _rows(prefix: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each key, and those of the sections in it."""
    for name, field in fields.items():
        kind = field.annotation
        if name not in UNIONS and isinstance(kind, type) and issubclass(kind, Section):
            yield from _rows(f"{prefix}{name}.", kind.model_fields)
            continue
        yield _row(f"{prefix}{name}", field)
        if name not in UNIONS and name != "judges" and (item := section_in(kind)) is not None:
            several = "[]" if get_origin(kind) is tuple else ""
            yield from _rows(f"{prefix}{name}{several}.", item.model_fields)


def _row(key: str, field: Any) -> str:
    default = json.dumps(field.default, ensure_ascii=False) if not field.is_required() else ""
    return f"| `{key}` | {f'`{default}`' if default else 'needed'} | {field.description or ''} |"


def _union(name: str) -> Iterator[str]:
    """Yield the kinds of a backend, the keys that all have, and those of each group of kinds."""
    shared, kinds = UNIONS[name]
    yield from ("| `type` | what it is |", "|---|---|")
    yield from (f"| `{tag}` | {section.__doc__} |" for tag, section in kinds.items())
    common = {name: field for name, field in shared.model_fields.items() if name != "type"}
    if common:
        yield from ("", "Every type:", "", *_table(common))
    # a key that several kinds describe alike stands once
    rows: dict[str, list[str]] = {}
    for tag, section in kinds.items():
        own = {n: f for n, f in section.model_fields.items() if n not in {*common, "type"}}
        for row in _rows("", own):
            rows.setdefault(row, []).append(tag)
    for tags in dict.fromkeys(map(tuple, rows.values())):
        listed = " and ".join(
            filter(None, [", ".join(f"`{t}`" for t in tags[:-1]), f"`{tags[-1]}`"])
        )
        yield from (
            "",
            f"With `type` {listed}:",
            "",
            "| key | default | what it does |",
            "|---|---|---|",
        )
        yield from (row for row, having in rows.items() if tuple(having) == tags)
    if "rewrite" in common:
        yield from ("", "#### Keys of `rewrite`", "", *_union("rewrite"))
