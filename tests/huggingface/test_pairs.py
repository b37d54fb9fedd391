"""Two sentences in a row of tokens, there as the head was trained."""

from __future__ import annotations

import pytest
import torch

from fairseq_dwt.cli import main
from fairseq_dwt.huggingface import import_folder
from tests.huggingface.conftest import save, save_hf
from tests.huggingface.test_families import TEXT, tokenizer_options

transformers = pytest.importorskip("transformers")


def separated(path, told):
    """The checkpoint as if it had been trained on other rows."""
    state = torch.load(path, weights_only=False)
    state["cfg"]["task"].update(told)
    torch.save(state, path)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "camembert"])
def test_pairs_are_separated_as_the_head_was_trained(number, kind, spm, tmp_path):
    """A BERT's word pieces in a RoBERTa's numbers, where no --model-type is given."""
    save(tmp_path / "hf", kind, spm, head=True)
    path = str(tmp_path / "out" / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    separated(path, {"separator_token": None if number == 1 else 2})
    options = tokenizer_options(kind, tmp_path / "out", named=False)
    assert main(["export-hf", path, *options, "-o", str(tmp_path / "back")]) == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "back"))
    first, last = (tokenizer(text)["input_ids"] for text in TEXT[:2])
    middle = [tokenizer.sep_token_id] * number
    assert tokenizer(*TEXT[:2])["input_ids"] == [*first[:-1], *middle, *last[1:]]


@pytest.mark.parametrize("told", [{"separator_token": 4}, {"init_token": None}])
def test_rows_of_another_make_are_refused(told, spm, tmp_path, capsys):
    save(tmp_path / "hf", "bert", spm, head=True)
    path = str(tmp_path / "out" / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    separated(path, told)
    command = ["export-hf", path, *tokenizer_options("bert", tmp_path / "out")]
    assert main([*command, "-o", str(tmp_path / "back")]) == 2
    assert f"{next(iter(told))}: expected" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_bytes_with_one_separator_are_no_robertas(vocabulary, tmp_path, capsys):
    save_hf(tmp_path / "hf", vocabulary, "RobertaForSequenceClassification")
    path = str(tmp_path / "model.pt")
    import_folder(str(tmp_path / "hf"), path)
    state = torch.load(path, weights_only=False)
    state["cfg"]["task"]["separator_token"] = None
    torch.save(state, path)
    command = ["export-hf", path, "--bpe-dir", str(tmp_path), "-o", str(tmp_path / "back")]
    assert main(command) == 2
    assert "separator_token: expected 2" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()
    # of single sentences nothing is separated
    state["task_state"] = {"sentences": 1}
    torch.save(state, path)
    assert main(command) == 0
