"""What all cases of the self test share: a CA process, a mail server, the steps of an exchange."""

import email
import email.header
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from selftest_client import Admin, Client, Mailbox, Refused, User, make_csr

HERE = os.path.dirname(os.path.abspath(__file__))


class World:
    """One CA process, one mail server of the users."""

    def __init__(self, **settings):
        self.directory = tempfile.mkdtemp(prefix="smimeca-")
        self.mailbox = Mailbox()
        self.state_dir = os.path.join(self.directory, "state")
        self.config = {"state_dir": self.state_dir, "dns_check": False, "smtp_retry_interval": 0.2,
                       "smtp_out": {"host": "127.0.0.1", "port": self.mailbox.port},
                       "reply_to": "acme-reply@ca.example", "caa_identities": ["ca.example"],
                       "behaviour": {"poll_retry_after": None}, **settings}
        self.process = None
        self.start()

    def start(self):
        path = os.path.join(self.directory, "ca.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.config, file)
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "smimeca.py"), "--config", path],
                                        stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self.process.stdout.readline())
        self.admin = Admin(self.ready["admin"])
        self.user = getattr(self, "user", None) or User(self.ready["smtp"])
        self.user.smtp_port = self.ready["smtp"]
        self.admin.post("/dkim-key", dict(zip(("name", "text"), self.user.record)))
        self.admin.post("/dkim-key", {"name": "mail._domainkey.other.example", "text": self.user.record[1]})

    def client(self):
        return Client(self.ready["base_url"], os.path.join(self.state_dir, "tls-root.pem"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self.process.stdout.close()

    def remove(self):
        self.stop()
        self.mailbox.close()
        shutil.rmtree(self.directory)


class Case(unittest.TestCase):
    number = 0

    @classmethod
    def setUpClass(cls):
        cls.world = World()
        cls.admin, cls.user, cls.mailbox = cls.world.admin, cls.world.user, cls.world.mailbox

    @classmethod
    def tearDownClass(cls):
        log = cls.admin.get("/log")
        cls.world.remove()
        bugs = [r for r in log if r["event"] == "internal_error"]
        assert not bugs, bugs

    def setUp(self):
        self.admin.post("/reset-behaviour")
        self.mark = self.admin.post("/mark", {"text": self.id()})["n"]
        self.client = self.new_client()
        self.client.register()
        Case.number += 1
        self.address = f"user{Case.number}@example.org"

    def new_client(self):
        client = self.world.client()
        self.addCleanup(client.close)
        return client

    def switch(self, **changes):
        return self.admin.post("/behaviour", changes)

    def log(self, event=None):
        return self.admin.get(f"/log?since={self.mark}" + (f"&event={event}" if event else ""))

    def violations(self):
        return [r["kind"] for r in self.log("violation")]

    def refused(self, problem, status, work, *arguments, **more):
        with self.assertRaises(Refused) as caught:
            work(*arguments, **more)
        self.assertEqual((caught.exception.type, caught.exception.status), (problem, status))
        return caught.exception

    # steps of an exchange

    def begin(self, *addresses, **more):
        """Order, fetch the authorization: (order URL, order, authorization URL, challenge, mail)."""
        addresses = addresses or (self.address,)
        url, order = self.client.order(*addresses, **more)
        authorization = self.client.fetch(order["authorizations"][0])
        mail = self.mailbox.take(addresses[0])
        return url, order, order["authorizations"][0], self.client.challenge(authorization), mail

    def answer(self, mail, challenge, join="strings", recipient=None, **more):
        """Send a reply; returns the log record with the verdict."""
        mark = self.admin.post("/mark")["n"]
        parsed = headers_of(mail)
        token = "".join(decoded_subject(parsed).partition("ACME:")[2].split())
        digest = more.pop("digest", None) or self.client.digest(token, challenge["token"], join)
        self.user.send(self.user.reply(mail, digest, **more), parsed["To"],
                       recipient or parsed["Reply-To"] or parsed["From"])
        return self.admin.wait("reply_received", mark)

    def validate(self, *addresses, **more):
        url, order, authorization, challenge, mail = self.begin(*addresses, **more)
        self.assertEqual(self.answer(mail, challenge)["reasons"], [])
        self.client.post(challenge["url"], {})
        self.assertEqual(self.client.poll(authorization, "valid")["status"], "valid")
        return url, order

    def finalize(self, url, order, usage=None, key=None, subject=()):
        addresses = [i["value"] for i in order["identifiers"]]
        key, csr = make_csr(addresses, key, usage, subject)
        self.client.post(order["finalize"], {"csr": csr})
        done = self.client.poll(url, "valid", "invalid")
        if done["status"] != "valid":
            return key, done
        chain = self.client.post(done["certificate"], None)
        self.assertEqual(chain.headers["Content-Type"], "application/pem-certificate-chain")
        return key, split_chain(chain.body)

    def issue(self, usage=None, key=None, subject=(), **more):
        """Without mail, for tests about something else: the authorization is valid at once."""
        self.switch(authz_valid=True)
        url, order = self.client.order(self.address, **more)
        return self.finalize(url, order, usage, key, subject)


def headers_of(mail):
    return email.message_from_bytes(mail)


def decoded_subject(parsed):
    return str(email.header.make_header(email.header.decode_header(parsed["Subject"])))


def split_chain(body):
    end = b"-----END CERTIFICATE-----\n"
    return [x509.load_pem_x509_certificate(part + end) for part in body.split(end) if part.strip()]


def verify_chain(chain, root):
    for below, above in zip(chain, [*chain[1:], root]):
        above.public_key().verify(below.signature, below.tbs_certificate_bytes,
                                  ec.ECDSA(below.signature_hash_algorithm))
