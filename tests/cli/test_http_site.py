"""Replies: files, ranges, conditions, redirects, listings; and that nothing outside of the directory is served."""

from __future__ import annotations

import html.parser
import os
import socket
from email import message_from_bytes
from pathlib import Path

import pytest

from plankroad.cli.http_rules import http_date
from plankroad.cli.http_site import Reply, reply_to
from plankroad.cli.http_tree import RefusedError, Tree, content_type, path_of

pytestmark = pytest.mark.either


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "served"
    (top / "dir" / "deep").mkdir(parents=True)
    (top / "a.txt").write_bytes(b"0123456789")
    (top / "empty").touch()
    (top / "dir" / "b.html").write_bytes(b"<p>")
    (tmp_path / "secret").write_bytes(b"secret")
    return top


def ask(root: Path, target: str, method: str = "GET", **fields: str) -> Reply:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return reply_to(Tree(str(root)), method, target, headers)


def body(reply: Reply) -> bytes:
    whole = b""
    for part in reply.parts:
        if isinstance(part, bytes):
            whole += part
        else:
            assert reply.entry is not None
            whole += os.pread(reply.entry.fd, part[1], part[0])
    reply.close()
    assert len(whole) == reply.length
    return whole


def field(reply: Reply, name: str) -> str:
    (value,) = [value for key, value in reply.headers if key == name]
    return value


def test_a_file(root: Path) -> None:
    os.utime(root / "a.txt", (784111777.5, 784111777.5))
    reply = ask(root, "/a.txt?query#fragment")
    assert (reply.status, body(reply)) == (200, b"0123456789")
    assert field(reply, "Content-Type") == "text/plain"
    assert field(reply, "Last-Modified") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert field(reply, "Accept-Ranges") == "bytes"
    assert field(reply, "ETag").startswith('"')
    assert body(ask(root, "/empty")) == b""


def test_the_entity_tag_changes_with_the_file(root: Path) -> None:
    first = field(ask(root, "/a.txt"), "ETag")
    assert first == field(ask(root, "/a.txt"), "ETag")
    os.utime(root / "a.txt", ns=(1, 1))
    second = field(ask(root, "/a.txt"), "ETag")
    (root / "a.txt").write_bytes(b"longer than before")
    os.utime(root / "a.txt", ns=(1, 1))
    third = field(ask(root, "/a.txt"), "ETag")
    assert len({first, second, third}) == 3


def test_not_modified_has_validators_and_no_body(root: Path) -> None:
    tag = field(ask(root, "/a.txt"), "ETag")
    for reply in (ask(root, "/a.txt", if_none_match=tag), ask(root, "/a.txt", if_modified_since=http_date(2**32))):
        assert (reply.status, reply.parts, reply.entry) == (304, [], None)
        assert field(reply, "ETag") == tag
    assert ask(root, "/a.txt", if_match='"other"').status == 412


def test_one_range(root: Path) -> None:
    reply = ask(root, "/a.txt", range="bytes=2-4")
    assert (reply.status, field(reply, "Content-Range"), body(reply)) == (206, "bytes 2-4/10", b"234")
    reply = ask(root, "/a.txt", range="bytes=-3")
    assert (reply.status, field(reply, "Content-Range"), body(reply)) == (206, "bytes 7-9/10", b"789")


def test_several_ranges_are_parts(root: Path) -> None:
    # RFC 9110 section 15.3.7.2, read by the standard library's MIME parser.
    reply = ask(root, "/a.txt", range="bytes=0-1,4-,-1")
    assert reply.status == 206
    assert not [value for name, value in reply.headers if name == "Content-Range"]
    head = f"Content-Type: {field(reply, 'Content-Type')}\r\n\r\n".encode()
    message = message_from_bytes(head + body(reply))
    assert message.get_content_type() == "multipart/byteranges"
    parts = [part for part in message.walk() if not part.is_multipart()]
    found = [(part["Content-Range"], part.get_payload(), part.get_content_type()) for part in parts]
    assert found == [
        ("bytes 0-1/10", "01", "text/plain"),
        ("bytes 4-9/10", "456789", "text/plain"),
        ("bytes 9-9/10", "9", "text/plain"),
    ]


