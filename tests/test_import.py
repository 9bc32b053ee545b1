"""What an import costs, what works without the extras, and the arrows of DESIGN section 2."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import unsafe_video_dataset

PACKAGE = Path(unsafe_video_dataset.__file__).parent
BUILDERS = PACKAGE.parent / "builders"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BLOCK = """
import sys
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def without(*modules: str) -> str:
    return BLOCK.replace("BLOCKED", repr(modules))


# -- imports at run time


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, unsafe_video_dataset as u; dir(u); u.__version__; print(*sorted(sys.modules))"
    loaded = set(run(code).split())
    assert not loaded & {"torch", "datasets", "pyarrow", "numpy", "av", "decord", "PIL", "jsonschema", "pandas"}


def test_release_needs_neither_torch_nor_datasets_nor_codecs() -> None:
    code = (
        "import sys; from unsafe_video_dataset import Release, aggregate; r = Release.open(); r.verify(); "
        "aggregate(r.annotations()); r.video_bytes(r.metadata()['video_id'][0].as_py()); print(*sys.modules)"
    )
    assert not set(run(code).split()) & {"torch", "datasets", "av", "decord", "PIL", "torchcodec"}


def test_every_public_name_loads() -> None:
    for name in unsafe_video_dataset.__all__:
        assert getattr(unsafe_video_dataset, name) is not None
    assert dir(unsafe_video_dataset) == sorted(unsafe_video_dataset.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = unsafe_video_dataset.nope  # type: ignore[attr-defined]


def test_evaluate_is_the_function_whatever_was_imported_before() -> None:
    code = (
        "import unsafe_video_dataset.evaluate, unsafe_video_dataset.baseline\n"
        "from unsafe_video_dataset import evaluate, train, load_dataset\n"
        "from unsafe_video_dataset import evaluate as again\n"
        "from unsafe_video_dataset.evaluate import evaluate_arrays\n"
        "print(evaluate is again, callable(evaluate), callable(train), evaluate.__name__)"
    )
    assert run(code) == "True True True evaluate"


def test_without_torch_and_codecs() -> None:
    code = without("torch", "av", "decord", "torchcodec", "PIL") + (
        "import unsafe_video_dataset as u\n"
        "r = u.Release.open()\n"
        "print(r.metadata(categories=['terrifying']).num_rows > 0, u.aggregate(r.annotations()).num_rows, r.verify().ok)\n"
        "rows = u.load_dataset('sample', 'metadata', split='test')\n"
        "print(rows.num_rows, u.load_dataset(split='test', streaming=True) is not None)\n"
        "print(next(iter(u.load_dataset(split='test', streaming=True)))['video'].num_frames)\n"
        "for name in ('UnsafeVideoDataset', 'train', 'collate', 'contact_sheet'):\n"
        "    try: getattr(u, name)\n"
        "    except ImportError as error: print(type(error).__name__, error)\n"
        "from unsafe_video_dataset.cli import main\n"
        "for argv in (['train', '--epochs', '3', '--json'], ['demo'], ['report']): print(main(argv))\n"
        "print(main(['info']))"
    )
    lines = run(code).splitlines()
    assert lines[0] == "True 96 True"
    assert lines[1].endswith("True")
    assert lines[2] == "16"
    extras = {"UnsafeVideoDataset": "train", "train": "train", "collate": "train", "contact_sheet": "video"}
    for line, (name, extra) in zip(lines[3:7], extras.items(), strict=True):
        missing = "PIL" if extra == "video" else "torch"
        assert line == f"MissingDependency {name} needs {missing}: pip install 'unsafe-video-dataset[{extra}]'"
    assert lines[7:10] == ["2", "2", "2"]
    assert lines[-1] == "0"
    assert any("picks none" in line and "unsafe-video-dataset[video]" in line for line in lines)


CORE = {"pyarrow", "datasets", "huggingface-hub", "filelock", "jsonschema", "numpy", "tqdm", "rich", "shtab"}


def core_with_what_it_needs() -> set[str]:
    """The core requirements of pyproject.toml and, in turn, everything that they require without an extra."""
    requirements = pytest.importorskip("packaging.requirements")
    found: set[str] = set()
    waiting = set(CORE)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = requirements.Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting |= {re.sub(r"[-_.]+", "-", requirement.name).lower()} - found
    return found


def test_the_core_works_with_its_own_requirements_alone() -> None:
    """Every package that is installed here and that the core does not require is hidden, whatever it is."""
    text = (BUILDERS.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.split("\ndependencies = [")[1].split("\n]")[0]
    assert set(re.findall(r'^  "([a-z_-]+)[^;\n]*"', listed, re.MULTILINE)) == {
        name.replace("huggingface-hub", "huggingface_hub") for name in CORE
    }
    needed = core_with_what_it_needs()
    hidden = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & (needed | {"unsafe-video-dataset"})
        and not module.startswith("_")
    ]
    assert {"torch", "av", "decord", "PIL"} & set(hidden) or "torch" not in sys.modules
    code = without(*hidden) + (
        "import unsafe_video_dataset as u\n"
        "r = u.Release.open()\n"
        "print(r.verify().ok, u.aggregate(r.annotations()).num_rows, u.agreement(r.annotations(), bootstrap=10) is not None)\n"
        "print(u.load_dataset('sample', 'annotations', split='test', streaming=True) is not None)\n"
        "from unsafe_video_dataset.cli import main\n"
        "print(main(['verify', 'sample', '--json']))"
    )
    lines = run(code).splitlines()
    assert lines[:2] == ["True 96 True", "True"]
    assert lines[-1] == "0"


def test_the_command_without_torch_says_what_to_install() -> None:
    code = without("torch") + "from unsafe_video_dataset.cli import main; sys.exit(main(['train', '--epochs', '3']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: This needs torch: pip install 'unsafe-video-dataset[train]'"


# -- the arrows, read from the source

LAYERS = [
    {"taxonomy", "errors"},
    {"records"},
    {"video", "sizes", "isolate", "_decode_child", "clips", "decoders", "mp4", "boxes", "nal", "sample_tables"},
    {"release", "manifest", "parts", "naming", "integrity", "rows", "votes", "dawid_skene", "filters", "values", "extras"}
    | {"parquet", "scan", "footer", "thrift", "pages", "columns", "cell", "places"},
    {"hub", "cache", "clip_file"},
    {"torch", "batch", "hf", "lazy_video", "arrow_cache", "orders", "ranks", "samplers", "stream_plan", "streaming", "loader"},
    {"baseline", "bench", "detector", "preview", "defenses", "evaluate", "metrics", "scores", "predictions", "_console"}
    | {"_tables", "_terminal", "_completion", "_ending", "export", "outputs"}
    | {"agreement", "reliability", "estimates", "soft", "thresholds", "compare", "ceiling", "task", "report_text"}
    | {"leaderboard", "plots", "curves", "palette", "figures", "report"},
    {
        "cli",
        "cli_hub",
        "cli_open",
        "cli_bench",
        "cli_defend",
        "cli_defend_bench",
        "cli_defend_run",
        "cli_defend_record",
        "cli_evaluate",
        "cli_export",
        "cli_report",
        "cli_train",
    },
]
UPWARD = {("release", "hub")}  # a name on the Hub needs the network; imported only when such a name is opened
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
TORCH = {"torch", "batch", "baseline", "detector", "defenses", "ranks", "samplers", "streaming", "loader"}
CODECS = {"decoders", "video", "_decode_child"}
# PyAV and torchcodec are the packages `av` and `torchcodec`; importing torch in a backend is torchcodec's doing.


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules that a file imports; those of its own package as `.name`."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    functions = {
        inner for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Lambda)) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in hidden or (top_level and node in functions):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            found |= {dots + node.module} if node.module else {dots + alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name != "__init__"])
