"""Tables: what goes in comes out."""

import pandas as pd

from lockstep import records
from lockstep.figures import tables


def test_texts_survive_the_file_whatever_they_hold(tmp_path):
    texts = ["The ball\rfell", "a,b", 'he said "no"', "NA", "007", "物理\n二", " x "]
    frame = pd.DataFrame(
        {
            "id": texts,
            "category": "physical",
            "status": "ok",
            "score": 5.5,
            "expected_score": None,
            "physics": pd.array([3] * len(texts), "Int64"),
            "instruction": texts,
            "source": "s",
            "edited": [None] * len(texts),
            "reasoning": texts,
            "error": None,
        }
    )
    records.write_text(tmp_path / "table.csv", tables.to_csv(frame))
    read = tables.read_table(tmp_path / "table.csv")
    assert read["reasoning"].tolist() == texts
    assert read["id"].tolist() == texts
    assert read["score"].tolist() == [5.5] * len(texts)
    assert read["physics"].tolist() == [3] * len(texts)
    assert read["edited"].isna().all()
