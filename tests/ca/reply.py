"""The verdict about a reply mail (RFC 8823 section 3.2). Pure: bytes and facts in, reasons out."""

import base64
import email
import email.header
import email.policy
import email.utils
import hashlib
import re
import time
from dataclasses import dataclass, field

import jws
from dkimsign import REPLY_FIELDS, header_fields, signatures

BEGIN = "-----BEGIN ACME RESPONSE-----"
END = "-----END ACME RESPONSE-----"
AT_MOST_ONCE = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "in-reply-to", "references",
                "message-id", "mime-version", "content-type", "content-transfer-encoding")


@dataclass
class Verdict:
    """`reasons` make the reply bad; `notes` are only worth reading."""
    reasons: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    dkim: list = field(default_factory=list)

    @property
    def good(self):
        return not self.reasons

    def bad(self, reason, detail=""):
        self.reasons.append(f"{reason}: {detail}" if detail else reason)


def expected_digest(token_part1, token_part2, thumbprint, join):
    """RFC 8823 section 3: the two tokens joined as text, or as the octets they stand for."""
    if join == "decoded":
        octets = [base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)) for t in (token_part1, token_part2)]
        token = jws.encode(b"".join(octets))
    else:
        token = token_part1 + token_part2
    return jws.encode(hashlib.sha256(f"{token}.{thumbprint}".encode()).digest())


class Reply:
    """A reply mail, taken apart as far as it goes."""

    def __init__(self, raw):
        self.raw = raw
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.fields = header_fields(head)
        self.parsed = email.message_from_bytes(raw, policy=email.policy.compat32)

    def values(self, name):
        """Unfolded values of a field, as text."""
        return [re.sub(r"\r\n(?=[ \t])", "", value.decode("utf-8", "replace")).strip()
                for found, value in self.fields if found == name]

    def value(self, name):
        return (self.values(name) or [""])[0]

    def addresses(self, name):
        return [address for _, address in email.utils.getaddresses(self.values(name))]

    @property
    def subject(self):
        """Decoded, white space in the token removed."""
        try:
            text = str(email.header.make_header(email.header.decode_header(self.value("subject"))))
        except (ValueError, LookupError, UnicodeError):
            text = self.value("subject")
        return text

    @property
    def token(self):
        match = re.match(r"re:\s*ACME:(.*)\Z", self.subject, re.IGNORECASE | re.DOTALL)
        return re.sub(r"\s", "", match.group(1)) if match else None

    @property
    def in_reply_to(self):
        return self.value("in-reply-to")


def judge(reply, authorization, mail, account_thumbprint, lookup, behaviour, envelope):
    """Everything that is wrong with a reply to this challenge mail."""
    verdict = Verdict()
    check_time(verdict, authorization, mail)
    check_fields(verdict, reply, authorization, mail, behaviour)
    check_authenticity(verdict, reply, authorization.address, lookup, behaviour)
    check_form(verdict, reply, behaviour)
    expected = expected_digest(mail.token_part1, authorization.token_part2, account_thumbprint,
                               behaviour["token_join"])
    check_body(verdict, reply, expected, behaviour["reply_strict_body"])
    if envelope["mail_from"].lower() != authorization.address.lower():
        verdict.notes.append(f"envelope sender is {envelope['mail_from'] or '<>'}")
    return verdict


def check_time(verdict, authorization, mail):
    if time.time() > mail.created + 86400 or authorization.expires < time.time():
        verdict.bad("challenge_expired")
    elif authorization.status != "pending":
        verdict.bad("challenge_not_pending", authorization.status)


def check_fields(verdict, reply, authorization, mail, behaviour):
    for name in AT_MOST_ONCE:
        if len(reply.values(name)) > 1:
            verdict.bad("field_twice", name)
    for name in ("date", "message-id", "mime-version"):
        if not reply.values(name):
            verdict.bad("field_missing", name)
    senders = reply.addresses("from")
    if len(reply.values("from")) != 1 or len(senders) != 1:
        verdict.bad("from_count", str(len(senders)))
    elif senders[0].lower() != authorization.address.lower():
        verdict.bad("from_address", f"{senders[0]} is not {authorization.address}")
    if reply.addresses("to") != [mail.reply_address]:
        verdict.bad("to_address", f"{reply.value('to')} is not {mail.reply_address}")
    if reply.values("cc") or reply.values("bcc"):
        verdict.notes.append("has copies")
    if reply.in_reply_to != mail.message_id:
        if reply.in_reply_to or behaviour["reply_needs_in_reply_to"]:
            verdict.bad("in_reply_to", reply.in_reply_to or "missing")
    if mail.message_id not in reply.value("references").split():
        verdict.notes.append("References does not name the challenge mail")
    check_subject(verdict, reply, mail, behaviour)
    listed = sorted({name for name, _ in reply.fields if name.startswith("list-")})
    if listed:
        verdict.bad("list_field", ", ".join(listed))


