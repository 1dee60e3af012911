"""The demo, as the README shows it; two minutes on two quiet cores."""

import json

from tests import documents
from tests.documents import Checkout


def test_the_demo_prints_and_ranks_as_the_readme_says(tmp_path):
    checkout = Checkout(tmp_path)
    (expected,) = (
        lines for command, lines in documents.commands("README.md") if command == "make demo"
    )
    code, printed = checkout.run("make demo", timeout=3600)
    assert code == 0, printed
    assert documents.prints(expected, printed), printed
    report = json.loads((tmp_path / "results/demo/report/report.json").read_text(encoding="utf-8"))
    means = {name: own["overall"]["micro"]["mean"] for name, own in report["editors"].items()}
    said = documents.read("README.md")
    for name in ("final", "early", "identity"):
        assert f"({means[name]:.1f}" in said, means
