"""Other people's scores: read as they are, or one clear error."""

import json
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lockstep.benchmark.score_files import numbers, read_score_file
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import ConfigError
from lockstep.foreign.ids import safe_id
from lockstep.judges.precomputed import PrecomputedJudgeSettings, check_scores
from lockstep.judges.protocol import Pair
from lockstep.rubrics import combine
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT
from tests.score_job import Job

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
ROWS = [
    {"editor": "e", "category": "物理", "id": "007", "score": 7.25, "note": "good"},
    {"editor": "e", "category": "物理", "id": "a/b", "score": None, "note": None},
    {"editor": "e", "category": "Counting", "id": "1", "score": 10, "note": "NA"},
]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_all_kinds_of_files_say_the_same(suffix, tmp_path):
    file = read_score_file(write(tmp_path / f"scores{suffix}", ROWS))
    assert [(row.editor, row.category, row.id) for row in file.rows] == [
        ("e", "physical", "007"),
        ("e", "physical", "a/b"),
        ("e", "Counting", "1"),
    ]
    scores = [numbers(row, ["score"], (0, 10))["score"] for row in file.rows]
    assert scores == [7.25, None, 10]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,score\n1,2", "expected the columns category, id, one for"),
        ("category,id\na,1", "expected a column score or all of instruct"),
        (
            "category,id,score\na,1,good",
            "line 2: score: expected a number in plain",
        ),
        (
            "category,id,score\na,1,1_0",
            "line 2: score: expected a number in plain",
        ),
        ("category,id,score\na,1,５", "found '５'"),
        ("category,id,score\na,1,٣", "found '٣'"),
        ("category,id,score\na,1,nan", "found 'nan'"),
        ("category,id,score\na,1,0x7", "found '0x7'"),
        ('category,id,score\na,1,"7,5"', "found '7,5'"),
        ("category,id,score\na,1,1e400", "expected a number from 0 to 10, found inf"),
        ("category,id,score\na,1,11", "line 2: score: expected a number from 0 to 10, found 11"),
        ("category,id,score\na,1,-0.5", "expected a number from 0 to 10, found -0.5"),
        (
            "category,id,score\na,1,inf",
            "line 2: score: expected a number in plain",
        ),
        (
            "category,id,score\na,1,2\na,1,3",
            "line 3: expected each id once, found '1' of 'a' a second",
        ),
        ("category,id,score\na,,2", "line 2: id: expected a text, found ''"),
        ("category,id,score,score\na,1,2,3", "expected each column once, found 'score' twice"),
        ("category;id;score\na;1;2", "expected commas between the cells, found semicolons"),
        ("category\tid\tscore\na\t1\t2", "expected commas between the cells, found tabs"),
        ("category,id,score\n阿,1,2".encode("gbk"), "expected text in UTF-8 or UTF-16"),
        ("category,id,score\na,1", "line 2: expected 3 cells, found 2"),
        ("category,id,score\na,1,2,", "line 2: expected 3 cells, found 4"),
        ('category,id,score\na,1,"2', "found a broken line 2"),
        (
            "category,id,score\na,é,2\na,e\u0301,3",
            "line 3: expected each id once, found 'e\u0301' of 'a' a second",
        ),
        (
            "category,id,score\na,Ab,2\na,aB,3",
            "can be mixed up with 'Ab'",
        ),
        ("category,id,score,editor\na,1,2,f", "found no scores of editor 'e', it has those of f"),
    ],
)
def test_a_mistake_in_a_file_is_one_clear_error_that_says_where(text, sentence, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        check_scores(str(path), ["e"], {"a": RUBRIC})
    assert str(path) in str(error.value)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[" * 200_000, "line 2: found a broken line (nested too deep)"),
        ('{"a":' * 200_000, "line 2: found a broken line (nested too deep)"),
        ('{"category": "a", "id": "x", "id": "y", "score": 1}', "each key once, found 'id' twice"),
        ("[1]", "line 2: expected an object, found [1]"),
        ('{"category": "a"', "line 2: found a broken line"),
        ('{"category": "a", "id": ["x"], "score": 1}', "line 2: id: expected a text, found ['x']"),
        ('{"category": "a", "id": "x", "score": [1]}', "line 2: score: expected a number"),
        ('{"category": "a", "id": "x", "score": true}', "line 2: score: expected a number"),
        ('{"category": "a", "id": "x", "score": "٣"}', "line 2: score: expected a number"),
        (
            '{"category": "a", "id": "x", "score": Infinity}',
            "expected a number from 0 to 10, found inf",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_a_mistake_in_json_lines_is_one_clear_error(tmp_path, line, sentence):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"category": "a", "id": "0", "score": 1}\n' + line, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        check_scores(str(path), ["e"], {"a": RUBRIC})
    assert sentence in str(error.value)
    assert len(str(error.value)) < 500


def test_nan_is_no_score_and_plain_numbers_are_read_as_they_are(tmp_path):
    lines = ["NaN", "null", '" 7.5 "', '"1e0"', '"+3"', '".5"', '" "', "4"]
    path = tmp_path / "scores.jsonl"
    path.write_text(
        "\n".join(f'{{"category": "a", "id": {n}, "score": {v}}}' for n, v in enumerate(lines))
    )
    rows = read_score_file(path).rows
    found = [numbers(row, ["score"], (0, 10))["score"] for row in rows]
    assert found == [None, None, 7.5, 1, 3, 0.5, None, 4]


def test_columns_of_a_parquet_that_nobody_reads_are_not_decoded(tmp_path):
    path = tmp_path / "scores.parquet"
    table = pa.table(
        {
            "category": pa.array(["a", "a"]).dictionary_encode(),
            "id": ["x", "y"],
            "score": pa.array([Decimal("7.5"), None], pa.decimal128(4, 2)),
            "made": pa.array([2**58, 0], pa.timestamp("ms")),
            "image": [b"x", b"y"],
            "nested": [[{"a": 1}], None],
            "quality": pa.array([2**40, 0], pa.date64()),
        }
    )
    pq.write_table(table, path)
    check_scores(str(path), ["e"], {"a": RUBRIC})
    (row, _) = read_score_file(path).rows
    assert numbers(row, ["score"], (0, 10)) == {"score": 7.5}
    with pytest.raises(ConfigError, match=r"quality: expected a number .*'a column of date"):
        numbers(row, ["quality"], (0, 10))
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match="found a broken table after 0 rows"):
        read_score_file(tmp_path / "cut.parquet")


def test_a_sample_is_found_by_an_id_in_another_form(tmp_path):
    path = write(tmp_path / "scores.csv", [{"category": "a", "id": "E\u0301/b", "score": 7}])
    (found,) = judged(path, ("a", safe_id("é/b")))
    assert found.finished is None
    (found,) = judged(path, ("a", safe_id("É/b")))
    assert found.finished.score == 7
    path = write(tmp_path / "scores.csv", [{"category": "a", "id": "ＤＯＧ", "score": 7}])
    assert judged(path, ("a", "dog"))[0].finished.score == 7


def test_columns_without_a_name_are_passed_over(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("category,id,score,,\na,1,2,,\n", encoding="utf-8")
    check_scores(str(path), ["e"], {"a": RUBRIC})


def test_with_several_editors_the_file_must_name_them(tmp_path):
    path = write(tmp_path / "scores.csv", [{"category": "a", "id": 1, "score": 2}])
    check_scores(str(path), ["e"], {"a": RUBRIC})
    with pytest.raises(ConfigError, match="expected a column 'editor' that tells e"):
        check_scores(str(path), ["e", "f"], {"a": RUBRIC})
    (tmp_path / "scores.xlsx").touch()
    with pytest.raises(ConfigError, match=r"kind .csv, .json, .jsonl, .parquet, found '.xlsx'"):
        read_score_file(tmp_path / "scores.xlsx")


def test_a_key_twice_in_a_line_is_refused(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text('{"id": "a", "category": "physical", "score": 9, "score": 1}')
    with pytest.raises(ConfigError, match=r"twice\.jsonl: line 1: .* 'score' twice"):
        read_score_file(path)


def judged(path, *samples):
    """Return what a judge with a file of scores says of samples of editor e."""
    judge = PrecomputedJudgeSettings(type="precomputed", scores=str(path)).load("cpu")
    pairs = [
        Pair(id=name, editor="e", source=None, edited=None, rubric=RUBRIC, prompt="", category=c)
        for c, name in samples
    ]
    return judge.judge(pairs)


def test_a_judge_of_finished_scores_says_what_the_file_says_and_guesses_nothing(tmp_path):
    path = write(tmp_path / "scores.csv", ROWS)
    # ids are what `prepare` makes of them
    found, empty, absent, other = judged(
        path,
        ("physical", "007"),
        ("physical", "a_b-c14cddc0"),
        ("physical", "1"),
        ("social", "007"),
    )
    assert (found.finished.score, found.finished.criteria, found.error) == (7.25, {}, None)
    assert (empty.finished, empty.error) == (None, f"{path}: line 3: score: found nothing")
    assert (absent.finished, absent.error) == (
        None,
        f"{path}: found no row of this sample by 'e'",
    )
    assert other == absent


def test_scores_are_found_by_the_category_that_a_table_names_itself(tmp_path):
    path = write(tmp_path / "scores.csv", [{"category": "物理", "id": "x", "score": 7}])
    own, of_ours = judged(path, ("物理", "x"), ("physical", "x"))
    assert own.finished.score == of_ours.finished.score == 7
    path = write(tmp_path / "scores.csv", [{"category": "物理", "id": "x", "score": 70}])
    with pytest.raises(ConfigError, match="expected a number from 0 to 10, found 70"):
        check_scores(str(path), ["e"], {"物理": RUBRIC})


def test_criteria_are_combined_by_the_rubric(tmp_path):
    values = {"instruction_following": 9, "physics": 2.5, "preservation": 8, "quality": 7}
    row = {"category": "physical", "id": "x", **values, "score": 1}
    capped = {**row, "id": "y", "instruction_following": 4}
    partial = {**row, "id": "z", "quality": None}
    path = write(tmp_path / "scores.jsonl", [row, capped, partial])
    found = judged(path, ("physical", "x"), ("physical", "y"), ("physical", "z"))
    assert found[0].finished.criteria == values
    assert found[0].finished.score == combine.score(RUBRIC, values) != 1
    assert found[1].finished.score <= 3
    assert "line 3: quality: found nothing" in found[2].error


def test_a_score_job_takes_finished_scores(tmp_path):
    rows = [
        {"category": "physical", "id": f"s{i}", "score": score}
        for i, score in ((0, 7.25), (1, None))
    ]
    path = write(tmp_path / "scores.csv", rows)
    images = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    job = Job(tmp_path, images)
    devices = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))
    judge = PrecomputedJudgeSettings(type="precomputed", scores=str(path))
    found = job.run(judge, devices)
    assert [(r.status, r.score) for r in found.values()] == [
        ("ok", 7.25),
        ("judge_failed", None),
        ("judge_failed", None),
    ]
    assert "line 3: score: found nothing" in found["s1"].error
    # the file is what decides: another one is taken at once
    write(path, [*rows[:1], {**rows[1], "score": 4}])
    assert job.run(judge, devices)["s1"].score == 4
