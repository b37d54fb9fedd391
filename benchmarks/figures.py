"""Figures of the docs: one picture for light and one for dark backgrounds."""

from __future__ import annotations

import os

from fairseq_dwt.files import replacing
from fairseq_dwt.report.document import Figure


def write(figure: Figure, folder: str) -> list[str]:
    """FOLDER/NAME-light.png and FOLDER/NAME-dark.png; their paths."""
    paths = [os.path.join(folder, f"{figure.name}-{theme}.png") for theme in ("light", "dark")]
    for path, picture in zip(paths, (figure.light, figure.dark)):
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.write(picture.png)
    return paths
