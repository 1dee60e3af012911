"""A judge that needs no model: finished replies from a folder."""

from collections.abc import Sequence
from pathlib import Path

from lockstep.judges import Judgement, Pair


class PrecomputedJudge:
    """Finished replies by editor and sample id.

    Args:
        folder: holds `{editor}/{id}.txt`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def judge(self, pairs: Sequence[Pair]) -> list[Judgement]:
        return [self._judge(pair) for pair in pairs]

    def _judge(self, pair: Pair) -> Judgement:
        path = self._folder / pair.editor / f"{pair.id}.txt"
        try:
            return Judgement(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Judgement(None, error=f"found no reply {str(path)!r}, accepted is a text file")
