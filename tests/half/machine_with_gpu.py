"""``fairseq-hydra-train`` on a CPU that says it has a GPU beside it.

For ``common.cpu=true``, which must train as where there is none: what fairseq asks of CUDA all the
same is answered, and nothing computes there. In a process of its own: torch is changed.
"""

import torch

if __name__ == "__main__":
    torch.cuda.is_available = lambda: True
    torch.cuda.current_device = lambda: 0
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_capability = lambda *device: (8, 0)
    torch.cuda.get_rng_state = lambda *device: torch.zeros(1, dtype=torch.uint8)
    for name in (
        "set_rng_state",
        "manual_seed",
        "set_device",
        "reset_peak_memory_stats",
        "empty_cache",
    ):
        setattr(torch.cuda, name, lambda *arguments: None)
    from fairseq_cli.hydra_train import cli_main

    cli_main()