def test_a_range_that_cannot_be_satisfied_is_416(root: Path) -> None:
    reply = ask(root, "/a.txt", range="bytes=10-")
    assert (reply.status, field(reply, "Content-Range")) == (416, "bytes */10")
    assert ask(root, "/empty", range="bytes=0-").status == 416


def test_ranges_that_do_not_count(root: Path) -> None:
    # RFC 9110 section 14.2: malformed ones, other methods than GET, and where If-Range fails.
    assert body(ask(root, "/a.txt", range="bytes=5-2")) == b"0123456789"
    assert ask(root, "/a.txt", method="HEAD", range="bytes=2-4").status == 200
    assert ask(root, "/a.txt", range="bytes=2-4", if_range='"old"').status == 200
    tag = field(ask(root, "/a.txt"), "ETag")
    assert ask(root, "/a.txt", range="bytes=2-4", if_range=tag).status == 206


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/dir/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/dir/..%2f..%2fsecret",
        "/%2E%2E%2Fsecret",
        "//../secret",
        "/./../secret",
        "/..",
        "/dir/%2e%2e/%2e%2e/",
        "/\\..\\secret",
        "http://host/../secret",
        "/" + "../" * 30 + "etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_directory(root: Path, target: str) -> None:
    assert ask(root, target).status == 404


def test_links_are_followed_within_the_directory_alone(root: Path) -> None:
    (root / "inside").symlink_to("dir/b.html")
    (root / "absolute").symlink_to(root / "a.txt")
    (root / "out").symlink_to("../secret")
    (root / "out-dir").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "nowhere").symlink_to("not-there")
    (root / "served-too").symlink_to(root)
    assert body(ask(root, "/inside")) == b"<p>"
    assert body(ask(root, "/absolute")) == b"0123456789"
    assert ask(root, "/out").status == 403
    assert ask(root, "/out-dir/secret").status == 403
    assert ask(root, "/out-dir/").status == 403
    assert ask(root, "/loop").status == 404
    assert ask(root, "/nowhere").status == 404
    assert body(ask(root, "/served-too/served-too/a.txt")) == b"0123456789"
    names = links(body(ask(root, "/")))
    assert {"inside", "absolute", "served-too/"} <= set(names)
    assert not {"out", "out-dir/", "loop", "nowhere"} & set(names)


def test_a_link_that_appears_after_the_look_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("../secret")
    monkeypatch.setattr(os.path, "realpath", os.path.abspath)
    assert Tree(str(root)).root == str(root)
    assert ask(root, "/a.txt").status == 404


def test_a_directory_beside_with_a_longer_name_is_outside(root: Path) -> None:
    beside = root.parent / "served-not"
    beside.mkdir()
    (beside / "x").write_bytes(b"x")
    (root / "link").symlink_to(beside / "x")
    (root / "..hidden").write_bytes(b"mine")
    assert ask(root, "/link").status == 403
    assert body(ask(root, "/..hidden")) == b"mine"


def test_what_is_no_ordinary_file_is_403_and_does_not_block(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "sock"))
        assert ask(root, "/sock").status == 403
    assert ask(root, "/fifo").status == 403
    (root / "null").symlink_to("/dev/null")
    assert ask(root, "/null").status == 403


def test_a_file_that_may_not_be_read_is_403(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(str(root))

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert reply_to(tree, "GET", "/a.txt", {}).status == 403


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/none", 404),
        ("/a.txt/", 404),
        ("/a.txt/x", 404),
        ("/" + "x" * 5000, 404),
        ("/a%00b", 400),
        ("*", 400),
        ("a.txt", 400),
        ("ftp://host/a.txt", 400),
        ("http://host", 200),
        ("/dir/./../a.txt", 200),
    ],
)
def test_other_targets(root: Path, target: str, status: int) -> None:
    assert ask(root, target).status == status


