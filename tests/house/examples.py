"""Reads the Python examples out of a Markdown page.

Each block fenced as ```python is a whole program. A comment in the line before a fence says more of it:

- `<!-- test: root -->` before a python block: it needs root (a TUN device, say) and curl;
- `<!-- test: output -->` before a text block: the python block before it prints exactly this.
"""

from __future__ import annotations

import re

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
COMMENT = re.compile(r"^ *<!-- test: (?P<what>.*?) -->\s*$")


class Example:
    """One program of a page: its source, the line of its fence, whether it needs root, what it prints if told."""

    __slots__ = ("line", "output", "root", "source")

    def __init__(self, source: str, line: int, root: bool = False) -> None:
        self.source = source
        self.line = line
        self.root = root
        self.output: str | None = None


def examples(page: str) -> list[Example]:
    """The examples in their order. ValueError, with the line, for a comment or fence that has no meaning."""
    lines = page.splitlines()
    found: list[Example] = []
    said = ""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        comment = COMMENT.match(line)
        fence = FENCE.match(line)
        if comment is not None:
            said = comment["what"]
            if said not in ("root", "output"):
                raise ValueError(f"line {number}: nobody knows what 'test: {said}' means")
        elif fence is not None:
            start = number
            indent = len(fence["indent"])
            body: list[str] = []
            while True:
                if number == len(lines):
                    raise ValueError(f"line {start}: this block is never closed")
                line = lines[number]
                number += 1
                if line.strip() == "```":
                    break
                body.append(line[indent:] + "\n")
            text = "".join(body)
            if fence["language"] == "python":
                if said == "output":
                    raise ValueError(f"line {start}: a python block is no output")
                found.append(Example(text, start, said == "root"))
            elif said == "output" and found:
                found[-1].output = text
            elif said:
                raise ValueError(f"line {start}: 'test: {said}' does not belong to this block")
            said = ""
        elif said:
            raise ValueError(f"line {number}: a block must follow 'test: {said}' at once")
    return found
