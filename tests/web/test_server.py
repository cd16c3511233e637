"""Where the page is served."""

import socket
import subprocess
import sys

import pytest

from tehon.messages.problem import Problem
from tehon.web.server import check_port


def test_a_port_that_is_taken_or_none_at_all_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Problem, match=rf"^--port: 127.0.0.1:{port} cannot be served"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(Problem, match="give another port"):
        check_port("127.0.0.1", 99999)


def test_the_start_loads_nothing_that_the_page_does_not_need() -> None:
    code = """
import sys
from tehon.cli.imports import left_out
with left_out("aiohttp", "requests"):
    from tehon.web.server import serve
print(*sorted({"aiohttp", "requests", "numpy", "torch"} & set(sys.modules)))
import requests
print(requests.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["", "requests"]
