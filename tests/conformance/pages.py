"""docs/conformance.md and docs/conformance-ip.md, made from the requirements and from what tests claim.

python -m tests.conformance.pages            write both (`make conformance`)
"""

from __future__ import annotations

import sys
from typing import Final

from tests.conformance import breaks, claims, requirements
from tests.conformance.requirements import STATUSES, Requirement

DOCS: Final = claims.ROOT / "docs"
TCP_PAGE: Final = DOCS / "conformance.md"
IP_PAGE: Final = DOCS / "conformance-ip.md"

_WORDS: Final = """\
kept: done. kept optionally: done with the setting that is named; the default is in [deviations](deviations.md).
deviates: done otherwise, for the reason given. not taken: a MAY that we do without, or what goes with one (a test,
where one is named, shows what is done instead). programs': addressed to applications.
"""

_MADE: Final = "<!-- Made by `make conformance` from the tests and from tests/conformance/*.toml: change those. -->\n"

_TCP_HEAD: Final = """\
# Conformance

What [RFC 9293](https://www.rfc-editor.org/rfc/rfc9293) asks for, by the numbers of its appendix B and in our words, and
the tests that prove what we do. IP, ICMP and UDP have [their own page](conformance-ip.md).

A test claims a requirement by the marker `requirement`, a packet script by a line `// Requirement:`; `make conformance`
makes this page from them, and `tests/conformance/test_table.py` holds that it is what they make now. {broken}
requirements have at least one *break*, a change of the source that takes the behaviour away (its files are
`tests/conformance/breaks_*.toml`):
`make conformance-breaks` makes each in a copy and shows that a test that claims the requirement fails.
How well the tests of `tcp/` notice changes that nobody chose: [mutation](mutation.md).
"""

_IP_HEAD: Final = """\
# Conformance of IP, ICMP and UDP

What [RFC 1122](https://www.rfc-editor.org/rfc/rfc1122) asks for in sections 3 (IP, ICMP) and 4.1 (UDP), in the order of
its tables and in our words. An id is the section and a letter. How this page is made: [conformance](conformance.md),
whose subject is TCP. {broken} requirements have a break.
"""


def totals(table: list[Requirement]) -> list[str]:
    """Lines of a table: level by status."""
    lines = ["| level | all | " + " | ".join(STATUSES) + " |", "|---" * (len(STATUSES) + 2) + "|"]
    for level in ("MUST", "SHOULD", "MAY"):
        those = [each for each in table if each.kind == level]
        counts = [sum(each.status == status for each in those) for status in STATUSES]
        lines.append(f"| {level} | {len(those)} | " + " | ".join(str(count) for count in counts) + " |")
    return lines


def _proof(tests: list[str]) -> str:
    return "<br>".join(f"`{test}`" for test in tests)


def _row(each: Requirement, tests: list[str], with_level: bool) -> str:
    status = f"{each.status} ({each.note})" if each.note else each.status
    if each.goes_with:
        status += f" (goes with {each.goes_with})"
    level = f"{each.level} | " if with_level else ""
    return f"| {each.id} | {each.section} | {level}{each.text} | {status} | {_proof(tests)} |"


def _broken(table: list[Requirement]) -> int:
    ids = {each.id for each in table}
    return len({identifier for each in breaks.load() for identifier in each.ids} & ids)


def tcp_page(proofs: dict[str, list[str]]) -> str:
    """docs/conformance.md."""
    table = requirements.rfc9293()
    lines = [_MADE + _TCP_HEAD.format(broken=_broken(table)), _WORDS, *totals(table), ""]
    lines += ["## RFC 9293", "", "| id | section | what | status | proof |", "|---|---|---|---|---|"]
    lines += [_row(each, proofs.get(each.id, []), False) for each in table]
    lines += ["", "## Beyond it", "", "| name | what | source | proof |", "|---|---|---|---|"]
    lines += [
        f"| {each.id} | {each.text} | {each.source} | {_proof(proofs.get(each.id, []))} |"
        for each in requirements.beyond()
    ]
    return "\n".join(lines) + "\n"


def ip_page(proofs: dict[str, list[str]]) -> str:
    """docs/conformance-ip.md."""
    table = requirements.rfc1122()
    lines = [_MADE + _IP_HEAD.format(broken=_broken(table)), _WORDS, *totals(table), ""]
    lines += ["## RFC 1122", "", "| id | section | level | what | status | proof |", "|---|---|---|---|---|---|"]
    lines += [_row(each, proofs.get(each.id, []), True) for each in table]
    lines += ["", "## What RFC 9293 replaces", ""]
    lines += ["Section 4.2 of RFC 1122 is about TCP. RFC 9293 stands in its place:", ""]
    lines += ["| section | now |", "|---|---|"]
    lines += [f"| {section} | {', '.join(ids)} |" for section, ids in requirements.replaced().items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write both pages, and say what they count."""
    proofs = claims.by_requirement(claims.by_test())
    for path, text in ((TCP_PAGE, tcp_page(proofs)), (IP_PAGE, ip_page(proofs))):
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(claims.ROOT)}: {'written' if changed else 'as it was'}")
    for name, table in (("RFC 9293", requirements.rfc9293()), ("RFC 1122", requirements.rfc1122())):
        print(f"\n{name}")
        print("\n".join(totals(table)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
