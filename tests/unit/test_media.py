"""Texts of others: whatever they hold, they are texts in every medium and every file."""

import csv
import importlib.util
import io
import json
import logging
import re

import hypothesis
import jinja2
import pandas as pd
import pytest
from hypothesis import strategies as st

from lockstep import records
from lockstep.config.report import ReportSettings
from lockstep.figures import published, tables
from lockstep.foreign import media
from lockstep.jobs import joblog
from lockstep.records import Rejected, ScoreRecord, columns
from lockstep.report import numbers, texts, write
from lockstep.rubrics.protocol import read_protocol
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("page_benchmark", ROOT / "benchmarks" / "page.py")
made_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made_up)

HOSTILE = (
    "=cmd|' /C calc'!A0 \x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\u2066\u2028\r\n"
    "# forged\n\n| a | b |\n```\n**bold** _it_ ~~x~~ $x$ [link](javascript:alert(1)) ![i](http://x)\n"
    "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;&#106;\"'\n"
    "</style></pre></script>{{ 7*7 }}{% raw %}\n"
    "\\input{/etc/passwd} % & # _ { } ~ ^ \\write18{id} ^^M\n"
)
UNSEEN = re.compile(f"[{media.UNSEEN}]")

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "'=1",
]

everything = st.text(st.characters(codec=None)) | st.text(
    st.sampled_from("\\u005c1b'=+-@\t\r\n\x1b")
)


@hypothesis.given(everything)
@hypothesis.example("\\u001b")
@hypothesis.example("'\\u005cu001b")
@hypothesis.example("\ud800")
def test_a_cell_reads_back_as_it_was_and_is_no_formula(text):
    cell = media.cell(text)
    assert media.from_cell(cell) == re.sub("[\ud800-\udfff]", "\ufffd", text)
    assert not UNSEEN.search(cell)
    assert cell[:1] not in {*"=+-@\t\r\n＝＋－＠"} or not cell


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text_in_a_table_and_a_number_stays_one(tmp_path, text):
    frame = pd.DataFrame({"id": [text], "score": [-5.5], "tags": ["[]"]})
    written = tables.to_csv(frame)
    assert [row[0][0] for row in csv.reader(io.StringIO(written))][1] in "'\\"
    assert ",-5.5," in written
    records.write_text(tmp_path / "table.csv", written)
    assert tables.read_table(tmp_path / "table.csv")["id"].tolist() == [text]


def test_a_table_of_before_reads_as_it_did(tmp_path):
    before = '"id","reasoning"\n"a","\'quoted\' \\u4e2d \\frac"\n'
    (tmp_path / "table.csv").write_text(before)
    assert tables.read_table(tmp_path / "table.csv")["reasoning"][0] == "'quoted' \\u4e2d \\frac"


def test_markdown_is_one_line_without_markup():
    text = media.markdown(HOSTILE)
    assert "\n" not in text
    assert "<" not in text
    assert not UNSEEN.search(text)
    for mark in ("`", "*", "[", "]", "|", "~", "$"):
        assert all(text[place - 1] == "\\" for place in found(text, mark)), mark
    assert media.markdown("qwen_image_edit 2") == "qwen_image_edit 2"


def found(text, mark):
    return [match.start() for match in re.finditer(re.escape(mark), text)]


def test_a_block_of_code_ends_where_we_end_it():
    lines = media.fenced("a\n```\n# b\n````", "yaml").split("\n")
    assert lines[0] == "`````yaml" and lines[-1] == "`````"


def test_latex_is_text():
    text = media.latex(HOSTILE)
    assert "\n" not in text
    assert not re.search(r"\\(?!text(backslash|asciitilde|asciicircum)\{\}|[&%$#_{}])", text)
    assert not re.search(r"(?<!\\)[%&#$_]", text)


