"""The README's commands are the ones that .ci/run runs, and its tree is the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():                                         # the two of the front page
    return re.findall(r"^\s*(python -m pip install .+)$", README, re.M)


def test_the_front_page_has_exactly_two_commands():
    assert commands() == ['python -m pip install -e ".[lab]" && v4mini tour',
                          'python -m pip install -e ".[test]" && pytest --nbval -n 2 --dist loadfile']


def test_ci_runs_the_readme_s_own_lines():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m pip install" in script and "README.md" in script      # it reads them out of the README
    for command in commands():
        assert command.split("&&")[1].strip() not in script, "a copy of a command would drift"


def test_every_folder_has_its_line():
    for folder in sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if folder.endswith(".egg-info") or folder == "build":
            continue
        assert f"`{folder}/`" in README, f"README has no line for {folder}/"
    for room in sorted(path.name for path in (ROOT / "v4mini").iterdir() if path.is_dir() and (path / "__init__.py").exists()):
        assert re.search(rf"`{room}/`|\b{room}/", README), f"README has no line for v4mini/{room}/"


def test_every_dependency_has_its_reason():
    for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if re.match(r'\s+"[A-Za-z_]', line) and any(mark in line for mark in (">=", "==")):
            assert "#" in line or "parity" in line or "ruff" in line or "pytest" in line, f"no reason: {line.strip()}"
