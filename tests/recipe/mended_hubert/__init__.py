"""What users of hubert_ctc mend in fairseq: its encoder reads a setting that its config lacks.

Both fairseqs read ``cfg.autoregressive`` where only the sequence-to-sequence model's config has it.
"""

from fairseq.models.hubert import hubert_asr
from omegaconf import open_dict

if not hasattr(hubert_asr, "_Encoder"):
    hubert_asr._Encoder = hubert_asr.HubertEncoder

    class HubertEncoder(hubert_asr._Encoder):
        """fairseq's, of a config that knows whether it is autoregressive."""

        def __init__(self, cfg, task):
            with open_dict(cfg):
                cfg.setdefault("autoregressive", False)
            super().__init__(cfg, task)
            with open_dict(cfg):
                cfg.pop("autoregressive")

    hubert_asr.HubertEncoder = HubertEncoder
