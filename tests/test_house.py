"""The tree is what CONTRIBUTING.md says, and stays as it was meant."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fairseq_dwt
from fairseq_dwt.run import folder

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fairseq_dwt"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def told() -> set[Path]:
    """The Python files that CONTRIBUTING.md's tree names."""
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    files, folders = set(), []
    for line in tree.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        if names[0].endswith("/"):
            folders[depth:] = [names[0]]
        else:
            files |= {Path(*folders[:depth], name) for name in names}
    return files


def test_the_tree_in_contributing_is_the_tree_on_disk():
    inits = {path for path in SOURCES if path.name == "__init__.py" and path.parent != PACKAGE}
    assert told() == {path.relative_to(ROOT) for path in SOURCES if path not in inits}


def without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            body[0] = ast.Pass()
    return ast.unparse(tree)


def where(pattern: str) -> set[str]:
    """The modules whose code has it."""
    return {
        str(path.relative_to(PACKAGE))
        for path in SOURCES
        if re.search(pattern, without_docstrings(path))
    }


def test_robertas_names_are_known_in_two_rooms():
    rooms = {name.partition("/")[0] for name in where("sentence_encoder|classification_heads")}
    assert rooms == {"model", "huggingface"}


def test_no_one_outside_asks_which_kind_of_ticket_it_is():
    kinds = where(r"isinstance\([^()]*, \(?[^()]*\b(Ticket|ElementMask)\b")
    assert {name for name in kinds if not name.startswith("ticket/")} == set()


@pytest.mark.parametrize(
    "name", [v for k, v in vars(folder).items() if k.isupper() and isinstance(v, str)]
)
def test_a_file_of_a_run_is_named_once(name):
    written = where(
        rf"['\"]{re.escape(name)}['\"]" if "/" not in name else r"['\"]config\.yaml['\"]"
    )
    assert written == {"run/folder.py"}


@pytest.mark.parametrize("part", ["fairseq_dwt", "tests", "benchmarks", "examples"])
def test_files_can_be_read_at_a_sitting(part):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / part).rglob("*.py")
        for lines in [len(path.read_text(encoding="utf-8").splitlines())]
        if lines > 300
    }
    assert not long
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_public_names_come_without_fairseq():
    from tests.test_core import python

    names = [name for name in fairseq_dwt.__all__ if name not in ("register", "__version__")]
    code = (
        f"import sys\nfrom fairseq_dwt import {', '.join(names)}\nprint('fairseq' in sys.modules)"
    )
    assert python(code).stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fairseq_dwt.nothing  # noqa: B018


def test_the_docs_name_tests_that_are_there():
    named = {
        name
        for path in [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
        for name in re.findall(r"\btests/[\w/]*test_\w+\.py", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).is_file()} == set()
