"""Gates: something passes between two servers until a test holds it at a chosen moment.

    gate = Gate()
    Relay(gate, ('127.0.0.1', 10125), ('127.0.0.1', 10025))
    gate.hold(ANSWER, lambda data: b'queued as' in data)
    ...
    gate.wait()         # somebody's answer is held
    gate.open()         # it goes on;  gate.drop(): it never does

What is held stays in the relay: the sender has sent it, the receiver has not read it.
"""

import contextlib
import os
import socket
import threading

import service

REQUEST, ANSWER = 'request', 'answer'


class Gate:
    def __init__(self):
        self._hold = None
        self._reached, self._released = threading.Event(), threading.Event()
        self._goes_on = True

    def hold(self, side, when=lambda data: True):
        """Hold every piece of that side for which when(bytes) is true."""
        self._reached.clear()
        self._released.clear()
        self._hold = (side, when)

    def wait(self, seconds=120):
        service.until(self._reached.is_set, seconds, 'the gate has something to hold')

    def open(self):
        self._release(True)

    def drop(self):
        self._release(False)

    def _release(self, goes_on):
        self._hold, self._goes_on = None, goes_on
        self._released.set()

    def passes(self, side, data):
        """Asked by relays: blocks while held; False: throw it away."""
        hold = self._hold
        if hold is None or hold[0] != side or not hold[1](data):
            return True
        self._reached.set()
        self._released.wait()
        return self._goes_on


def _connect(to):
    if isinstance(to, str):
        client = socket.socket(socket.AF_UNIX)
        client.connect(to)
        return client
    return socket.create_connection(to)


class Relay:
    """TCP, or Unix sockets where a path stands in place of (address, port)."""

    def __init__(self, gate, at, to):
        self.gate, self.to = gate, to
        if isinstance(at, str):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(at)
            os.chmod(at, 0o666)
            self._socket.listen(64)
        else:
            self._socket = socket.create_server(at)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _peer = self._socket.accept()
            try:
                server = _connect(self.to)
            except OSError:
                client.close()
                continue
            for side, source, target in ((REQUEST, client, server), (ANSWER, server, client)):
                threading.Thread(target=self._pump, args=(side, source, target),
                                 daemon=True).start()

    def _pump(self, side, source, target):
        """Until one end has gone; then both go."""
        try:
            while True:
                data = source.recv(65536)
                if not data or not self.gate.passes(side, data):
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class DatagramRelay:
    """UDP questions, each with its one answer."""

    def __init__(self, gate, at, to):
        self.gate, self.to = gate, to
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(at)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            data, peer = self._socket.recvfrom(65536)
            threading.Thread(target=self._ask, args=(data, peer), daemon=True).start()

    def _ask(self, data, peer):
        if not self.gate.passes(REQUEST, data):
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(10)
            upstream.connect(self.to)
            try:
                upstream.send(data)
                answer = upstream.recv(65536)
            except OSError:
                return
        if self.gate.passes(ANSWER, answer):
            self._socket.sendto(answer, peer)
