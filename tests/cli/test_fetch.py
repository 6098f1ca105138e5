"""Where `plankroad fetch` writes to, and what it leaves behind when it fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plankroad.cli.errors import Failure
from plankroad.cli.fetch import progress_bar, target, write

pytestmark = pytest.mark.either


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "file"
    output.write_bytes(b"old")
    with target(str(output)) as file:
        write(file, [b"new", b"", b" content"])
        assert output.read_bytes() == b"old"
    assert output.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "file"

    def fail() -> None:
        with target(str(output)) as file:
            write(file, [b"half"])
            assert os.listdir(tmp_path) == ["file.part"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == []


def test_what_is_no_ordinary_file_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with target(str(fifo)) as file:
        write(file, [b"through"])
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    assert os.listdir(tmp_path) == ["fifo"]


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file or directory"), target(str(tmp_path / "none" / "file")):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="Not a directory"), target(str(tmp_path / "file" / "x")):
        pass


def test_a_progress_bar_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(100) as move:
        move(50)
    assert capsys.readouterr().err == ""
