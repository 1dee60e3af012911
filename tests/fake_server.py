"""A server with the OpenAI interface that behaves and misbehaves as it is told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

REPLY = 'It fell. {"instruction_following": 7, "physics": 3, "preservation": 10, "quality": 0}'
"""Scores of the rubric `physical`."""


def answer(reply=REPLY, status=200, reason="stop", refusal=None, after=None, body=None):
    """Return what a server sends: status, headers, body."""
    message = {"role": "assistant", "content": reply, "refusal": refusal}
    given = {
        "id": "x",
        "model": "judge-2026-11-01",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    headers = {} if after is None else {"Retry-After": str(after)}
    return status, headers, json.dumps(given) if body is None else body


def problem(status, code=None, message="no", after=None):
    body = json.dumps({"error": {"message": message, "code": code}})
    return answer(status=status, after=after, body=body)


class Endless(NamedTuple):
    """Bytes of a server that comes to no end."""

    head: bytes
    part: bytes
    """Sent again and again."""
    pause: float = 0.0
    """Seconds before each."""


CUT = "cut the connection"
CUT_WITHIN = "cut the connection within the answer"


class Server(ThreadingHTTPServer):
    """Gives the answers it is told to, one per request, the last one for ever."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.requests = []
        """When, headers and body of each request."""
        self.models = answer(body='{"data": []}')
        """Given to who asks for its models."""
        self.delay = 0.0
        self.busy = self.most = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, headers, body):
        with self.lock:
            self.requests.append((time.monotonic(), headers, body))
            self.busy += 1
            self.most = max(self.most, self.busy)
            given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        time.sleep(self.delay)
        return given(body) if callable(given) else given

    def leave(self):
        with self.lock:
            self.busy -= 1

    def handle_error(self, request, client_address):
        """Stay silent of clients that have gone."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send(self.server.models)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = self.server.take(self.headers, body)
        self.server.leave()
        if given == CUT:
            self.close_connection = True
            return
        if isinstance(given, Endless):
            self.send_without_end(given)
        self.send(given)

    def send(self, given):
        status, headers, text = answer() if given == CUT_WITHIN else given
        data = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(data)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:20] if given == CUT_WITHIN else data)
        self.close_connection = given == CUT_WITHIN

    def send_without_end(self, given):
        """Send until the client goes, which is an error that the server stays silent of."""
        self.wfile.write(given.head)
        while True:
            time.sleep(given.pause)
            self.wfile.write(given.part)

    def log_message(self, *_):
        """Stay silent."""
