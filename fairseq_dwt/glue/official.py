"""Where GLUE and GPT-2's BPE officially lie, and what the files there are."""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Download:
    """A file to fetch. path: below the base address. size: bytes. sha256: of its content."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


#: By task folder. Sizes and checksums of GLUE's files as Hugging Face's `datasets` records them.
GLUE_FILES = {
    "CoLA": (
        Download(
            "glue/data/CoLA.zip",
            376971,
            "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff",
        ),
    ),
    "SST-2": (
        Download(
            "glue/data/SST-2.zip",
            7439277,
            "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
        ),
    ),
    "MRPC": (
        Download(
            "senteval/senteval_data/msr_paraphrase_train.txt",
            1047044,
            "60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
        ),
        Download(
            "senteval/senteval_data/msr_paraphrase_test.txt",
            441275,
            "a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784",
        ),
        Download(
            "glue/data/mrpc_dev_ids.tsv",
            6222,
            "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7",
        ),
    ),
    "QQP": (
        Download(
            "glue/data/QQP-clean.zip",
            41696084,
            "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0",
        ),
    ),
    "STS-B": (
        Download(
            "glue/data/STS-B.zip",
            802872,
            "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85",
        ),
    ),
    "MNLI": (
        Download(
            "glue/data/MNLI.zip",
            312783507,
            "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633",
        ),
        Download(
            "glue/data/AX.tsv",
            222257,
            "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd",
        ),
    ),
    "QNLI": (
        Download(
            "glue/data/QNLIv2.zip",
            10627589,
            "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5",
        ),
    ),
    "RTE": (
        Download(
            "glue/data/RTE.zip",
            697150,
            "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee",
        ),
    ),
}
BPE_FILES = (
    Download(
        "fairseq/gpt2_bpe/encoder.json",
        1042301,
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
    Download(
        "fairseq/gpt2_bpe/vocab.bpe",
        456318,
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
    Download(
        "fairseq/gpt2_bpe/dict.txt",
        603290,
        "2c31c5b236661067fe8626775eb995ef5fe808ac87d2ad4a6ddbef68550f5cc6",
    ),
)
