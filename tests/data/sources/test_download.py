"""Downloads from a local server that breaks off, ignores ranges, or sends other content."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ppl.data.sources import download
from ppl.data.sources.download import Archive, fetch
from ppl.jobs.errors import UserError

CONTENT = bytes(range(256)) * 40


class _Handler(BaseHTTPRequestHandler):
    """Serves `server.content`, of each answer at most `server.most` bytes; notes the ranges that it was asked for."""

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.content, server.most, server.ranges, server.asked = CONTENT, len(CONTENT), True, []
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def archive(server: ThreadingHTTPServer) -> Archive:
    return Archive(f"http://127.0.0.1:{server.server_port}/photos.tar", hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("complete_part", [False, True])
def test_a_file_is_downloaded_once(server, archive: Archive, tmp_path: Path, complete_part: bool) -> None:
    out = tmp_path / "archives" / "photos.tar"
    if complete_part:
        out.parent.mkdir()
        out.with_name("photos.tar.part").write_bytes(CONTENT)
    for _ in range(2):
        fetch(archive, out)
        assert out.read_bytes() == CONTENT
    assert complete_part or server.asked == [None]
    assert [path.name for path in out.parent.iterdir()] == ["photos.tar"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(server, archive: Archive, tmp_path: Path, ranges: bool) -> None:
    out, server.most, server.ranges = tmp_path / "photos.tar", 3000, ranges
    cause = r"\(the connection ended after 3,000 of 10,240"
    with pytest.raises(UserError, match=f"photos.tar: cannot be downloaded {cause}"):
        fetch(archive, out)
    assert [path.name for path in tmp_path.iterdir()] == ["photos.tar.part"]
    server.most = len(CONTENT)
    fetch(archive, out)
    assert out.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos.tar"]


@pytest.mark.parametrize("left", [b"", b"rubbish", CONTENT + b"more"])
def test_a_file_of_another_checksum_is_deleted(server, archive: Archive, tmp_path: Path, left: bytes) -> None:
    server.content = CONTENT[:-1] + b"?"
    if left:
        (tmp_path / "photos.tar.part").write_bytes(left)
    with pytest.raises(UserError, match=r"another checksum.*or download http.*save it as .*photos.tar") as refused:
        fetch(archive, tmp_path / "photos.tar")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    fetch(archive, tmp_path / "photos.tar")
    assert (tmp_path / "photos.tar").read_bytes() == CONTENT


def test_a_server_out_of_reach_is_named_with_the_way_around(tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/a.tar"
    with pytest.raises(UserError, match=f"Connection refused.*download {url} by other means") as refused:
        fetch(Archive(url, "0" * 64), tmp_path / "a.tar")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", download.ARCHIVES)
def test_archives_come_by_tls_and_have_a_sha256(name: str) -> None:
    archive = download.ARCHIVES[name]
    assert archive.url.startswith("https://")
    assert archive.url.endswith(f"/{name}")
    assert len(bytes.fromhex(archive.sha256)) == 32


def test_an_unknown_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b.tar: unknown archive; choose one of VOCtrainval"):
        download.main(download.Settings(tmp_path / "b.tar"))
