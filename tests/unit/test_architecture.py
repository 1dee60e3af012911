"""Walls between the parts, read from the syntax trees."""

import ast
import re
import subprocess
import sys
from importlib import metadata

import pytest
import yaml

from tests.conftest import ROOT

LIBRARY = ROOT / "scripts" / "lockstep"
WRITE = re.compile(r"\.write_(text|bytes)\(|open\([^)]*\"[wax]")
HEAVY = {"torch", "diffusers", "transformers"}


def imports(path, everywhere=True):
    """Return the top-level packages that a module imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def modules():
    return sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_knows_nothing_of_snakemake(path):
    assert not any(name.startswith("snakemake") for name in imports(path))


@pytest.mark.parametrize(
    "name", ["plan", "rubric", "stats", "records", "config", "device", "drift"]
)
def test_parts_that_a_dry_run_needs_import_no_torch(name):
    assert not imports(LIBRARY / f"{name}.py") & HEAVY


def test_torch_is_imported_only_by_backends():
    backends = {
        "judges/decoding.py",
        "judges/qwen3_vl.py",
        "judges/slots.py",
        "judges/step_attention.py",
        "qwen_vl.py",
    }
    backends |= {f"editors/{path.name}" for path in (LIBRARY / "editors").glob("*.py")}
    backends -= {"editors/__init__.py", "editors/precomputed.py"}
    backends |= {f"demo/{name}.py" for name in ("drawing", "measure", "passes", "training")}
    for path in modules():
        if str(path.relative_to(LIBRARY)) not in backends:
            assert not imports(path, everywhere=False) & HEAVY, path


def test_only_the_device_module_reads_the_visible_devices():
    for path in modules():
        if path.name != "device.py":
            assert "CUDA_VISIBLE_DEVICES" not in path.read_text(encoding="utf-8"), path


def test_only_the_rubric_module_parses_replies():
    for path in (*LIBRARY.glob("judges/*.py"), LIBRARY / "scoring.py", LIBRARY / "judging.py"):
        assert "json" not in imports(path), path


def test_only_the_records_module_writes_files():
    for path in modules():
        if path.name not in {"records.py", "joblog.py"}:
            lines = path.read_text(encoding="utf-8").splitlines()
            writes = [line for line in lines if WRITE.search(line) and "records." not in line]
            assert not writes, path


def test_a_dry_run_loads_no_torch():
    code = (
        "import sys; from lockstep import categories, config, device, models, plan, rubric; "
        "from lockstep.editors import precomputed; "
        f"print([name for name in {sorted(HEAVY)} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.name)
def test_a_rules_script_is_thin(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.With)]
    assert block.end_lineno - block.lineno < 25


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.smk")), ids=lambda p: p.name)
def test_every_job_claims_what_the_cluster_is_told(path):
    for rule in re.split(r"(?m)^ *rule\b", path.read_text(encoding="utf-8"))[1:]:
        assert "_CLAIMS," in rule, rule.splitlines()[:3]


def test_the_lock_names_no_address_and_the_environments_have_its_pins():
    lock = (ROOT / "envs" / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in lock
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    for kind in ("edit", "score", "report"):
        environment = yaml.safe_load((ROOT / "envs" / f"{kind}.yaml").read_text(encoding="utf-8"))
        for package in environment["dependencies"][-1]["pip"]:
            name, _, version = package.partition("==")
            assert pins[name] == version, package


SCRIPTS = {
    "edit": ["edit", "tiny_models"],
    "score": ["score", "anchors", "anchor_set"],
    "report": [
        "prepare",
        "import",
        "tabulate",
        "report",
        "bundle",
        "agreement",
        "compare",
        "protocol",
    ],
}
"""Scripts of the rules that name an environment file."""

IMPORT = """
import ast, sys
from importlib.metadata import packages_distributions

allowed, scripts = set(sys.argv[1].split(",")), sys.argv[2:]
owners = packages_distributions()

class Wall:
    def find_spec(self, name, path=None, target=None):
        found = {owner.lower().replace("_", "-") for owner in owners.get(name, ())}
        if found and not found & allowed:
            raise ImportError(f"{name} is not in the environment")

sys.meta_path.insert(0, Wall())
for script in scripts:
    body = ast.parse(open(script, encoding="utf-8").read()).body
    statements = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(statements, []), script, "exec"))
"""


def with_requirements(names):
    """Return packages with all that they require, as installed."""
    found = set()
    while names:
        name = names.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            try:
                required = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            names += [re.match(r"[\w.-]+", line)[0] for line in required if "extra ==" not in line]
    return found


@pytest.mark.parametrize("kind", SCRIPTS)
def test_an_environment_has_what_its_scripts_import(kind):
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = re.findall(rf'envs/{kind}\.yaml".*?scripts/(\w+)\.py', rules, re.DOTALL)
    assert sorted(named) == sorted(SCRIPTS[kind])
    environment = yaml.safe_load((ROOT / "envs" / f"{kind}.yaml").read_text(encoding="utf-8"))
    listed = [line.partition("==")[0] for line in environment["dependencies"][-1]["pip"]]
    allowed = ",".join({*with_requirements(listed), "lockstep"})
    scripts = [str(ROOT / "scripts" / f"{name}.py") for name in SCRIPTS[kind]]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, allowed, *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
