"""Serve the built site on this machine: `python -m tooling.serve`; Ctrl-C stops it."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from tooling.settings import ROOT

SITE = ROOT / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A browser that hangs up in the middle of a file is no error of ours."""


def server(port: int = 0) -> ThreadingHTTPServer:
    """A server of the site on this port of the loopback address (0: any free one)."""
    return Server(("127.0.0.1", port), partial(Quiet, directory=str(SITE)))


def main() -> None:
    if not (SITE / "index.html").exists():
        sys.exit("There is no built site to serve: run `make book` first.")
    try:
        site = server(8000)
    except OSError:
        site = server()
    print(f"The book is at http://127.0.0.1:{site.server_port}/ · Ctrl-C stops it.", flush=True)
    try:
        site.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
