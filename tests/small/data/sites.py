"""A web site on the loopback address that does what one does not want of web sites."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SURPLUS = 1 << 16  # at once
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass
class Site:
    """What is served, and how.

    Attributes:
        files: content by path.
        etags: whether an entity tag is sent.
        weak: whether it is a weak one.
        date: `Last-Modified`; empty for none.
        ranges: whether parts are sent when they are asked for.
        heeds_if_range: whether a part is sent only of the file that it was begun of.
        sends_length: whether the size is said; if not, the end is told by closing the connection.
        cuts: bytes of the body after which answer 1, 2, ... breaks off; later ones are whole.
        statuses: what to answer first, instead of files.
        content_range: said instead of the right one.
        surplus: bytes that are sent after the body, until the client closes; to be heard where no size is said.
        headers: of each request so far.
    """

    files: dict[str, bytes]
    etags: bool = True
    weak: bool = False
    date: str = ""
    ranges: bool = True
    heeds_if_range: bool = True
    sends_length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    content_range: str = ""
    surplus: int = 0
    retry_after: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    address: str = ""

    def ranges_asked(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.headers]


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve a site; what it is can be changed at any time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.headers.append(dict(self.headers.items()))
            content = site.files.get(self.path)
            if site.statuses:
                self._say(site.statuses.pop(0), {"Retry-After": site.retry_after} if site.retry_after else {})
            elif content is None:
                self._say(404, {})
            else:
                self._send(content)

        def _send(self, content: bytes) -> None:
            strong = f'"{hashlib.md5(content).hexdigest()}"'
            etag = (f"W/{strong}" if site.weak else strong) if site.etags else ""
            about = {"ETag": etag, "Last-Modified": site.date}
            start = self._start(etag)
            if start is None:
                return self._say(200, about, content)
            if start >= len(content):
                return self._say(416, {"Content-Range": f"bytes */{len(content)}"})
            said = site.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._say(206, {**about, "Content-Range": said}, content[start:])

        def _start(self, etag: str) -> int | None:
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            if not asked or not site.ranges:
                return None
            if site.heeds_if_range and condition not in (etag or None, site.date or None):
                return None
            return int(asked.removeprefix("bytes=").removesuffix("-"))

        def _say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            if site.sends_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: site.cuts.pop(0)] if body and site.cuts else body)
            with contextlib.suppress(ConnectionError):
                for _ in range(0, site.surplus, _SURPLUS):
                    self.wfile.write(bytes(_SURPLUS))

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()
