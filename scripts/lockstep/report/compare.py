"""The report of a comparison: the numbers of several runs, or of other people's scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lockstep import records
from lockstep.config.report import CompareSettings, ReportSettings
from lockstep.report import numbers, texts
from lockstep.report.sources import read_sources


def write_comparison(
    compare: CompareSettings,
    report: ReportSettings,
    files: Mapping[str, Sequence[str]],
    folder: Path,
) -> None:
    """Write compare.json, compare.md, and the main table as scores.csv and scores.tex.

    Args:
        files: of each source, as from `sources.source_files`.

    Raises:
        ConfigError: if a source is none.
    """
    folder = Path(folder)
    frames, sources = read_sources(compare, files)
    counted = numbers.of_tables(frames, report, compare.scale, sources, compare.scales)
    found = counted.model_dump(mode="json")
    records.write_json(folder / "compare.json", found)
    records.write_text(
        folder / "compare.md", texts.markdown("compare.md.j2", found, report.language)
    )
    records.write_text(folder / "scores.csv", texts.csv_table(found))
    records.write_text(folder / "scores.tex", texts.latex_table(found))
