"""Shared fixtures: the tiny models, made once, and samples to work on."""

from pathlib import Path

import hypothesis
import pytest

from lockstep import tiny
from lockstep.records import Sample

ROOT = Path(__file__).parents[1]

# times on a busy machine say nothing of the code
hypothesis.settings.register_profile(
    "lockstep", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("lockstep")


def pytest_addoption(parser):
    parser.addoption("--fix", action="store_true", help="rewrite generated files that are stale")


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Folder with `editor`, `plus` and `judge`: the tiny models."""
    folder = tmp_path_factory.mktemp("models")
    tiny.make_editor(folder / "editor")
    tiny.make_editor(folder / "plus", plus=True)
    tiny.make_judge(folder / "judge")
    return folder


@pytest.fixture
def sample(tmp_path) -> Sample:
    """Return a sample whose source is a small drawn image."""
    return make_sample(tmp_path)


def make_sample(folder: Path, sample_id: str = "a", **fields) -> Sample:
    from PIL import Image

    path = folder / f"{sample_id}-source.png"
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(path)
    given = {
        "id": sample_id,
        "category": "physical",
        "image": str(path),
        "image_sha256": "0" * 64,
        "width": 96,
        "height": 64,
        "instruction": "Let go of the ball.",
        "description": "A ball above a table.",
        "rationale": "It falls.",
        "source_seed": 42,
        "index": 0,
    }
    return Sample(**{**given, **fields})
