"""Faults: refuse, drop packets, accept and say nothing.

refuse   stop the server (stage.dns.stop(), stage.ldap.stop(), ...): the port is closed
drop     packets to an address (and port) vanish; connect() hangs until its own deadline.
         A routing rule sends them into a TUN device that nobody reads.
silent   the server is stopped by SIGSTOP: the kernel accepts, nobody answers
"""

import contextlib
import socket
import threading

from namespace import run

_TABLE = '66'


class Faults:
    """stage.faults"""

    def __init__(self, stage):
        self.stage = stage
        self._ready = False
        self._rules = []

    def _prepare(self):
        if self._ready:
            return
        run('ip', 'tuntap', 'add', 'dev', 'hole', 'mode', 'tun')
        run('ip', 'link', 'set', 'hole', 'up')
        for name in ('hole', 'all'):
            with open('/proc/sys/net/ipv4/conf/%s/route_localnet' % name, 'w') as file:
                file.write('1')
        # the table of local addresses is asked before any rule, unless it is moved
        run('ip', 'rule', 'add', 'pref', '100', 'lookup', 'local')
        run('ip', 'rule', 'del', 'pref', '0')
        run('ip', 'route', 'add', 'default', 'dev', 'hole', 'table', _TABLE)
        self._ready = True

    def drop(self, address, port=None, protocol='tcp'):
        """From now on packets to address[:port] are lost, in open connections too."""
        self._prepare()
        rule = ['pref', '10', 'to', address]
        if port:
            rule += ['ipproto', protocol, 'dport', str(port)]
        rule += ['lookup', _TABLE]
        run('ip', 'rule', 'add', *rule)
        self._rules.append(((address, port, protocol), rule))

    def heal(self, address=None, port=None, protocol='tcp'):
        """Undo one drop, or all."""
        kept = []
        for key, rule in self._rules:
            if address is None or key == (address, port, protocol):
                run('ip', 'rule', 'del', *rule)
            else:
                kept.append((key, rule))
        self._rules = kept

    @contextlib.contextmanager
    def dropped(self, address, port=None, protocol='tcp'):
        self.drop(address, port, protocol)
        try:
            yield
        finally:
            self.heal(address, port, protocol)

    @contextlib.contextmanager
    def dns_dropped(self):
        """Questions to both the resolver and the authority vanish (UDP and TCP)."""
        with contextlib.ExitStack() as stack:
            for address in (self.stage.dns.authority, self.stage.dns.resolver):
                for protocol in ('udp', 'tcp'):
                    stack.enter_context(self.dropped(address, 53, protocol))
            yield

    @contextlib.contextmanager
    def silent(self, *servers):
        """service.Service objects frozen: stage.ldap.server, stage.dns.nsd, stage.ca.server"""
        for server in servers:
            server.freeze()
        try:
            yield
        finally:
            for server in servers:
                server.thaw()

    @contextlib.contextmanager
    def refused(self, *parts):
        """Parts with stop() and restart(): stage.ldap, stage.dns, stage.ca, stage.postfix."""
        for part in parts:
            part.stop()
        try:
            yield
        finally:
            for part in parts:
                part.restart()


class Mute:
    """A listener that accepts, reads, keeps what it read and never answers."""

    def __init__(self, address, port):
        self.received = []
        self._open = True
        self._socket = socket.create_server((address, port), reuse_port=False)
        self._clients = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while self._open:
            try:
                client, _peer = self._socket.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._read, args=(client,), daemon=True).start()

    def _read(self, client):
        try:
            while True:
                data = client.recv(65536)
                if not data:
                    return
                self.received.append(data)
        except OSError:
            pass

    def close(self):
        self._open = False
        self._socket.close()
        for client in self._clients:
            client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()
