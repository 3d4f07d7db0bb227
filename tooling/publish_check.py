"""Refuse to publish while `_config.yml` does not say where the repository is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tooling.settings import PLACEHOLDER, address_is_set

if __name__ == "__main__":
    if not address_is_set():
        sys.exit(
            f"Not published: repository.url in _config.yml is still {PLACEHOLDER}, so every Colab "
            "and edit link would be dead; set it, run `make sync` and `make release`, and commit."
        )
    print("The repository's address is set.")
