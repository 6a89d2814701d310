#!/usr/bin/python3
"""A strict ACME CA for S/MIME (RFC 8555, RFC 8823), for tests only.

    /usr/bin/python3 smimeca.py --config FILE.json

It can be told to misbehave; see README.md. As a library: TestCa(configuration), start(), stop().
"""

import argparse
import json
import os
import signal
import sys
import threading
import urllib.parse

import config as configuration
from acme import Acme
from admin import admin_handler, http_handler
from behaviour import Behaviour
from dkimsign import KeyLookup, Signer
from issue import Issuer
from journal import Journal
from mail_in import MailIn
from mail_out import MailOut
from pki import Pki, make_tls, write
from smimesign import Identity
from state import Store
from webserver import Server, acme_handler, tls_context


class TestCa:
    """All parts of one CA, and what they share."""

    __test__ = False

    def __init__(self, given):
        self.config = config = configuration.complete(given)
        self.state_dir = config["state_dir"]
        self.mail_dir = os.path.join(self.state_dir, "mail")
        self.certificates_dir = os.path.join(self.state_dir, "issued")
        for folder in (self.state_dir, self.mail_dir, self.certificates_dir):
            os.makedirs(folder, exist_ok=True)
        self.stopping = threading.Event()
        self.journal = Journal(os.path.join(self.state_dir, "log.jsonl"))
        self.behaviour = Behaviour(config["behaviour"])
        self.store = Store(os.path.join(self.state_dir, "state.pickle"))
        self.base_url = (config["base_url"] or "").rstrip("/")
        self.signer = Signer.from_file(config["dkim"]["domain"], config["dkim"]["selector"], config["dkim"]["key"])
        # The stranger signs forged mails; its record is there for tests that publish it.
        self.stranger = Signer.from_file("stranger.example", "s", os.path.join(self.state_dir, "stranger-dkim.key"))
        for file, signer in (("dkim.txt", self.signer), ("stranger-dkim.txt", self.stranger)):
            write(os.path.join(self.state_dir, file), (signer.zone_line() + "\n").encode())
        self.identity = Identity.from_files(config["mail_from"], self.state_dir, "mail")
        # Signs for the same address under a root that nobody trusts.
        self.impostor = Identity.from_files(config["mail_from"], self.state_dir, "impostor")
        self.lookup = KeyLookup(config["dns_check"], config["dkim_keys"])
        self.pki = Pki(self.state_dir, config["key_type"], config["http_url"].rstrip("/"), config["ocsp_url"])
        self.tls_files = self._tls_files()
        self.stranger_tls = self._made_tls(os.path.join(self.state_dir, "stranger-tls"))
        self.mail_tls = tls_context(*self.tls_files) if config["smtp_starttls"] else None
        self.issuer = Issuer(self, self.pki)
        self.mail_out = MailOut(self)
        self.mail_in = MailIn(self)
        self.acme = Acme(self)
        self.ports = {}
        self._servers = {}
        self._at_door = threading.Lock()

    def _tls_files(self):
        if self.config["tls_cert"]:
            return self.config["tls_cert"], self.config["tls_key"]
        return self._made_tls(self.state_dir)

    def _made_tls(self, folder):
        os.makedirs(folder, exist_ok=True)
        names = list(self.config["tls_names"])
        host = urllib.parse.urlsplit(self.base_url).hostname
        for name in (host, self.config["helo"], "localhost", "127.0.0.1"):
            if name and name not in names:
                names.append(name)
        return make_tls(folder, names)

    def start(self):
        """Listen and serve in background threads."""
        self._serve("acme", self.config["listen"], acme_handler(self), tls_context(*self.tls_files))
        if not self.base_url:
            self.base_url = f"https://{self.config['listen']['host']}:{self.ports['acme']}"
        self.mail_in.start()
        self.ports["smtp"] = self.mail_in.port
        self.mail_out.start()
        if self.config["http_listen"]:
            self._serve("http", self.config["http_listen"], http_handler(self))
        # Last, because an admin port that answers means that the rest does, too.
        self._serve("admin", self.config["admin"], admin_handler(self))
        write(os.path.join(self.state_dir, "ports.json"),
              json.dumps({**self.ports, "base_url": self.base_url}).encode())
        self.journal.event("started", ports=self.ports, base_url=self.base_url, pid=os.getpid())

    def _serve(self, name, listen, handler, context=None):
        server = Server((listen["host"], self.ports.get(name, listen["port"])), handler, context)
        self.ports[name] = server.server_address[1]
        self._servers[name] = server
        server.run()

    def door(self, how):
        """What somebody finds who comes to the ACME port: "open", "refuse" (nobody listens) or
        "stranger" (a certificate of our name whose root nobody has). Connections that there are end."""
        with self._at_door:
            server = self._servers.pop("acme", None)
            if server:
                server.shutdown()
                server.server_close()
                server.hang_up()
            if how != "refuse":
                files = self.stranger_tls if how == "stranger" else self.tls_files
                self._serve("acme", self.config["listen"], acme_handler(self), tls_context(*files))
        self.journal.event("door", how=how)

    def stop(self):
        self.stopping.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self.mail_in.stop()
        self.store.save()
        self.journal.event("stopped")
        self.journal.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="JSON file, see README.md")
    arguments = parser.parse_args()
    try:
        with open(arguments.config, encoding="utf-8") as file:
            ca = TestCa(json.load(file))
        ca.start()
    except (OSError, ValueError) as error:
        sys.exit(f"smimeca: {error}")
    print(json.dumps({"ready": True, **ca.ports, "base_url": ca.base_url,
                      "dkim": ca.signer.zone_line()}), flush=True)
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    signal.sigwait(signals)
    ca.stop()


if __name__ == "__main__":
    main()
