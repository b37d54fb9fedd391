"""What a cold review found in recipes, each as it would have been met."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fairseq_dwt.any_checkpoint import open_pretrained
from fairseq_dwt.checkpoint import load_checkpoint
from fairseq_dwt.cli import main
from fairseq_dwt.find.l1 import InitDistance
from fairseq_dwt.find.proximal import step_size
from fairseq_dwt.recipe.inside import hold_statistics
from fairseq_dwt.ticket import Ticket
from tests.recipe.families import FAMILIES, Family, prepare, sizes, ticket_run

STEPS = ["--lr", "0.003", "--max-update"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    prepare(FAMILIES["language_modeling"], folder)
    return FAMILIES["language_modeling"], folder


def test_the_distance_sees_through_every_wrapper():
    """fairseq wraps a model twice on several workers."""
    layer = torch.nn.ModuleDict({"fc1": torch.nn.Linear(2, 2)})
    wrapped = torch.nn.ModuleDict({"module": torch.nn.ModuleDict({"module": layer})})
    init = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    names = {name: name for name in init}
    one, two = (InitDistance(init, "file", names)(model) for model in (layer, wrapped))
    held = InitDistance(init, "file", names, copy=False)
    held.cover(layer)
    assert {p0.data_ptr() for _, _, p0 in held.covered} == {t.data_ptr() for t in init.values()}
    assert one == two > 0


@pytest.mark.parametrize("mode", ["compact", "masked"])
def test_factored_moments_resume(lm, mode):
    """Adafactor's row of a column is as long as the column."""
    family, folder = lm
    more = ["--optimizer", "adafactor", *ticket_run(file="random", k=1, mode=mode)]
    family.train(folder, f"ada-{mode}", *STEPS, "4", *more)
    family.train(folder, f"ada-{mode}", *STEPS, "8", *more)
    state = load_checkpoint(f"{folder}/ada-{mode}/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 8
    assert "ticket_" not in str(state["cfg"]) and "fairseq_dwt" not in str(state["cfg"])
    assert state["cfg"]["common"]["fp16_no_flatten_grads"] is False


def test_an_encoder_of_a_whole_models_file(tmp_path, monkeypatch, capsys):
    """The decoder is the run's own although the file has tensors of its names."""
    family, folder = FAMILIES["speech_to_text"], tmp_path
    prepare(family, folder)
    monkeypatch.chdir(folder)
    start = ["--load-pretrained-encoder-from", "pre/checkpoint_last.pt"]
    steps = [*STEPS, "4", *start]
    said = family.train(folder, "s1", *steps, *ticket_run(l1_lambda=1e-7), start=False)
    assert "; 12 matrices" in said
    more = ticket_run(file="s1/ticket.json", k=1)
    family.train(folder, "s2", *steps, *more, start=False)
    init = ["--init", "pre/checkpoint_last.pt"]
    tuned = [*init, "--tuned", "s2/checkpoint_last.pt"]
    assert main(["verify", *tuned, "--ticket", "s2/ticket.json"]) == 0, capsys.readouterr().out
    assert main(["extract", *init, "--tuned", "s1/checkpoint_last.pt", "-o", "again.json"]) == 0
    assert Ticket.load("again.json").digest() == Ticket.load("s1/ticket.json").digest()
    assert main(["export", *tuned, "-o", "d.safetensors"]) == 0
    assert main(["apply", *init, "--delta", "d.safetensors", "-o", "merged.pt"]) == 0
    one, other = (load_checkpoint(p)["model"] for p in ("s2/checkpoint_last.pt", "merged.pt"))
    assert all(torch.equal(tensor, one[name]) for name, tensor in other.items())


def test_another_kind_of_runs_folder_is_refused(lm):
    family, folder = lm
    family.train(folder, "stock", *STEPS, "2", "--no-save-optimizer-state")
    with pytest.raises(AssertionError, match="one of no ticket run; choose another") as error:
        family.train(folder, "stock", *STEPS, "4", *ticket_run(file="random", k=1))
    assert "Traceback" not in str(error.value)
    family.train(folder, "first", *STEPS, "2", *ticket_run(l1_lambda=1e-7))
    with pytest.raises(AssertionError, match="of stage 2 to go on from, got one of stage 1"):
        family.train(folder, "first", *STEPS, "4", *ticket_run(file="random", k=1))


def test_rounded_weights_that_were_altered_are_refused(lm, tmp_path, capsys):
    family, folder = lm
    family.train(folder, "plain", *STEPS, "2", *ticket_run(file="random", k=1))
    state = load_checkpoint(f"{folder}/plain/checkpoint_last.pt")
    state["cfg"]["common"]["bf16"] = True
    torch.save(state, tmp_path / "altered.pt")
    tuned = ["--init", f"{folder}/pre/checkpoint_last.pt", "--tuned", str(tmp_path / "altered.pt")]
    assert main(["verify", *tuned, "--ticket", f"{folder}/plain/ticket.json"]) == 2
    assert "expected values of torch.bfloat16" in capsys.readouterr().err


def test_an_empty_ticket_of_a_model_without_a_head_is_refused(lm, tmp_path):
    family, folder = lm
    init = open_pretrained(f"{folder}/pre/checkpoint_last.pt")
    assert main(["random", "--init", init.path, "-k", "0", "-o", f"{tmp_path}/empty.json"]) == 0
    with pytest.raises(AssertionError, match="expected a ticket with columns, or a model") as error:
        family.train(folder, "empty", *STEPS, "2", *ticket_run(file=f"{tmp_path}/empty.json"))
    assert "Traceback" not in str(error.value)


def test_statistics_outside_the_head_do_not_move():
    model = torch.nn.ModuleDict({"a": torch.nn.BatchNorm1d(3), "head": torch.nn.BatchNorm1d(3)})
    hold_statistics(model, frozenset({"head.weight"}))
    model.train()
    for norm in model.values():
        norm(torch.randn(5, 3))
    assert torch.equal(model["a"].running_mean, torch.zeros(3))
    assert not torch.equal(model["head"].running_mean, torch.zeros(3))


def test_a_step_size_where_the_group_counts_the_steps():
    squares = torch.full((2,), 4.0)
    group = {"lr": 0.1, "betas": (0.9, 0.5), "eps": 0.0, "step": 1}
    own = step_size({**group, "step": None}, {"exp_avg_sq": squares, "step": 1})
    assert torch.equal(step_size(group, {"exp_avg_sq": squares}), own)
    scaled = step_size(group, {"exp_avg_sq": squares / 4, "exp_avg_sq_scale": 4.0})
    assert torch.equal(scaled, own)


def test_files_of_2019_hold_three_projections_in_one(lm, tmp_path, capsys):
    family, folder = lm
    state = load_checkpoint(f"{folder}/pre/checkpoint_last.pt")
    model = dict(state["model"])
    for name in [n for n in model if n.endswith("self_attn.q_proj.weight")]:
        prefix = name.removesuffix("q_proj.weight")
        for part in ("weight", "bias"):
            three = [model.pop(f"{prefix}{one}_proj.{part}") for one in "qkv"]
            model[f"{prefix}in_proj_{part}"] = torch.cat(three)
    torch.save({**state, "model": model}, f"{folder}/pre/fused.pt")
    whole, fused = (open_pretrained(f"{folder}/pre/{n}.pt") for n in ("checkpoint_last", "fused"))
    assert fused.fingerprint == whole.fingerprint and len(fused.matrices) == 12
    start = [*STEPS, "2", "--finetune-from-model", "pre/fused.pt"]
    family.train(folder, "fused", *start, *ticket_run(file="weight_norm", k=1), start=False)
    tuned = ["--init", fused.path, "--tuned", f"{folder}/fused/checkpoint_last.pt"]
    assert main(["verify", *tuned, "--ticket", f"{folder}/fused/ticket.json"]) == 0
    assert main(["export", *tuned, "-o", str(tmp_path / "d.safetensors")]) == 0


def test_one_shot_takes_the_tasks_own_step(tmp_path):
    """Of a Levenshtein Transformer, whose step puts noise into the batch first."""
    pytest.importorskip("fairseq.libnat")
    prepare(FAMILIES["translation"], tmp_path)
    lev = "--task translation_lev --arch levenshtein_transformer --criterion nat_loss".split()
    lev += "--noise random_delete --share-all-embeddings --max-tokens 300".split()
    lev = Family(["mt-b", *lev, *sizes("encoder", "decoder")], [], 32, [])
    first = [*STEPS, "2", "--save-dir", "pre2"]
    lev.train(tmp_path, "pre2", *first, start=False)
    start = [*STEPS, "2", "--finetune-from-model", "pre2/checkpoint_last.pt"]
    lev.train(tmp_path, "lev", *start, *ticket_run(file="oneshot", k=1), start=False)
    assert len(Ticket.load(f"{tmp_path}/lev/ticket.json").matrices) == 32


def test_a_checkpoint_of_another_model_is_refused_by_every_command(lm, small, tmp_path, capsys):
    _, folder = lm
    init, ticket = f"{folder}/pre/checkpoint_last.pt", str(tmp_path / "ticket.json")
    assert main(["random", "--init", init, "-k", "1", "-o", ticket]) == 0
    out = str(tmp_path / "out.json")
    for command in (["verify", "--ticket", ticket], ["extract", "-o", out], ["bottom", "-o", out]):
        more = ["-k", "1"] if command[0] == "bottom" else []
        code = main([command[0], "--init", init, "--tuned", small.init, *command[1:], *more])
        assert code == 2
        assert "found none of its ticket matrices" in capsys.readouterr().err.splitlines()[-1]
    assert not Path(out).exists()


def test_a_layers_tensor_that_is_gone_has_moved(lm, tmp_path, capsys):
    _, folder = lm
    init, ticket = f"{folder}/pre/checkpoint_last.pt", str(tmp_path / "ticket.json")
    assert main(["random", "--init", init, "-k", "1", "-o", ticket]) == 0
    state = load_checkpoint(init)
    del state["model"]["decoder.layers.1.fc2.weight"]
    torch.save(state, tmp_path / "less.pt")
    assert (
        main(["verify", "--init", init, "--tuned", str(tmp_path / "less.pt"), "--ticket", ticket])
        == 1
    )
    assert "decoder.layers.1.fc2.weight" in capsys.readouterr().out


def test_a_base_that_a_wrapper_saved_is_the_same_base(lm, tmp_path):
    _, folder = lm
    state = load_checkpoint(f"{folder}/pre/checkpoint_last.pt")
    state["model"] = {f"module.{name}": tensor for name, tensor in state["model"].items()}
    torch.save(state, tmp_path / "wrapped.pt")
    plain = open_pretrained(f"{folder}/pre/checkpoint_last.pt")
    assert open_pretrained(str(tmp_path / "wrapped.pt")).fingerprint == plain.fingerprint
