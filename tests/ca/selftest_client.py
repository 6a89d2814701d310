"""A small ACME client and a user's mailbox for selftest.py.

Written apart from the CA on purpose: it shares no code with jws.py, reply.py or
dkimsign.py, so that a mistake made there is not made here again.
"""

import asyncio
import base64
import email
import email.header
import email.utils
import hashlib
import hmac
import http.client
import json
import queue
import re
import smtplib
import ssl
import threading
import time
import urllib.parse
import urllib.request


import dkim
from aiosmtpd.smtp import SMTP
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

TWELVE = ("From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To", "References",
          "Message-ID", "Content-Type", "Content-Transfer-Encoding")


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text):
    return base64.urlsafe_b64decode(text + "===")


class Refused(Exception):
    """A problem document."""

    def __init__(self, answer):
        super().__init__(answer.body)
        self.answer = answer
        self.status = answer.status
        self.problem = json.loads(answer.body)
        self.type = self.problem["type"].rpartition(":")[2]


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """One account. `post` repeats a request that failed with badNonce, up to ten times."""

    def __init__(self, base_url, root):
        self.base_url = base_url
        self.context = ssl.create_default_context(cafile=root)
        self.connection = None
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.kid = None
        self.nonce = None
        self.directory = self.get(base_url + "/directory").json

    # HTTP

    def request(self, method, url, body=None, headers=None, timeout=10):
        parts = urllib.parse.urlsplit(url)
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(parts.hostname, parts.port,
                                                          context=self.context, timeout=timeout)
        try:
            self.connection.request(method, parts.path, body, {"User-Agent": "selftest", **(headers or {})})
            return Answer(self.connection.getresponse())
        except (http.client.HTTPException, OSError):
            self.close()
            raise

    def close(self):
        """The next request opens a new connection."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def get(self, url):
        return self.request("GET", url)

    def head(self, url):
        return self.request("HEAD", url)

    # JWS

    def jwk(self, key=None):
        numbers = (key or self.key).public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32, "big")),
                "y": b64(numbers.y.to_bytes(32, "big"))}

    def thumbprint(self):
        jwk = self.jwk()
        text = '{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' % (jwk["x"], jwk["y"])
        return b64(hashlib.sha256(text.encode()).digest())

    def jws(self, header, payload, key=None):
        protected = b64(json.dumps({"alg": "ES256", **header}).encode())
        text = b64(b"" if payload is None else json.dumps(payload).encode())
        r, s = decode_dss_signature((key or self.key).sign(f"{protected}.{text}".encode(), ec.ECDSA(hashes.SHA256())))
        return {"protected": protected, "payload": text,
                "signature": b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}

    def new_nonce(self):
        return self.head(self.directory["newNonce"]).headers["Replay-Nonce"]

    def post(self, url, payload, **header):
        for _ in range(10):
            try:
                return self.post_once(url, payload, **header)
            except Refused as refusal:
                if refusal.type != "badNonce":
                    raise
        raise AssertionError("badNonce ten times in a row")

    def post_once(self, link, payload, content_type="application/jose+json", key=None, spoil=None, **header):
        full = {"nonce": self.nonce or self.new_nonce(), "url": link}
        if self.kid and "jwk" not in header:
            full["kid"] = self.kid
        elif "jwk" not in header:
            full["jwk"] = self.jwk()
        full.update(header)
        body = self.jws(full, payload, key)
        if spoil:
            spoil(body)
        answer = self.request("POST", link, json.dumps(body), {"Content-Type": content_type})
        self.nonce = answer.headers.get("Replay-Nonce")
        if answer.status >= 400:
            raise Refused(answer)
        return answer

    # ACME

    def register(self, contact=("mailto:admin@example.org",), eab=None, **payload):
        url = self.directory["newAccount"]
        body = {"termsOfServiceAgreed": True, "contact": list(contact), **payload}
        if eab:
            protected = b64(json.dumps({"alg": "HS256", "kid": eab[0], "url": url}).encode())
            text = b64(json.dumps(self.jwk()).encode())
            mac = hmac.new(unb64(eab[1]), f"{protected}.{text}".encode(), hashlib.sha256).digest()
            body["externalAccountBinding"] = {"protected": protected, "payload": text, "signature": b64(mac)}
        answer = self.post(url, body)
        self.kid = answer.headers["Location"]
        return answer

    def order(self, *addresses, **more):
        kind = more.pop("kind", "email")
        answer = self.post(self.directory["newOrder"],
                           {"identifiers": [{"type": kind, "value": a} for a in addresses], **more})
        return answer.headers["Location"], answer.json

    def fetch(self, url):
        return self.post(url, None).json

    def challenge(self, authorization):
        return next(c for c in authorization["challenges"] if c["type"] == "email-reply-00")

    def poll(self, url, *wanted, seconds=10):
        end = time.monotonic() + seconds
        while True:
            answer = self.post(url, None)
            if answer.json["status"] in wanted:
                return answer.json
            if time.monotonic() > end:
                raise AssertionError(f"still {answer.json}, wanted {wanted}")
            time.sleep(float(answer.headers.get("Retry-After", 0.05)))

    def digest(self, token_part1, token_part2, join="strings"):
        if join == "decoded":
            token = b64(unb64(token_part1) + unb64(token_part2))
        else:
            token = token_part1 + token_part2
        return b64(hashlib.sha256(f"{token}.{self.thumbprint()}".encode()).digest())


def make_csr(addresses, key=None, usage=None, subject=()):
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = (x509.CertificateSigningRequestBuilder()
               .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]))
               .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(a) for a in addresses]), False))
    if usage:
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                 "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
        builder = builder.add_extension(x509.KeyUsage(**{n: n in usage for n in names}), True)
    return key, b64(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


class Mailbox:
    """The mail server of the users: collects what arrives, by recipient."""

    def __init__(self):
        self.boxes = {}
        self.answers = []
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(self.loop.create_server(
            lambda: SMTP(self, hostname="mx.example.org", decode_data=False, loop=self.loop), "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def close(self):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def handle_DATA(self, _server, _session, envelope):
        if self.answers:
            return self.answers.pop(0)
        for recipient in envelope.rcpt_tos:
            self.box(recipient).put(envelope.original_content)
        return "250 taken"

    def box(self, recipient):
        with self.lock:
            return self.boxes.setdefault(recipient.lower(), queue.Queue())

    def take(self, recipient, seconds=5):
        return self.box(recipient).get(timeout=seconds)


class User:
    """Answers challenge mails, as rightly or wrongly as asked."""

    def __init__(self, smtp_port, domain="example.org"):
        self.smtp_port = smtp_port
        self.domain = domain
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                     serialization.NoEncryption())
        public = key.public_key().public_bytes(serialization.Encoding.DER,
                                               serialization.PublicFormat.SubjectPublicKeyInfo)
        self.record = (f"mail._domainkey.{domain}", "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode())

    def reply(self, raw, digest, fields=None, body=None, sign=TWELVE, domain=None, extra=()):
        """The bytes of a reply to a challenge mail; `fields` overrides or (None) removes."""
        mail = email.message_from_bytes(raw)
        subject = str(email.header.make_header(email.header.decode_header(mail["Subject"])))
        token = re.sub(r"\s", "", subject.partition("ACME:")[2])
        values = {"From": mail["To"], "To": mail["Reply-To"] or mail["From"],
                  "Subject": f"Re: ACME: {token}", "Date": email.utils.formatdate(),
                  "Message-ID": f"<{time.time_ns()}@{self.domain}>", "In-Reply-To": mail["Message-ID"],
                  "References": mail["Message-ID"], "MIME-Version": "1.0",
                  "Content-Type": "text/plain; charset=us-ascii", "Content-Transfer-Encoding": "7bit"}
        values.update(fields or {})
        lines = [f"{n}: {v}" for n, v in [*extra, *values.items()] if v is not None]
        if body is None:
            body = f"-----BEGIN ACME RESPONSE-----\r\n{digest}\r\n-----END ACME RESPONSE-----\r\n"
        message = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
        if sign:
            header = dkim.sign(message, b"mail", (domain or self.domain).encode(), self.key,
                               canonicalize=(b"relaxed", b"relaxed"),
                               include_headers=[n.lower().encode() for n in sign])
            message = header + message
        return message

    def send(self, message, sender, recipient):
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=10) as session:
            session.ehlo("mx." + self.domain)
            session.sendmail(sender, [recipient], message)


class Admin:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path):
        with urllib.request.urlopen(self.base + path, timeout=20) as response:
            return json.load(response)

    def raw(self, path):
        with urllib.request.urlopen(self.base + path, timeout=20) as response:
            return response.read()

    def post(self, path, body=None):
        request = urllib.request.Request(self.base + path, json.dumps(body or {}).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def wait(self, event, since, seconds=5, **facts):
        """The first record of an event after `since` that has these facts."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for record in self.get(f"/log?since={since}&event={event}&wait=1"):
                if all(record.get(k) == v for k, v in facts.items()):
                    return record
            time.sleep(0.02)
        raise AssertionError(f"no {event} {facts} after {since}: {self.get(f'/log?since={since}')}")
