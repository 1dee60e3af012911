"""Every command of the README and of the tutorial, in a copy of the checkout.

What takes the full models is planned and not run (-n). The demo and `make test` itself run in
tests/whole.
"""

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests import documents
from tests.documents import Checkout

NOT_HERE = {"make demo", "make test", "make setup"}
"""The first runs in tests/whole, the second is what runs this, the third has been done."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout with the user's own files beside it."""
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    for document in ("README.md", "docs/tutorial.md"):
        made.write(document)
    for name, size in (("cat.jpg", (320, 240)), ("street.png", (400, 300))):
        Image.linear_gradient("L").resize(size).convert("RGB").save(made.folder / "photos" / name)
    (made.folder / "training").mkdir()
    for step in (100, 200):
        file = made.folder / "training" / f"step-{step}.safetensors"
        save_file({"a.lora_A.weight": torch.ones(1, 1)}, file, metadata={"format": "pt"})
    return made


@pytest.mark.parametrize(
    ("command", "expected"),
    [c for c in documents.commands("README.md") if c[0] not in NOT_HERE],
)
def test_a_command_of_the_readme_prints_what_it_shows(checkout, command, expected):
    needs_gpus = command.startswith("snakemake") and " -n" not in command
    if "lockstep init" in command or "photos.yaml" in command:
        # each may run without the other
        (checkout.folder / "photos.yaml").unlink(missing_ok=True)
    if "photos.yaml" in command:
        checkout.run("python -m lockstep init photos")
    code, printed = checkout.run(f"{command} -n" if needs_gpus else command)
    mistaken = any(line.startswith("Error: ") for line in expected)
    assert code == (1 if mistaken else 0), printed
    if expected:
        assert documents.prints(expected, printed), printed
    if needs_gpus:
        assert "This was a dry-run" in printed


def test_the_readmes_checkpoints_are_editors_of_their_own(checkout):
    code, printed = checkout.run("snakemake my-lora -n --configfile checkpoints.yaml")
    assert code == 0, printed
    for name in ("my-lora-100", "my-lora-200"):
        assert f"editing physical with {name}" in printed


def test_the_tutorial_runs_as_it_is_written(checkout):
    """In its order; what takes the full models is planned."""
    checkout.write("docs/tutorial.md")
    # that of the README
    (checkout.folder / "photos.yaml").unlink(missing_ok=True)
    table = checkout.folder / "photos" / "metadata.csv"
    results = checkout.folder / "results" / "rehearsal"
    times = []
    for command, expected in documents.commands("docs/tutorial.md"):
        if command in NOT_HERE:
            continue
        code, printed = checkout.run(f"{command} -n" if "real.yaml" in command else command)
        assert code == 0, printed
        if expected:
            assert documents.prints(expected, printed), printed
        if command == "snakemake --configfile rehearsal.yaml":
            images = results.glob("small/*/images/*.png")
            times.append({path.stem: path.stat().st_mtime_ns for path in images})
            table.write_text(table.read_text().replace("Make it snow.", "Make it rain."))
    before, after = times
    assert before.keys() == {"cat", "street"}
    assert (before["cat"] == after["cat"], before["street"] == after["street"]) == (True, False)
    assert (results / "report" / "report.html").is_file()
    assert (results / "small" / "animals" / "table.csv").is_file()
    assert list((results / "small" / "animals" / "images").glob("*.png"))
