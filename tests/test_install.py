"""The wheel and the source distribution in empty environments: ``make test-install``, some minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.processes import COMMON

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    not os.environ.get("DWT_INSTALL"), reason="two installs take minutes: make test-install"
)


def run(*command, cwd) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with both, the wheel made from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.parametrize("package", ["*.whl", "*.tar.gz"])
def test_the_commands_run_from_it(package, built, small, tmp_path):
    (file,) = built.glob(package)
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin_folder = tmp_path / "venv" / "bin"
    pip = [bin_folder / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    run(*pip, "pip<24.1", "setuptools<81", "wheel", "cython<3.1", "numpy", cwd=tmp_path)
    run(*pip, f"torch=={version('torch').partition('+')[0]}", cwd=tmp_path)
    options = ["--no-build-isolation", "-c", ROOT / "constraints.txt"]
    run(*pip, *options, file, cwd=tmp_path)
    assert "No broken" in run(bin_folder / "python", "-m", "pip", "check", cwd=tmp_path)

    where = "import fairseq_dwt; print(fairseq_dwt.__file__)"
    found = run(bin_folder / "python", "-c", where, cwd=tmp_path)
    assert found.startswith(str(tmp_path / "venv"))
    assert "layer  Q" in run(bin_folder / "fairseq-dwt", "show", "roberta.large/mnli", cwd=tmp_path)
    usage = run(
        bin_folder / "python", ROOT / "examples" / "glue" / "preprocess.py", "--help", cwd=tmp_path
    )
    assert "--glue-dir" in usage
    train = [bin_folder / "fairseq-hydra-train", "--config-name"]
    run(
        *train, "dwt_rte", *COMMON, "task.sigma=1e-3", f"hydra.run.dir={tmp_path}/dwt",
        cwd=small.folder,
    )  # fmt: skip
    run(
        *train, "ticket_rte", *COMMON, f"optimizer.ticket={tmp_path}/dwt/ticket.json",
        f"hydra.run.dir={tmp_path}/ticket", cwd=small.folder,
    )  # fmt: skip
    tuned = tmp_path / "ticket" / "checkpoint_best.pt"
    delta = tmp_path / "rte.delta.safetensors"
    run(
        bin_folder / "fairseq-dwt", "export", "--init", small.init, "--tuned", tuned, "-o", delta,
        cwd=tmp_path,
    )  # fmt: skip
    run(bin_folder / "fairseq-dwt", "report", "dwt", "ticket", "-o", "report", cwd=tmp_path)
    assert "Dominant-1" in (tmp_path / "report" / "report.md").read_text()