def check_subject(verdict, reply, mail, behaviour):
    if behaviour["reply_strict_subject"]:
        raw = next((value for name, value in reply.fields if name == "subject"), b"")
        if b"\r\n" in raw:
            verdict.bad("subject_folded")
        if raw.strip() != f"Re: ACME: {mail.token_part1}".encode() and b"\r\n" not in raw:
            verdict.bad("subject", raw.decode("utf-8", "replace").strip())
    elif reply.token != mail.token_part1:
        verdict.bad("subject", reply.subject)


def check_authenticity(verdict, reply, address, lookup, behaviour):
    """DKIM with d= equal to the From domain, which also is what DMARC asks for."""
    verdict.dkim = signatures(reply.raw, lookup)
    if not behaviour["reply_dkim"]:
        return
    if not verdict.dkim:
        verdict.bad("dkim_missing")
        return
    domain = address.rpartition("@")[2].lower()
    aligned = [s for s in verdict.dkim if s["domain"] == domain]
    if not aligned:
        verdict.bad("dkim_domain", ", ".join(s["domain"] for s in verdict.dkim))
        return
    passed = [s for s in aligned if s["passed"]]
    if not passed:
        verdict.bad("dkim_fail", "; ".join(s["why"] for s in aligned))
        return
    missing = min(([f for f in REPLY_FIELDS if f not in s["fields"]] for s in passed), key=len)
    if missing and behaviour["reply_dkim_fields"]:
        verdict.bad("dkim_fields", "h= lacks " + ", ".join(missing))


def check_form(verdict, reply, behaviour):
    bare = re.search(rb"(?<!\r)\n|\r(?!\n)", reply.raw)
    if bare:
        verdict.bad("line_ends", f"bare CR or LF at octet {bare.start()}")
    if b"\0" in reply.raw:
        verdict.bad("nul")
    kind = reply.parsed.get_content_type()
    if kind != "text/plain" or reply.parsed.is_multipart():
        verdict.bad("content_type", kind)
    encoding = (reply.value("content-transfer-encoding") or "7bit").lower()
    if encoding not in ("7bit", "8bit"):
        if behaviour["reply_strict_body"]:
            verdict.bad("transfer_encoding", encoding)
        else:
            verdict.notes.append(f"body is {encoding}")
    elif any(octet > 126 for octet in reply.body):
        verdict.bad("not_ascii")
    if any(len(line) > 998 for line in reply.raw.split(b"\r\n")):
        verdict.bad("line_length")


def check_body(verdict, reply, expected, strict):
    payload = reply.parsed.get_payload(decode=True) if not reply.parsed.is_multipart() else b""
    lines = (payload or b"").decode("ascii", "replace").replace("\r\n", "\n").split("\n")
    if lines.count(BEGIN) != 1 or lines.count(END) != 1 or lines.index(BEGIN) > lines.index(END):
        verdict.bad("block_missing")
        return
    first, last = lines.index(BEGIN), lines.index(END)
    inside, outside = lines[first + 1:last], lines[:first] + lines[last + 1:]
    if any(line.strip() for line in outside) and strict:
        verdict.bad("text_beside_block", next(line for line in outside if line.strip())[:60])
    if len(inside) != 1 and strict:
        verdict.bad("digest_lines", str(len(inside)))
    found = "".join(inside) if strict else re.sub(r"\s", "", "".join(inside))
    if strict and found.endswith("="):
        verdict.bad("digest_padded")
    if not re.match(r"[A-Za-z0-9_-]+=*\Z", found):
        verdict.bad("digest_form", found[:80])
    elif found.rstrip("=") != expected:
        verdict.bad("digest_wrong", f"{found} is not {expected}")
