"""Shared fixtures: the tiny models, made once, and samples to work on."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

# without a GPU Triton's kernels are interpreted; it asks when it is first imported
os.environ["TRITON_INTERPRET"] = "1"

import hypothesis
import pytest
from filelock import FileLock

from lockstep.demo import tiny
from lockstep.devices import pinning
from lockstep.records import Sample
from tests import tiny_editors
from tests.fake_server import Server

ROOT = Path(__file__).parents[1]

# before anything imports torch; a test that calls a model itself pins no CPU slot
pinning.compute_steadily()

# servers of tests are on this machine, whatever proxy leads out of it
os.environ["NO_PROXY"] = "127.0.0.1"

# times on a busy machine say nothing of the code
hypothesis.settings.register_profile(
    "lockstep", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("lockstep")


def pytest_addoption(parser):
    parser.addoption("--fix", action="store_true", help="rewrite generated files that are stale")


def pytest_collection_modifyitems(items):
    """Begin the share of each of xdist's processes with whole runs.

    It deals out as many tests to each as lie beside each other, and who has none left takes some
    of another one's last ones. These are short then, so that nobody waits for the other at the end.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    if processes == 1:
        return
    runs, short = {}, []
    for item in items:
        if item.path.parent.name == "workflow":
            runs.setdefault(item.path, []).append(item)
        else:
            short.append(item)
    left, dealt = len(items), []
    for number in range(processes):
        files = sorted(runs)[number::processes]
        own = [item for path in runs if path in files for item in runs[path]]
        share = left // (processes - number)
        left -= share
        room = max(0, share - len(own)) if number < processes - 1 else len(short)
        dealt += own + short[:room]
        short = short[room:]
    items[:] = dealt


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what one of the test processes has made in a folder, for all of them.

    Args:
        make: takes the folder and returns what can be pickled.
    """
    base = factory.getbasetemp()
    # xdist's processes have folders beside each other
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = base / f"{name}.pickle"
    with FileLock(base / f"{name}.lock"):
        if not path.exists():
            (base / name).mkdir()
            path.write_bytes(pickle.dumps(make(base / name)))
    return pickle.loads(path.read_bytes())


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Folder with `editor`, `plus`, `2511`, `flux`, `pix2pix` and `judge`: the tiny models."""
    return once(tmp_path_factory, "models", make_models)


def make_models(folder: Path) -> Path:
    tiny.make_editor(folder / "editor")
    tiny.make_editor(folder / "plus", plus=True)
    tiny.make_editor(folder / "2511", plus=True, zero_cond_t=True)
    tiny_editors.make_flux_kontext(folder / "flux")
    tiny_editors.make_instruct_pix2pix(folder / "pix2pix")
    tiny.make_judge(folder / "judge")
    return folder


@pytest.fixture
def serve():
    """Start servers that give the answers they are told to."""
    servers = []

    def start(*answers) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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


def without_a_tensor(folder: Path) -> str:
    """Rewrite a safetensors file without one of its weights, and return that one's name."""
    from safetensors.torch import load_file, save_file

    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    name = sorted(key for key in tensors if key.endswith("weight"))[-1]
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    return name
