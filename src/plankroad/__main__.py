"""`python -m plankroad` is `plankroad`."""

from __future__ import annotations

from plankroad.cli.main import main

if __name__ == "__main__":
    main()
