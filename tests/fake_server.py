"""A server with the OpenAI interface that behaves and misbehaves as it is told."""

import base64
import io
import json
import threading
import time
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from PIL import Image

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


def form_of(headers, data):
    """Return the fields of a form, and under `images` what `image` and `image[]` hold."""
    kind = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    fields = {"images": []}
    for part in message_from_bytes(kind + data).get_payload():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if name in ("image", "image[]"):
            assert part.get_content_type() == "image/png" and part.get_filename()
            fields["images"].append((name, value))
        else:
            fields[name] = value.decode()
    return fields


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def edited(image, **given):
    """Return the answer of a server that edits, with an image or a part of `data` in its place."""
    if isinstance(image, Image.Image):
        image = {"b64_json": base64.b64encode(png(image)).decode()}
    body = {"created": 1, "data": [image], "usage": {"input_tokens": 100, "output_tokens": 20}}
    return answer(body=json.dumps({**body, **given}))


def edit_as_asked(form):
    """Edit as a model does: other pixels for another source, instruction or seed."""
    with Image.open(io.BytesIO(form["images"][0][1])) as source:
        size = source.size
    if "x" in form.get("size", ""):
        size = tuple(map(int, form["size"].split("x")))
    told = [len(form["prompt"]), sum(form["images"][0][1][-64:]), int(form.get("seed", 0))]
    return edited(Image.new("RGB", size, tuple(value % 256 for value in told)))


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
        self.files = {}
        """Given to who asks for a path."""
        self.asked_for = []
        """Path and headers of each such request."""
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
        if self.path in self.server.files:
            self.server.asked_for.append((self.path, self.headers))
        given = self.server.files.get(self.path, self.server.models)
        self.send(given() if callable(given) else given)

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        form = self.headers["Content-Type"].startswith("multipart/form-data")
        body = form_of(self.headers, data) if form else json.loads(data)
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
