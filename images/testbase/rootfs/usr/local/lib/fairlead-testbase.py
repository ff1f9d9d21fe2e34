"""Answers on 8888 under NB_PREFIX as a notebook server would, so that tests see the contract and not Jupyter.

The kernel and terminal lists are what Kubeflow's culler asks for; the header is what Jupyter sends in its images.
"""

import http.server
import os

PREFIX = os.environ.get("NB_PREFIX", "/").rstrip("/")


class Notebook(http.server.BaseHTTPRequestHandler):
    """One request: under the prefix 200, elsewhere 404, as Jupyter's base_url behaves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802, the name is the base class's
        path = self.path.split("?", 1)[0]
        if path in (f"{PREFIX}/api/kernels", f"{PREFIX}/api/terminals"):
            self.answer(200, "application/json", b"[]")
        elif path == PREFIX or path.startswith(f"{PREFIX}/"):
            self.answer(200, "text/plain", f"fairlead test notebook at {PREFIX}/\n".encode())
        else:
            self.answer(404, "text/plain", b"not under NB_PREFIX\n")

    do_HEAD = do_GET

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


http.server.ThreadingHTTPServer(("0.0.0.0", 8888), Notebook).serve_forever()
