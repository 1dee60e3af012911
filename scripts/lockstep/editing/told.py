"""What an editor is told in place of the instructions, where something rewrites these."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lockstep import layout, records
from lockstep.editors.settings import EditorSettings
from lockstep.errors import DamagedError
from lockstep.records import EditRecord, RewriteRecord, Sample


class Told(NamedTuple):
    """What an editor is told in place of instructions, by samples' ids."""

    texts: Mapping[str, str] = {}
    failures: Mapping[str, str] = {}
    """Why there is none."""

    def sample(self, sample: Sample) -> Sample:
        """Return a sample as the editor sees it."""
        text = self.texts.get(sample.id)
        return sample if text is None else sample.model_copy(update={"instruction": text})

    def record(self, record: EditRecord) -> EditRecord:
        """Return the record of an edit with what the editor was told."""
        return record.model_copy(update={"rewritten": self.texts.get(record.id)})


def read(editor: EditorSettings, folder: Path) -> Told:
    """Return what an editor is told in a category; without a rewriter it is the instructions.

    What a rewriter has left that is no more part of the editor goes.

    Raises:
        DamagedError: if the rewriter has left nothing.
    """
    path = layout.rewritten(folder)
    if editor.rewrite is None:
        path.unlink(missing_ok=True)
        layout.note(layout.place(folder).results, path).unlink(missing_ok=True)
        return Told()
    try:
        found = records.read_records(path, RewriteRecord)
    except FileNotFoundError:
        raise DamagedError(
            f"{path}: expected rewritten instructions, found no file; run again"
        ) from None
    return Told(
        {record.id: record.rewritten for record in found if record.rewritten is not None},
        {record.id: str(record.error) for record in found if record.rewritten is None},
    )