def test_a_terminal_shows_what_it_is_told_and_does_not_obey(tmp_path):
    path = tmp_path / "terminal"
    with open(path, "wb") as file:
        terminal = joblog.open_terminal(file.fileno())
        print(f"Error: {HOSTILE}", file=terminal)
        terminal.write("\r50% \x1b[A\r")
        terminal.write("\n\n\x1b[A\x1b[A")
    text = path.read_bytes().decode()
    shown, moves = text.split("\r50% ")
    assert not UNSEEN.search(shown)
    assert "\\u001b[2J" in shown
    assert all(line.startswith(("Error: ", "  ")) for line in shown.splitlines() if line)
    assert moves == "\\u001b[A\r\n\n\x1b[A\x1b[A"


def test_a_log_has_no_entries_but_ours(tmp_path, monkeypatch):
    forged = "a\n12:00:00 finished in 1.0 s\x1b[2J\u202e"
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s", (forged,), None)
    line = joblog._Entries("%(message)s").format(record)
    assert line == "a\n  12:00:00 finished in 1.0 s\\u001b[2J\\u202e"


def test_records_and_reports_show_no_character_that_is_not_seen(tmp_path):
    score = ScoreRecord(id="a", category="c", status="ok", reply=HOSTILE)
    line = records.json_line(score)
    assert not UNSEEN.search(line.decode().rstrip("\n"))
    assert ScoreRecord.model_validate_json(line).reply == HOSTILE
    broken = records.json_line(score.model_copy(update={"reply": "a\ud800"}))
    assert ScoreRecord.model_validate_json(broken).reply == "a\ufffd"
    records.write_json(tmp_path / "x.json", {"a": HOSTILE, "b": "\udfff"})
    assert records.read_json(tmp_path / "x.json") == {"a": HOSTILE, "b": "\ufffd"}
    assert not UNSEEN.search((tmp_path / "x.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a report in which every text of others is hostile."""
    folder = tmp_path_factory.mktemp("results")
    told = {"instruction": HOSTILE, "description": HOSTILE, "rationale": HOSTILE}
    told |= {"tags": [HOSTILE, "=2+3"], "difficulty": HOSTILE, "expected": HOSTILE}
    given = list(made_up.make_results(folder, 12, side=32, change=lambda number: told))
    for own in given[1].values():
        for path in own.values():
            frame = tables.read_table(path)
            frame[["reasoning", "judge"]] = HOSTILE
            frame["error"] = [HOSTILE if status != "ok" else None for status in frame["status"]]
            records.write_text(path, tables.to_csv(frame))
    for own in given[2].values():
        for path in own.values():
            summary = records.read_json(path)
            judge = {"judge": {"model": HOSTILE}, "versions": {HOSTILE: HOSTILE}}
            summary |= {"judges": {HOSTILE: judge}, "rubric": HOSTILE}
            summary["versions"]["judge"] = {HOSTILE: [HOSTILE]}
            records.write_json(path, summary)
    rejected = Rejected(position=0, id=HOSTILE, subset=HOSTILE, reason=HOSTILE)
    records.write_records(given[4], [rejected])
    row = {"category": HOSTILE, "anchors": 1, "count": 1, "difference": 0.0, "distance": 0.0}
    anchors = folder / "drift.json"
    records.write_json(anchors, [{**row, "largest": 0.0, "same_judge": False}])
    given[5] = {"anchors": [anchors], "agreement": []}
    write.write_report(*given, threads=2)
    return folder / "report"


def test_no_file_of_a_report_has_a_character_that_is_not_seen(written):
    looked = set()
    for path in written.rglob("*"):
        if path.suffix in (".md", ".html", ".js", ".csv", ".tex", ".json", ".svg"):
            looked.add(path.suffix)
            assert not UNSEEN.search(path.read_text(encoding="utf-8")), path
    assert looked == {".md", ".html", ".js", ".csv", ".tex", ".json", ".svg"}


def test_the_report_in_markdown_has_our_headings_and_no_markup_of_others(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "forged" in text
    body, _, rest = text.partition("```")
    after = rest.partition("```")[2]
    for part in (body, after):
        assert not re.search(r"^\s*#+ forged", part, re.MULTILINE)
        assert "<" not in part
        assert "](" not in part.replace("\\](", "")
        assert all(part[place - 1] == "\\" for place in found(part, "`"))
    heads = re.findall(r"^#+ (\w+)", text, re.MULTILINE)
    known = {"Leaderboard", "Differences", "Controls", "Anchors", "Skipped", "Rejected", "Settings"}
    known |= {"Judge", "Lockstep", "Preservation", "Failures", "12"}
    assert set(heads) <= known | set(made_up.EDITORS) | {
        editor.split("-")[0] for editor in made_up.EDITORS
    }


def test_the_page_has_our_scripts_alone(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "forged" in text
    assert text.count("<script") == text.count("</script") == 1
    assert "<img src=x" not in text
    for path in written.glob("data/*.js"):
        script = path.read_text(encoding="utf-8")
        start = script.index(",") + 1
        json.loads(script[start:].removesuffix(");\n"))


def test_no_cell_of_a_csv_is_a_formula(written):
    seen = 0
    for path in [*written.glob("*.csv"), *written.parent.glob("*/*/table.csv")]:
        for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
            for cell in row:
                seen += "forged" in cell
                if cell[:1] in {*"=+-@\t\r＝＋－＠"}:
                    float(cell)
    assert seen


def test_the_table_for_papers_has_no_command_of_others():
    frame = pd.DataFrame(
        {"id": ["1", "2"], "category": "c", "status": "ok", "score": [1.0, 2.0], "tags": "[]"}
    )
    frame = frame.reindex(columns=columns.COLUMNS).astype(dict.fromkeys(columns.NUMBERS, "Float64"))
    found = numbers.of_tables(
        {HOSTILE: {HOSTILE: frame}}, ReportSettings(), (0.0, 10.0), {}, {}
    ).model_dump(mode="json")
    text = texts.latex_table({**found, "title": HOSTILE})
    body = re.sub("^%.*", "", text, flags=re.MULTILINE)
    for command in re.findall(r"\\[A-Za-z]+", body):
        assert command in {
            *("\\begin", "\\end", "\\toprule", "\\midrule", "\\bottomrule", "\\textbackslash"),
            *("\\textasciitilde", "\\textasciicircum", "\\textbf"),
        }
    assert not UNSEEN.search(text)
    assert all(line.startswith(("%", "\\", " &")) or "&" in line for line in text.splitlines())
    assert "forged" in texts.markdown("compare.md.j2", found)
    assert not re.search("^# forged", texts.markdown("compare.md.j2", found), re.MULTILINE)


def test_numbers_of_a_protocol_of_others_are_a_table():
    protocol = read_protocol(ROOT / "config/rubrics/kris/protocol.yaml")
    protocol = protocol.model_copy(update={"name": HOSTILE, "source": HOSTILE})
    rubric = read_rubric(ROOT / "config/rubrics/physical.yaml")
    frame = pd.DataFrame(columns=columns.COLUMNS)
    made = {HOSTILE: published.aggregate(protocol, {HOSTILE: frame}, {HOSTILE: rubric})}
    text = published.markdown(made)
    assert text.count("\n# ") == 0
    assert "<" not in text
    assert not UNSEEN.search(text)


def test_every_template_of_ours_makes_texts_safe():
    for path in (ROOT / "scripts/lockstep/report/templates").rglob("*.j2"):
        source = path.read_text(encoding="utf-8")
        parsed = jinja2.Environment().parse(source)
        for node in parsed.find_all(jinja2.nodes.Filter):
            if node.name == "safe":
                constant = isinstance(node.node, jinja2.nodes.Const)
                drawn = re.search("svg|plots", source.splitlines()[node.lineno - 1])
                assert constant or drawn, path