def test_arrows_point_down(name: str) -> None:
    assert name in LEVEL, f"{name} has no place in LAYERS: add it where DESIGN section 2 puts it"
    for module in imports(PACKAGE / f"{name}.py"):
        if module.startswith("."):
            target = module.lstrip(".").split(".")[0]
            if target in LEVEL:
                assert LEVEL[target] <= LEVEL[name] or (name, target) in UPWARD, f"{name} may not import {target}"


@pytest.mark.parametrize("name", MODULES)
def test_the_package_never_imports_the_builders(name: str) -> None:
    assert not [module for module in imports(PACKAGE / f"{name}.py") if "builders" in module]


@pytest.mark.parametrize("name", MODULES)
def test_who_may_import_what(name: str) -> None:
    used = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py") if not module.startswith(".")}
    assert "torch" not in used or name in TORCH | CODECS
    assert not used & {"av", "decord", "torchcodec"} or name in CODECS
    assert not used & {"socket", "urllib", "http", "requests", "httpx", "huggingface_hub", "aiohttp"}
    at_import = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py", top_level=True)}
    assert not at_import & {"av", "decord", "torchcodec"}, "codecs are imported when they are first used"
    assert "datasets" not in at_import or name in ("hf", "lazy_video")


DEFENSES = sorted(path.stem for path in (PACKAGE / "defenses").glob("*.py"))
# Inside `defenses`: what is decided knows nothing of torch; what reads x0 and stops a pipeline stands above it.
DEFENSE_LAYERS = [
    {"base"},
    {"rule", "evidence", "chain", "adapters"},
    {"sequential", "lvd"},
    {"steering"},
    {"tap", "x0", "blank", "samples", "failsafe"},
    {"layout", "scrub"},
    {"steps"},
    {"session"},
    {"around"},
    {"guard"},
]
DEFENSE_LEVEL = {name: level for level, names in enumerate(DEFENSE_LAYERS) for name in names}
TORCHLESS = {"__init__", "base", "rule", "evidence", "sequential", "chain", "adapters", "lvd", "steering", "samples", "tap"}


