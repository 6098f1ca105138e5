"""TCP measured on paths: cells, what is measured in them, and how (docs/paths.md)."""
