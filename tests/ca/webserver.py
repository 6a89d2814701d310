"""HTTPS front: reads a request, lets faults happen, writes and logs the answer.

The protocol itself is in acme.py; this module knows sockets and headers only.
"""

import contextlib
import email.utils
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from behaviour import FOREVER
from problem import Problem, document

LARGEST_REQUEST = 1 << 20


@dataclass
class Request:
    endpoint: str
    method: str
    path: str
    url: str
    headers: object
    body: bytes
    ids: tuple = ()
    # filled while it is handled, for the log
    notes: dict = field(default_factory=dict)


@dataclass
class Response:
    status: int = 200
    json: object = None
    body: bytes = b""
    content_type: str = "application/json"
    headers: list = field(default_factory=list)
    retry_after: object = None


class CloseWithoutAnswer(Exception):
    pass


class Server(ThreadingHTTPServer):
    """One thread a connection; the TLS handshake happens in that thread, so a silent
    client holds up nobody else. `tls` may be changed: it is for connections to come."""
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address, handler, context=None, address_family=None):
        if address_family or ":" in address[0]:
            self.address_family = address_family or socket.AF_INET6
        self.tls = context
        self._open, self._lock = set(), threading.Lock()
        super().__init__(address, handler)

    def get_request(self):
        connection, peer = super().get_request()
        connection.settimeout(120)
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True,
                                              do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, peer

    def shutdown_request(self, request):
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self):
        """End every connection there is; requests under way get no answer."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    # Below TLS: a thread that reads from it is to see the end, not a changed object.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Clients that go away, or do not trust the certificate, are no news here."""

    def run(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()


def tls_context(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def retry_after_text(value, as_date):
    if isinstance(value, str):
        return value
    if as_date:
        return email.utils.formatdate(time.time() + value, usegmt=True)
    return str(int(value))


def acme_handler(ca):
    """The handler class for one CA (`ca` has acme, behaviour, journal, base_url, stopping)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "smimeca"
        sys_version = ""
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.serve()

        do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

        def serve(self):
            started = time.monotonic()
            endpoint, ids = ca.acme.route(self.path)
            request = Request(endpoint, self.command, self.path, ca.base_url + self.path,
                              self.headers, b"", ids)
            fault = None
            try:
                request.body = self.read_body()
                addresses, order_status = ca.acme.concerns(request)
                request.notes["concerns"] = addresses or None
                fault = ca.behaviour.take_fault(endpoint, addresses, order_status) if endpoint else None
                if fault:     # before what may take for ever
                    ca.journal.event("fault", endpoint=endpoint, path=self.path, concerns=addresses or None, fault=fault)
                response = self.respond(request, fault or {})
            except CloseWithoutAnswer:
                self.close_connection = True
                self.log(request, 0, fault, started)
                return
            # Logged first: a client that has its answer may look into the log at once.
            self.log(request, response.status, fault, started)
            self.write(request, response, fault or {})

        def read_body(self):
            if self.command not in ("POST", "PUT", "PATCH"):
                return b""
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > LARGEST_REQUEST:
                self.close_connection = True
                return b""
            return self.rfile.read(int(length))

        def respond(self, request, fault):
            self.pause(fault.get("hang"))
            if fault.get("drop"):
                raise CloseWithoutAnswer
            if "status" in fault:
                response = fault_response(fault)
            else:
                response = self.act(request)
                request.notes["done"] = response.status if fault else None
                response.status = fault.get("answer_status", response.status)
                self.pause(fault.get("hang_after"))
                if fault.get("drop_after"):
                    raise CloseWithoutAnswer
            if fault.get("retry_after") is not None:
                response.retry_after = fault["retry_after"]
            ca.acme.remember_retry_after(request, response)
            return response

        def pause(self, hang):
            if not hang:
                return
            if hang == FOREVER:
                ca.stopping.wait()
                raise CloseWithoutAnswer
            ca.stopping.wait(hang)

        def act(self, request):
            try:
                return ca.acme.handle(request)
            except Problem as problem:
                if problem.kind:
                    ca.journal.violation(problem.kind, endpoint=request.endpoint,
                                         detail=problem.document["detail"], **request.notes)
                request.notes["problem"] = problem.document["type"].rpartition(":")[2]
                request.notes["detail"] = problem.document["detail"]
                return Response(problem.status, problem.document, headers=list(problem.headers.items()),
                                content_type="application/problem+json", retry_after=problem.retry_after)
            except Exception as error:  # the CA's own bug must be visible in the test
                ca.journal.event("internal_error", endpoint=request.endpoint, detail=repr(error))
                return Response(500, document("serverInternal", repr(error)),
                                content_type="application/problem+json")

        def date_time_string(self, timestamp=None):
            return super().date_time_string((timestamp or time.time()) + ca.behaviour["clock_offset"])

        def write(self, request, response, fault):
            body, content_type = response.body, response.content_type
            if response.json is not None:
                body = json.dumps(response.json, indent=1).encode()
            kind = fault.get("body")
            if kind == "garbage":
                body = b"\x00\xff{\"status\": garbage,,, \xfe" + body[::-1][:40]
            elif kind == "empty":
                body = b""
            content_type = fault.get("content_type", content_type)
            sent = body[:len(body) // 2] if kind == "truncated" else body
            try:
                self.send_response(response.status)
                for name, value in response.headers:
                    self.send_header(name, value)
                if not fault.get("no_nonce"):
                    self.send_header("Replay-Nonce", ca.acme.nonces.issue())
                if request.endpoint != "directory":
                    self.send_header("Link", f'<{ca.base_url}/directory>;rel="index"')
                if response.retry_after is not None:
                    self.send_header("Retry-After", retry_after_text(
                        response.retry_after, ca.behaviour["retry_after_as_date"]))
                self.send_header("Cache-Control", "no-store")
                if response.status != 204:
                    # With a truncated body the length still promises all of it.
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Content-Type", content_type)
                if kind == "truncated":
                    self.close_connection = True
                if self.close_connection:
                    self.send_header("Connection", "close")
                if self.command != "HEAD" and response.status != 204:
                    self._headers_buffer.append(b"\r\n" + sent)
                    self.flush_headers()
                else:
                    self.end_headers()
            except OSError:
                self.close_connection = True

        def log(self, request, status, fault, started):
            ca.journal.event("request", endpoint=request.endpoint or "unknown", method=request.method,
                             path=request.path, status=status, fault=fault,
                             agent=self.headers.get("User-Agent"),
                             ms=round((time.monotonic() - started) * 1000), **request.notes)

    return Handler


def fault_response(fault):
    """What a fault answers in place of the CA."""
    status = fault["status"]
    if status < 400 and "type" not in fault:
        return Response(status)
    problem = document(fault.get("type", "serverInternal"),
                       fault.get("detail", "this answer was ordered by the test"), status,
                       fault.get("subproblems"))
    return Response(status, problem, content_type="application/problem+json")
