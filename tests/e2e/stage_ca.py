"""The test CA of tests/ca on the stage: https://acme.ca.example and its mail server."""

import json
import os
import sys
import urllib.error
import urllib.request

from namespace import BASE, CA
import service

DIR = BASE + '/ca'
PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                       'ca', 'smimeca.py')
ADMIN = ('127.0.0.1', 8055)


class Ca:
    """stage.ca"""

    directory_url = 'https://acme.ca.example/directory'
    state = DIR
    tls_root = DIR + '/tls-root.pem'     # for the product's HTTPS
    root = DIR + '/root.pem'             # what user certificates chain to

    def __init__(self, dkim, dns, changes):
        self.dkim = dkim
        self.dns = dns
        self.changes = changes
        self.server = None

    @staticmethod
    def available():
        return os.path.exists(PROGRAM)

    def config(self):
        config = {
            'state_dir': DIR,
            'listen': {'host': CA, 'port': 443},
            'base_url': 'https://acme.ca.example',
            'admin': {'host': ADMIN[0], 'port': ADMIN[1]},
            'smtp_listen': {'host': CA, 'port': 25},
            'http_listen': {'host': CA, 'port': 80},
            'http_url': 'http://crl.ca.example',
            'helo': 'mx.ca.example',
            'smtp_out': {'mx': True},
            'mail_from': 'acme@ca.example',
            'reply_to': 'acme-reply@ca.example',
            'dkim': {'selector': self.dkim.selector, 'domain': 'ca.example',
                     'key': self.dkim.keys['ca.example']},
            'caa_identities': ['ca.example'],
        }
        config.update(self.changes)
        return config

    def start(self):
        os.makedirs(DIR, exist_ok=True)
        with open(DIR + '/config.json', 'w') as file:
            json.dump(self.config(), file, indent=1)
        self.server = service.Service('ca', [sys.executable, PROGRAM, '--config',
                                             DIR + '/config.json'])
        self.server.start()

    def wait_ready(self):
        self.server.wait_port(CA, 443, 120)
        self.server.wait_port(*ADMIN, 120)
        self.server.wait_port(CA, 25, 120)
        service.until(lambda: os.path.exists(self.tls_root) and os.path.exists(self.root), 60,
                      'the CA has written its roots', say=self.server.tail)

    def stop(self):
        self.server.stop()

    def restart(self):
        self.server.start()
        self.wait_ready()

    def admin(self, path, data=None, method=None):
        """One question to the CA's test interface; JSON in, JSON (or text) out."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(
            'http://%s:%d/%s' % (ADMIN + (path.lstrip('/'),)), body,
            {'Content-Type': 'application/json'}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as trouble:
            raise RuntimeError('%s: %d %s' % (path, trouble.code,
                                              trouble.read().decode())) from None
        try:
            return json.loads(text)
        except ValueError:
            return text
