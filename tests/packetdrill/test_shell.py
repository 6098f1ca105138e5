"""The reader of shell text: what it understands, and that it refuses the rest by name."""

from __future__ import annotations

import pytest

from plankroad.packetdrill.errors import ShellError
from plankroad.packetdrill.shell import Interpreter, Result
from plankroad.packetdrill.shell_arithmetic import arithmetic

pytestmark = pytest.mark.either


class Recorder:
    """Runs shell text; commands are kept, `fail` and `say` do what they are called, `echo` echoes."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.stdin: list[str] = []
        self.files: dict[str, str] = {"in": "from a file\n"}
        self.shell = Interpreter(self.execute, self.read, self.write)
        self.shell.variables["PPID"] = "77"

    def execute(self, words: list[str], stdin: str) -> Result:
        self.calls.append(words)
        self.stdin.append(stdin)
        if words[0] == "fail":
            return Result(int(words[1]) if len(words) > 1 else 1, "out\n", "err\n")
        if words[0] == "echo":
            return Result(out=" ".join(words[1:]) + "\n")
        return Result()

    def read(self, name: str) -> str:
        return self.files[name]

    def write(self, name: str, text: str, append: bool) -> None:
        self.files[name] = (self.files.get(name, "") if append else "") + text

    def run(self, text: str) -> Result:
        return self.shell.run_text(text)


def words(text: str) -> list[list[str]]:
    recorder = Recorder()
    recorder.run(text)
    return recorder.calls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", [["a", "b", "c"]]),
        ("a 'b  c' \"d e\" f'g'\"h\"", [["a", "b  c", "d e", "fgh"]]),
        ("a '' \"\"", [["a", "", ""]]),
        (r"a b\ c \'", [["a", "b c", "'"]]),
        ('a "say \\"x\\" \\$y"', [["a", 'say "x" $y']]),
        ("a \\\n b", [["a", "b"]]),
        ("a # no b\nc", [["a"], ["c"]]),
        ("a b#c", [["a", "b#c"]]),
        ("# nothing", []),
        ("a; b\nc", [["a"], ["b"], ["c"]]),
        ("/tmp/x_${PPID}.sh $PPID", [["/tmp/x_77.sh", "77"]]),
        ('a="1 2"; b $a "$a"', [["b", "1", "2", "1 2"]]),
        ("b $nothing c", [["b", "c"]]),
        ("x=$((15*1024*1024)); b x$x", [["b", "x15728640"]]),
        ('a tcp_rmem="4096 540000 $((15*1024))"', [["a", "tcp_rmem=4096 540000 15360"]]),
        ("a $(echo b  c) \"$(echo 'b  c')\"", [["echo", "b", "c"], ["echo", "b  c"], ["a", "b", "c", "b  c"]]),
        ("{ a; b; }; (c; d)", [["a"], ["b"], ["c"], ["d"]]),
        ("a [ ]", [["a", "[", "]"]]),
    ],
)
def test_words(text: str, expected: list[list[str]]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "status"),
    [
        ("a && b", ["a", "b"], 0),
        ("fail && b", ["fail"], 1),
        ("a || b", ["a"], 0),
        ("fail || b", ["fail", "b"], 0),
        ("fail && b || c", ["fail", "c"], 0),
        ("a || b && c", ["a", "c"], 0),
        ("fail ; b", ["fail", "b"], 0),
        ("b ; fail 3", ["b", "fail"], 3),
        ("! fail", ["fail"], 0),
        ("! a", ["a"], 1),
        ("fail |\n a", ["fail", "a"], 0),
        ("a | fail 2", ["a", "fail"], 2),
        ("a &&\n b", ["a", "b"], 0),
        ("if a; then b; else c; fi", ["a", "b"], 0),
        ("if fail; then b; else c; fi", ["fail", "c"], 0),
        ("if fail; then b; elif a\nthen c; fi", ["fail", "a", "c"], 0),
        ("if fail; then b; fi", ["fail"], 0),
        ("fail; a $?", ["fail", "a"], 0),
    ],
)
def test_what_runs_and_what_the_status_is(text: str, expected: list[str], status: int) -> None:
    recorder = Recorder()
    result = recorder.run(text)
    assert [call[0] for call in recorder.calls] == expected
    assert result.status == status


def test_the_status_of_the_last_command_is_a_variable() -> None:
    assert words("fail 7; a $?")[1] == ["a", "7"]


def test_an_assignment_before_a_command_is_its_alone() -> None:
    assert words("x=1 a $x; x=2; x=3 a; a $x") == [["a"], ["a"], ["a", "2"]]


def test_a_pipe_carries_output() -> None:
    recorder = Recorder()
    recorder.run("echo one two | a | b")
    assert recorder.stdin == ["", "one two\n", ""]


@pytest.mark.parametrize(
    ("text", "out", "err", "file"),
    [
        ("fail", "out\n", "err\n", None),
        ("fail > f", "", "err\n", "out\n"),
        ("fail 2> f", "out\n", "", "err\n"),
        ("fail > f 2>&1", "", "", "out\nerr\n"),
        ("fail 2>&1 > f", "err\n", "", "out\n"),
        ("fail &> f", "", "", "out\nerr\n"),
        ("fail >& f", "", "", "out\nerr\n"),
        ("fail >&2", "", "out\nerr\n", None),
        ("fail > f; fail >> f", "", "err\nerr\n", "out\nout\n"),
        ("fail > f; fail > f", "", "err\nerr\n", "out\n"),
        ("{ fail; fail; } > f", "", "err\nerr\n", "out\nout\n"),
    ],
)
def test_redirections(text: str, out: str, err: str, file: str | None) -> None:
    recorder = Recorder()
    result = recorder.run(text)
    assert (result.out, result.err, recorder.files.get("f")) == (out, err, file)


def test_input_comes_from_a_file() -> None:
    recorder = Recorder()
    recorder.run("a < in")
    assert recorder.stdin == ["from a file\n"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15*1024*1024", 15728640),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("0x10 | 3", 19),
        ("010", 8),
        ("1 << 4 >> 1", 8),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("!0 + ~0", 0),
        ("3 > 2 && 2 >= 2 || 0", 1),
        ("x * 2", 12),
        ("nothing + 1", 1),
        ("5 ^ 1 & 3", 4),
    ],
)
def test_arithmetic(text: str, value: int) -> None:
    assert arithmetic(text, {"x": "6"}) == value


@pytest.mark.parametrize("text", ["1 +", "1 / 0", "(1", "1 2", "x = 3", "1 ? 2 : 3", "", "2 ** 3"])
def test_arithmetic_that_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ShellError, match="arithmetic"):
        arithmetic(text, {})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("for i in 1 2; do a; done", "'for'"),
        ("while a; do b; done", "'while'"),
        ("case x in x) a;; esac", ";;"),
        ("f() { a; }", "functions"),
        ("a << EOF", "<<"),
        ("a <<< b", "<<<"),
        ("a &", "background"),
        ("ls *.pkt", r"'\*'"),
        ("ls [ab]", r"'\['"),
        ("[[ a ]]", r"\[\["),
        ("a `b`", "backtick"),
        ("a ${x:-y}", "x:-y"),
        ("a 'b", "single quote"),
        ('a "b', "double quote"),
        ("a $(b", "parenthesis"),
        ("(a", "ends where"),
        ("if a; then b", "ends where"),
        ("a &&", "nothing follows"),
        ("&& a", "expected before &&"),
        ("a | | b", "expected before"),
        ("a >", "file name"),
        ("a > > b", "file name"),
        ("a 3> b", "descriptor"),
        ("a 2>&7", "descriptor"),
        ("then a", "'then'"),
    ],
)
def test_what_is_not_known_is_refused_by_name(text: str, what: str) -> None:
    with pytest.raises(ShellError, match=what):
        words(text)


def test_text_that_runs_itself_ends() -> None:
    recorder = Recorder()
    recorder.shell.execute = lambda call, stdin: recorder.run("again")
    with pytest.raises(ShellError, match="without end"):
        recorder.run("again")
