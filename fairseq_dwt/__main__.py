"""``python -m fairseq_dwt`` is ``fairseq-dwt``."""

import sys

from .cli import main

sys.exit(main())
