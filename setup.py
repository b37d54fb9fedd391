"""Installs fairseq_dwt, its configs, its Hydra search path and the ``fairseq-dwt`` command."""

import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as file:
        return file.read()


setup(
    name="fairseq_dwt",
    version=re.search(r'__version__ = "(.+)"', read("fairseq_dwt", "version.py")).group(1),
    description="Find and train the dominant winning ticket of a pre-trained model, in fairseq",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    classifiers=[
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    # hydra_plugins itself must be listed, or an editable install hides it from Hydra
    packages=[
        *find_packages(include=["fairseq_dwt", "fairseq_dwt.*"]),
        "hydra_plugins",
        "hydra_plugins.fairseq_dwt_search_path",
    ],
    package_data={
        "fairseq_dwt": [
            "configs/*.yaml",
            "configs/*/*.yaml",
            "configs/*/*/*.yaml",
            "ticket/published/*/*.json",
        ]
    },
    install_requires=[
        # one fairseq for each Python, a built one where there is one: docs/dependencies.md
        'fairseq==0.12.2; python_version < "3.11"',
        've-fairseq==0.12.3; python_version == "3.11" and sys_platform == "linux" '
        'and platform_machine == "x86_64"',
        'fairseq-fixed==0.12.3.1; python_version >= "3.12" or python_version == "3.11" '
        'and (sys_platform != "linux" or platform_machine != "x86_64")',
        "torch>=2.4",
        "numpy",
        "hydra-core",
        "omegaconf",
        "matplotlib",
        "safetensors",
        "scikit-learn",
        "scipy",
        "sentencepiece",
        "tokenizers",
        "tqdm",
    ],
    extras_require={
        "test": [
            *("pytest", "pytest-xdist", "hypothesis", "transformers", "hydra-submitit-launcher"),
            *("soundfile", "editdistance"),  # of fairseq's speech tasks
        ],
        "dev": ["mypy", "ruff", "pre-commit"],
        "slurm": ["hydra-submitit-launcher"],
        "bench": ["peft", "transformers"],
    },
    entry_points={"console_scripts": ["fairseq-dwt = fairseq_dwt.cli:main"]},
)