@pytest.mark.parametrize("name", DEFENSES)
def test_defenses_arrows_point_down(name: str) -> None:
    path = PACKAGE / "defenses" / f"{name}.py"
    at_import = imports(path, top_level=True)
    assert not {module.split(".")[0] for module in at_import} & {"diffusers", "transformers"}, "imported where they are used"
    if name in TORCHLESS:
        assert not [module for module in at_import if module.split(".")[0] == "torch"]
    for module in at_import:
        if module.startswith("..") and module.lstrip("."):
            target = module.lstrip(".").split(".")[0]
            assert target not in LEVEL or LEVEL[target] <= LEVEL["defenses"], f"defenses may not import {target}"
        elif module.startswith(".") and name in DEFENSE_LEVEL and module[1:] in DEFENSE_LEVEL:
            assert DEFENSE_LEVEL[module[1:]] <= DEFENSE_LEVEL[name], f"defenses.{name} may not import {module}"


def test_defenses_load_on_demand() -> None:
    code = (
        "import sys, unsafe_video_dataset.defenses as d; dir(d); print(*sys.modules)\n"
        "d.Chain, d.EtaLambda, d.LatentVariableDefense, d.SequentialTest, d.GuardModel, d.LatentSteering, d.GenerationBlocked\n"
        "print(*sys.modules)\n"
        "import unsafe_video_dataset.defenses.guard\n"
        "print(callable(d.guard), all(getattr(d, name) is not None for name in d.__all__))"
    )
    table, names, public = run(code).splitlines()
    heavy = {"torch", "diffusers", "transformers", "datasets", "pyarrow"}
    assert not set(table.split()) & (heavy | {"numpy"})
    assert not set(names.split()) & heavy
    assert public == "True True"


def test_a_guard_without_torch_says_what_to_install() -> None:
    code = without("torch") + "import unsafe_video_dataset.defenses as d; d.LatentVariableDefense; d.guard"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "guard needs torch: pip install 'unsafe-video-dataset[defenses]'" in done.stderr


def test_the_schemas_and_builders_are_mapped_into_the_package() -> None:
    out = run("import unsafe_video_dataset.builders, unsafe_video_dataset.schema as s; print(s.__path__ is not None)")
    assert out == "True"
    if BUILDERS.is_dir():
        for path in BUILDERS.glob("*.py"):
            assert not [module for module in imports(path) if module.startswith("builders")], path
