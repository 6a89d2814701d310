#!/usr/bin/python3
"""OCSP responder and CRL server of tests/unit/test_revocation, on the loopback.

    revocation_server.py FOLDER      serves until its standard input ends; the first line it prints is its port

POST /ocsp          what `openssl ocsp` answers, by FOLDER/index.txt, signed with FOLDER/ca.pem and ca.key
GET, POST /FILE     FOLDER/FILE as it is
.../status/N        an empty answer with that status
.../huge            more than anybody wants
.../slow            nothing, for ten minutes
.../to/SCHEME       a redirect to SCHEME://127.0.0.1:PORT/crl.der
Each request is a line of FOLDER/log.
"""

import http.server
import os
import subprocess
import sys
import threading

FOLDER = sys.argv[1]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body=b'', **header):
        self.send_response(status)
        for name, value in header.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ocsp(self, body):
        done = subprocess.run(['openssl', 'ocsp', '-index', 'index.txt', '-CA', 'ca.pem', '-rsigner', 'ca.pem', '-rkey', 'ca.key', '-ndays', '1',
                               '-reqin', '/dev/stdin', '-respout', '/dev/stdout'], cwd=FOLDER, input=body, capture_output=True)
        # it writes words on the same descriptor, behind the answer; DER says where that ends
        data = done.stdout
        size = 4 + int.from_bytes(data[2:4], 'big') if data[1:2] == b'\x82' else 3 + data[2] if data[1:2] == b'\x81' else 2 + data[1]
        self.answer(200, data[:size], **{'Content-Type': 'application/ocsp-response'})

    def serve(self, body):
        with open(FOLDER + '/log', 'a', encoding='utf-8') as log:
            log.write('%s %s\n' % (self.command, self.path))
        name = self.path.strip('/')
        if name == 'ocsp':
            self.ocsp(body)
        elif name.startswith('status/'):
            self.answer(int(name[7:]))
        elif name.startswith('to/'):
            self.answer(302, Location='%s://127.0.0.1:%d/crl.der' % (name[3:], self.server.server_port))
        elif name == 'huge':
            self.answer(200, b'0' * (20 * 1024 * 1024))
        elif name == 'slow':
            threading.Event().wait(600)
        else:
            path = os.path.join(FOLDER, name)
            if os.path.isfile(path):
                with open(path, 'rb') as file:
                    self.answer(200, file.read())
            else:
                self.answer(404)

    def do_GET(self):
        self.serve(b'')

    def do_POST(self):
        self.serve(self.rfile.read(int(self.headers['Content-Length'])))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that had enough go away."""


def main():
    server = Server(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == '__main__':
    main()
