"""The private parts of huggingface_hub that `tcf.assets.hub_internals` leans on are there and behave as used.

How its cache lays files out is tested against a small server in `test_hub.py`.
"""

import socket
from pathlib import Path

import huggingface_hub
import pytest

from tcf.assets.hub_internals import stated_checksum, transport_error

HUB = f"huggingface_hub {huggingface_hub.__version__}"
HERE = "tcf/assets/hub_internals.py"


def test_a_refused_connection_is_an_error_of_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listened to: nobody answers there
        with pytest.raises(transport_error()) as caught:
            huggingface_hub.get_session().get(f"http://127.0.0.1:{taken.getsockname()[1]}/", timeout=5)
    assert isinstance(caught.value, Exception), (
        f"{HUB}: the first base of HfHubHTTPError is no longer what its HTTP library raises; {HERE} knows errors of "
        "transport by it"
    )


def test_the_checksum_is_the_name_of_what_a_snapshot_links_to(tmp_path: Path) -> None:
    for name, expected in (("a" * 40, "a" * 40), ("b" * 64, "b" * 64), ("config.json", None)):
        stored = tmp_path / name
        stored.write_text("{}")
        link = tmp_path / f"link-{len(name)}"
        link.symlink_to(stored)
        assert stated_checksum(link) == expected
        assert stated_checksum(stored) == expected