def test_a_directory_without_its_slash_is_redirected_to_this_server(root: Path) -> None:
    reply = ask(root, "/dir?x=1")
    assert (reply.status, field(reply, "Location")) == (301, "/dir/?x=1")
    # "//host/" would be another server: RFC 3986 section 4.2.
    (root / "example.org").mkdir()
    reply = ask(root, "//example.org")
    assert (reply.status, field(reply, "Location")) == (301, "/example.org/")
    (root / "a b%\n").mkdir()
    assert field(ask(root, "/a%20b%25%0A"), "Location") == "/a%20b%25%0A/"


class Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.others: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.others.append(tag)


def links(page: bytes) -> list[str]:
    parser = Links()
    parser.feed(page.decode())
    return parser.links


def test_a_listing_is_sorted_with_directories_first_and_sizes(root: Path) -> None:
    (root / "B.txt").write_bytes(bytes(1234567))
    reply = ask(root, "/")
    page = body(reply)
    assert field(reply, "Content-Type") == "text/html; charset=utf-8"
    assert links(page) == ["dir/", "a.txt", "B.txt", "empty"]
    assert b">1,234,567<" in page
    assert links(body(ask(root, "/dir/"))) == ["../", "deep/", "b.html"]


def test_names_in_a_listing_are_escaped_and_lead_to_their_files(root: Path) -> None:
    odd = ["<script>alert(1)</script>", "quote\"'&amp;", "100%", "a?b#c", "javascript:x", " ", "zwölf.txt", "\udcff"]
    for name in odd:
        (root / "dir" / "deep" / name.replace("/", "_")).write_bytes(name.encode("utf-8", "surrogateescape"))
    page = body(ask(root, "/dir/deep/"))
    assert b"<script>" not in page
    found = [link for link in links(page) if link != "../"]
    assert len(found) == len(odd)
    contents = {body(ask(root, "/dir/deep/" + link)) for link in found}
    assert contents == {name.encode("utf-8", "surrogateescape") for name in odd}
    assert not [link for link in found if ":" in link]


def test_an_index_stands_for_its_directory(root: Path) -> None:
    (root / "dir" / "index.html").write_bytes(b"<h1>")
    reply = ask(root, "/dir/")
    assert (body(reply), field(reply, "Content-Type")) == (b"<h1>", "text/html")
    (root / "dir" / "deep" / "index.html").mkdir()
    assert links(body(ask(root, "/dir/deep/"))) == ["../", "index.html/"]


def test_methods(root: Path) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"):
        reply = ask(root, "/a.txt", method=method)
        assert (reply.status, field(reply, "Allow")) == (405, "GET, HEAD")
    for method in ("BREW", "get"):
        assert ask(root, "/a.txt", method=method).status == 501


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.zip", "application/zip"),
        ("a.unheard-of", "application/octet-stream"),
        ("plain", "application/octet-stream"),
        ("a.svg.xz", "application/x-xz"),
        ("a.png", "image/png"),
    ],
)
def test_content_types(name: str, kind: str) -> None:
    assert content_type(name) == kind


def test_descriptors_are_given_back(root: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    (root / "out").symlink_to("/etc")
    before = count()
    for target in ("/", "/a.txt", "/dir", "/dir/", "/none", "/out/x", "/a.txt/x", "/a.txt/"):
        for fields in ({}, {"range": "bytes=99-"}, {"range": "bytes=0-1,3-4"}, {"if_none_match": "*"}):
            ask(root, target, **fields).close()
    assert count() == before


def test_dots_are_resolved() -> None:
    assert path_of("/a/b/../c/./d") == (["a", "c", "d"], False)
    assert path_of("/a/..") == ([], True)
    assert path_of("/") == ([], True)
    assert path_of("/a//b/") == (["a", "b"], True)
    with pytest.raises(RefusedError):
        path_of("/a/../..")


def test_a_tree_must_be_a_directory(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        Tree(str(root / "a.txt"))
    with pytest.raises(FileNotFoundError):
        Tree(str(root / "none"))
