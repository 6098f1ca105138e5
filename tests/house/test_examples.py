"""Every Python example that README.md, CONTRIBUTING.md and the pages of docs show runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .examples import Example, examples

ROOT = Path(__file__).resolve().parents[2]
#: docs/architecture.md shows interfaces, which are no programs.
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.name != "architecture.md"),
)
LIMIT = 120


def found() -> list[object]:
    """The examples as parameters: marked `root` where the page says so, named by page and line."""
    return [
        pytest.param(
            example,
            marks=[pytest.mark.root, pytest.mark.needs("curl")] if example.root else [],
            id=f"{page}:{example.line}",
        )
        for page in PAGES
        for example in examples((ROOT / page).read_text(encoding="utf-8"))
    ]


def run(example: Example, directory: Path) -> None:
    """Run the example in a Python of its own; it must end well and print what the page says it prints."""
    path = directory / "example.py"
    path.write_text(example.source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(path)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"\n{example.source}\n{done.stdout}\n{done.stderr}"
    if example.output is not None:
        assert done.stdout == example.output


@pytest.mark.parametrize("example", found())
def test_an_example_runs(example: Example, tmp_path: Path) -> None:
    run(example, tmp_path)


PAGE = """
Text.

```python
print("one")
```

prints:

```text
not this: nothing marks it as output
```

<!-- test: root -->
```python
print("two")
```

<!-- test: output -->
```text
two
```

```sh
make demo
```

- in a list:

  ```python
  def f() -> int:
      return 3

  print(f())
  ```

  <!-- test: output -->
  ```text
  3
  ```
"""


def test_the_reader_finds_every_python_block() -> None:
    one, two, three = examples(PAGE)
    assert (one.source, one.root, one.output) == ('print("one")\n', False, None)
    assert (two.source, two.root, two.output) == ('print("two")\n', True, "two\n")
    assert three.source == "def f() -> int:\n    return 3\n\nprint(f())\n"
    assert three.output == "3\n"
    assert PAGE.splitlines()[one.line - 1] == "```python"


@pytest.mark.parametrize(
    "page",
    [
        "```python\nnever closed\n",
        "<!-- test: rooot -->\n```python\nx = 1\n```\n",
        "<!-- test: root -->\n\nText between.\n\n```python\nx = 1\n```\n",
        "<!-- test: output -->\n```text\nno block before\n```\n",
    ],
)
def test_the_reader_refuses_what_it_would_misread(page: str) -> None:
    with pytest.raises(ValueError, match="line"):
        examples(page)


def test_the_runner_fails_on_a_failing_example_and_on_other_output(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(Example("1 / 0\n", 1), tmp_path)
    wrong = Example("print('a')\n", 1)
    wrong.output = "b\n"
    with pytest.raises(AssertionError):
        run(wrong, tmp_path)
