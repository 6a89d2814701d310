"""DKIM: signing challenge mails, and finding the keys to verify replies with."""

import base64
import hashlib
import os
import re
import time

import dkim
import dns.exception
import dns.resolver
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pki import write

# RFC 8823 section 3.1 for the challenge mail and section 3.2 for the reply.
REPLY_FIELDS = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "in-reply-to",
                "references", "message-id", "content-type", "content-transfer-encoding")
CHALLENGE_FIELDS = REPLY_FIELDS + ("auto-submitted",)


class Signer:
    """One selector of one domain. `key` is a PEM text as dkimpy reads it (PKCS #1)."""

    def __init__(self, domain, selector, key):
        self.domain = domain
        self.selector = selector
        self.key = key
        self._private = serialization.load_pem_private_key(key, None)

    @classmethod
    def from_file(cls, domain, selector, path, bits=2048):
        """The key is made when the file is not there."""
        if not os.path.exists(path):
            write(path, new_key(bits), 0o600)
        with open(path, "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
        return cls(domain, selector, key_pem(key))

    @classmethod
    def new(cls, domain, selector, bits=2048):
        return cls(domain, selector, new_key(bits))

    @property
    def name(self):
        return f"{self.selector}._domainkey.{self.domain}"

    def text(self, flags=None):
        """The content of the TXT record."""
        public = self._private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        extra = f"t={flags}; " if flags else ""
        return f"v=DKIM1; k=rsa; {extra}p={base64.b64encode(public).decode()}"

    def zone_line(self, flags=None):
        """The record for a zone file; strings have at most 255 octets."""
        text = self.text(flags)
        parts = " ".join(f'"{text[i:i + 250]}"' for i in range(0, len(text), 250))
        return f"{self.name}. 300 IN TXT {parts}"

    def sign(self, message, fields=CHALLENGE_FIELDS, absent=True, oversign=True, length=None,
             digest="sha256", domain=None, expires=None, signed=None):
        """The message with a DKIM-Signature (relaxed/relaxed) on top.

        absent: h= names fields that are not there; oversign: present ones once more than
        they occur. Both keep anybody from adding such a field later. length: l=, with so
        many octets of the canonical body covered. Written here and not by dkimpy, which
        verifies: forged mails need tags that dkimpy does not write.
        """
        head, _, body = message.partition(b"\r\n\r\n")
        present = header_fields(head)
        names = []
        for field in fields:
            count = sum(1 for name, _ in present if name == field)
            names += [field] * count
            if (count == 0 and absent) or (count and oversign):
                names.append(field)
        body = relaxed_body(body)
        covered = body if length is None else body[:length]
        tags = [("v", "1"), ("a", f"rsa-{digest}"), ("c", "relaxed/relaxed"), ("d", domain or self.domain),
                ("s", self.selector), ("t", str(int(signed or time.time())))]
        if expires is not None:
            tags.append(("x", str(int(expires))))
        if length is not None:
            tags.append(("l", str(length)))
        tags += [("h", ":\r\n ".join(":".join(names[i:i + 5]) for i in range(0, len(names), 5))),
                 ("bh", base64.b64encode(hashlib.new(digest, covered).digest()).decode()), ("b", "")]
        own = ";\r\n ".join(f"{name}={value}" for name, value in tags)
        signed_octets = b"".join(pick(present, names)) + relaxed_field("dkim-signature", own.encode())
        signature = self._private.sign(signed_octets, padding.PKCS1v15(),
                             hashes.SHA256() if digest == "sha256" else hashes.SHA1())
        text = base64.b64encode(signature).decode()
        folded = "\r\n  ".join(text[i:i + 70] for i in range(0, len(text), 70))
        return f"DKIM-Signature: {own}{folded}\r\n".encode() + message


def header_fields(head):
    """[(lower-case name, value with its folds)], top to bottom."""
    result = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and result:
            result[-1] = (result[-1][0], result[-1][1] + b"\r\n" + line)
        else:
            name, _, value = line.partition(b":")
            result.append((name.decode("ascii", "replace").strip().lower(), value))
    return result


def relaxed_field(name, value):
    """RFC 6376 section 3.4.2, without the line end."""
    return name.encode() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip()


def relaxed_body(body):
    """RFC 6376 section 3.4.4."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def pick(present, names):
    """The canonical fields that h= means: of several alike the lowest first (section 5.4.2)."""
    left = list(present)
    for name in names:
        for index in range(len(left) - 1, -1, -1):
            if left[index][0] == name:
                yield relaxed_field(*left.pop(index)) + b"\r\n"
                break


def new_key(bits):
    return key_pem(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                             serialization.NoEncryption())


class KeyLookup:
    """Finds DKIM keys in DNS, or among texts set by the test when there is no DNS."""

    def __init__(self, use_dns, texts):
        self.use_dns = use_dns
        self.texts = {name.rstrip(".").lower(): text for name, text in texts.items()}
        self.trouble = None

    def add(self, name, text):
        self.texts[name.rstrip(".").lower()] = text

    def __call__(self, name, timeout=5):
        """As dkimpy wants it: bytes in, bytes or None out."""
        wanted = name.decode("ascii", "replace").rstrip(".").lower()
        if wanted in self.texts:
            return self.texts[wanted].encode()
        if not self.use_dns:
            return None
        try:
            answer = dns.resolver.Resolver().resolve(wanted, "TXT", lifetime=timeout)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.DNSException as error:
            raise dkim.DnsTimeoutError(str(error)) from error
        for record in answer:
            return b"".join(record.strings)
        return None


def signatures(raw, lookup):
    """Every DKIM signature of a message: a dict with passed, domain, fields, length, why.

    `why` says what is wrong with one that does not pass or must not count.
    """
    headers, _ = dkim.rfc822_parse(raw)
    count = sum(1 for name, _ in headers if name.lower() == b"dkim-signature")
    return [_one_signature(raw, index, lookup) for index in range(count)]


def _one_signature(raw, index, lookup):
    tool = dkim.DKIM(raw, minkey=1024, timeout=5)
    result = {"passed": False, "domain": "", "fields": [], "why": ""}
    try:
        result["passed"] = bool(tool.verify(idx=index, dnsfunc=lookup))
        if not result["passed"]:
            result["why"] = "does not verify, or its key was not found"
    except dkim.DnsTimeoutError as error:
        result["why"] = f"DNS: {error}"
    except Exception as error:  # dkimpy lets parsing errors of many kinds through
        result["why"] = f"{type(error).__name__}: {error}"
    tags = {k.decode(): v.decode("ascii", "replace") for k, v in getattr(tool, "signature_fields", {}).items()}
    result["domain"] = tags.get("d", "").lower()
    result["selector"] = tags.get("s", "")
    result["fields"] = [f.lower() for f in re.split(r"\s*:\s*", tags.get("h", "").strip()) if f]
    if result["passed"] and "l" in tags:
        result.update(passed=False, why="has l=, so the body is not covered for certain")
    if result["passed"] and tags.get("a") == "rsa-sha1":
        result.update(passed=False, why="is made with rsa-sha1")
    return result
