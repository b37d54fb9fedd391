"""Settings of our classes are refused in a sentence, as Hydra refuses those that it knows."""

import fairseq_cli.train
import pytest
from omegaconf import OmegaConf

import fairseq_dwt


@pytest.mark.parametrize(("key", "value"), [("k", 1.5), ("k", "one"), ("kk", 1)])
def test_a_wrong_setting_is_a_sentence(key, value):
    fairseq_dwt.register()
    cfg = OmegaConf.create({"optimizer": {"_name": "dominant_ticket", key: value}})
    with pytest.raises(
        fairseq_dwt.DwtError, match=f"{key}: expected .* of Dominant.*, got another "
    ):
        fairseq_cli.train.add_defaults(cfg)
