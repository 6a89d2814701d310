"""Forged challenge mails: what a stranger, or a careless CA, might send.

A library for any test: `forge(variant, challenge, signer, stranger)` gives the bytes.
`challenge` is a message.Challenge as the CA would send it, `signer` signs for the CA's
domain, `stranger` for a domain of somebody else. Variants marked "genuine" in VARIANTS are
good mails, to prove that it is the forgery that is refused and not the tool.
"""

import copy
import re
import secrets
import time

from cryptography.x509.oid import ExtendedKeyUsageOID

import jws
from dkimsign import CHALLENGE_FIELDS, relaxed_body
from message import Challenge, compose, date_value, new_message_id
from smimesign import PROTECTED, Signing, protect

VARIANTS = {
    "genuine": "a good mail",
    "genuine_two_signatures": "a good mail: a stranger's signature stands above the CA's",
    "no_dkim": "not signed",
    "other_domain": "signed by the stranger only, From is the CA",
    "stranger": "From and signature are the stranger's",
    "subdomain": "signed with d= a subdomain of the From domain",
    "parent_domain": "signed with d= the parent of the From domain",
    "broken_signature": "a bit of the signature is changed",
    "body_changed": "the body is changed after signing",
    "two_from": "a second From above the signed one",
    "two_from_below": "a second From below the others",
    "two_from_in_one": "one From field with two addresses, signed",
    "display_name_from": "From is the stranger's, the CA's address is only the display name",
    "two_subject": "another Subject above the signed one (not oversigned)",
    "two_to": "another To above the signed one (not oversigned)",
    "two_reply_to": "a Reply-To above a signed mail (not oversigned)",
    "two_message_id": "another Message-ID above the signed one (not oversigned)",
    "added_reply_to": "a Reply-To added to a mail that was signed without naming the field",
    "oversigned_two_subject": "another Subject above one that is oversigned: the signature breaks",
    "short_length": "signed with l= and text added",
    "zero_length": "signed with l=0",
    "unsigned_subject": "h= does not name Subject",
    "unsigned_to": "h= does not name To",
    "unsigned_date": "h= does not name Date",
    "unsigned_message_id": "h= does not name Message-ID",
    "unsigned_auto_submitted": "h= does not name Auto-Submitted",
    "unsigned_reply_to": "h= does not name Reply-To, which is there",
    "rsa_sha1": "signed with rsa-sha1",
    "expired_signature": "x= in the past",
    "other_recipient": "To is somebody else",
    "old_date": "signed, dated two days ago",
    "future_date": "signed, dated in two days",
    "no_date": "signed, no Date",
    "no_message_id": "signed, no Message-ID",
    "no_auto_submitted": "signed, no Auto-Submitted",
    "auto_replied": "signed, Auto-Submitted: auto-replied",
    "reply_subject": "signed, Subject is Re: ACME:",
    "empty_token": "signed, no token",
    "short_token": "signed, a token of 64 bits",
    "odd_token": "signed, a token with characters outside base64url",
    "huge_token": "signed, a token of 4000 characters, folded",
    "header_injection": "signed, an encoded Subject that decodes to a line break and a field",
    "list_mail": "signed, came through a mailing list",
    "smime_genuine": "a good mail: S/MIME, the fields wrapped",
    "smime_unprotected": "S/MIME without header protection",
    "smime_new_subject": "S/MIME, wrapped; the outer Subject is another",
    "smime_new_from": "S/MIME, wrapped; the outer From is another",
    "smime_new_to": "S/MIME, wrapped for somebody else; the outer To is the victim",
    "smime_new_subject_rfc7508": "S/MIME, RFC 7508; the outer Subject is another",
    "smime_new_subject_rfc9788": "S/MIME, RFC 9788; the outer Subject is another",
    "smime_new_subject_opaque": "S/MIME, opaque, RFC 9788; the outer Subject is another",
    "smime_new_from_rfc7508": "S/MIME, RFC 7508; the outer From is another",
    "smime_new_from_rfc9788": "S/MIME, RFC 9788; the outer From is another",
    "smime_new_to_rfc7508": "S/MIME, RFC 7508 for somebody else; the outer To is the victim",
    "smime_new_to_rfc9788": "S/MIME, RFC 9788 for somebody else; the outer To is the victim",
    "smime_added_reply_to": "S/MIME, wrapped; a Reply-To added outside",
    "smime_two_subject": "S/MIME, wrapped; another Subject above the others",
    "smime_subject_unprotected": "S/MIME, RFC 7508 without Subject among the protected fields",
    "smime_old": "S/MIME, wrapped, two days old",
    "smime_old_new_subject": "S/MIME, wrapped, two days old; Subject, Date and Message-ID outside are new",
    "smime_old_new_date": "S/MIME, RFC 7508, two days old, Date not protected; Date and Message-ID outside are new",
    "smime_undated": "S/MIME, RFC 7508, Date not protected and no signingTime",
    "smime_expired": "S/MIME by a certificate that ended yesterday, under the trusted root",
    "smime_not_for_mail": "S/MIME by a certificate for TLS clients, under the trusted root",
    "smime_other_signer": "S/MIME by a certificate for another address of the CA, under the trusted root",
    "smime_rsa_1024": "S/MIME by an RSA key of 1024 bits",
    "smime_sha1": "S/MIME with SHA-1",
    "smime_no_attributes": "S/MIME without signed attributes",
    "smime_embedded": "S/MIME, multipart/signed whose signature has the content in it, too",
    "smime_third_part": "S/MIME, multipart/signed with a third part",
    "smime_parts_behind": "S/MIME, within multipart/mixed, another part behind it",
    "smime_few_fields": "a good mail: S/MIME, RFC 7508 for From, To and Subject only",
    "smime_two_signers": "a good mail: S/MIME by two certificates for the sender",
    "smime_two_signers_one_broken": "S/MIME by two; the second signature is wrong",
    "smime_two_signers_one_stranger": "S/MIME by two; the second has a root that nobody trusts",
    "smime_impostor": "S/MIME by a certificate for the CA's address under a root nobody trusts",
    "smime_other_address": "S/MIME, a trusted root; From is another address than the certificate has",
    "smime_changed": "S/MIME, the signed text is changed",
}


def forge(variant, challenge, signer, stranger, identity=None, impostor=None):
    """The message of a variant. Raises KeyError for one that does not exist. The variants of
    S/MIME need `identity` and `impostor` (smimesign.Identity)."""
    if variant not in VARIANTS:
        raise KeyError(variant)
    challenge = copy.copy(challenge)
    if variant.startswith("smime_"):
        return _smime(variant, challenge, stranger, identity, impostor)
    maker = globals().get("_" + variant)
    if maker:
        return maker(challenge, signer, stranger)
    change = _CHANGES.get(variant)
    if change:
        change(challenge)
    if variant.startswith("unsigned_"):
        field = variant[len("unsigned_"):].replace("_", "-")
        if field == "reply-to" and not challenge.reply_to:
            challenge.reply_to = f"mallory@{stranger.domain}"
        return signer.sign(compose(challenge), [f for f in CHALLENGE_FIELDS if f != field], oversign=False)
    return signer.sign(_without(compose(challenge), _REMOVED.get(variant)))


def stray_token(octets=20):
    return jws.encode(secrets.token_bytes(octets))


_REMOVED = {"no_date": b"Date", "no_message_id": b"Message-ID"}

_CHANGES = {
    "other_recipient": lambda c: setattr(c, "recipient", "somebody." + c.recipient),
    "old_date": lambda c: setattr(c, "date", time.time() - 2 * 86400),
    "future_date": lambda c: setattr(c, "date", time.time() + 2 * 86400),
    "no_auto_submitted": lambda c: setattr(c, "auto_submitted", None),
    "auto_replied": lambda c: setattr(c, "auto_submitted", "auto-replied"),
    "reply_subject": lambda c: setattr(c, "subject", f"Re: ACME: {c.token_part1}"),
    "empty_token": lambda c: setattr(c, "subject", "ACME: "),
    "short_token": lambda c: setattr(c, "token_part1", stray_token(8)),
    "odd_token": lambda c: setattr(c, "token_part1", c.token_part1[:-4] + "+/$%"),
    "huge_token": lambda c: setattr(c, "subject", "ACME: " + "\n ".join(["A" * 800] * 5)),
    "header_injection": lambda c: setattr(
        c, "subject", f"=?us-ascii?Q?ACME:_{c.token_part1.replace('_', '=5F')}=0D=0ABcc:_mallory=40evil.example?="),
}


def _without(message, field):
    if field is None:
        return message
    return re.sub(rb"(?m)^" + field + rb": [^\r\n]*\r\n", b"", message, count=1)


def _no_dkim(challenge, _signer, _stranger):
    return compose(challenge)


def _genuine_two_signatures(challenge, signer, stranger):
    return stranger.sign(signer.sign(compose(challenge)))


def _other_domain(challenge, _signer, stranger):
    return stranger.sign(compose(challenge))


def _stranger(challenge, _signer, stranger):
    challenge.sender = f"acme@{stranger.domain}"
    return stranger.sign(compose(challenge))


def _display_name_from(challenge, _signer, stranger):
    challenge.display_name, challenge.sender = challenge.sender, f"acme@{stranger.domain}"
    return stranger.sign(compose(challenge))


def _subdomain(challenge, signer, _stranger):
    return signer.sign(compose(challenge), domain="mail." + signer.domain)


def _parent_domain(challenge, signer, _stranger):
    return signer.sign(compose(challenge), domain=signer.domain.partition(".")[2])


def _broken_signature(challenge, signer, _stranger):
    message = signer.sign(compose(challenge))
    place = re.search(rb"\bb=\s*([A-Za-z0-9+/])", message).start(1)
    other = b"B" if message[place:place + 1] == b"A" else b"A"
    return message[:place] + other + message[place + 1:]


def _body_changed(challenge, signer, _stranger):
    return signer.sign(compose(challenge)) + b"One more line.\r\n"


def _two_from(challenge, signer, stranger):
    return f"From: acme@{stranger.domain}\r\n".encode() + _lax(challenge, signer)


def _two_from_below(challenge, signer, stranger):
    head, _, body = _lax(challenge, signer).partition(b"\r\n\r\n")
    return head + f"\r\nFrom: acme@{stranger.domain}\r\n\r\n".encode() + body


def _two_from_in_one(challenge, signer, stranger):
    challenge.sender = f"{challenge.sender}, acme@{stranger.domain}"
    return signer.sign(compose(challenge))


def _two_subject(challenge, signer, _stranger):
    # The attacker's token on a mail that the CA signed for another purpose.
    return f"Subject: ACME: {stray_token()}\r\n".encode() + _lax(challenge, signer)


def _two_to(challenge, signer, _stranger):
    wanted = challenge.recipient
    challenge.recipient = "somebody." + challenge.recipient
    return f"To: {wanted}\r\n".encode() + _lax(challenge, signer)


def _two_reply_to(challenge, signer, stranger):
    challenge.reply_to = challenge.reply_to or challenge.sender
    return f"Reply-To: mallory@{stranger.domain}\r\n".encode() + _lax(challenge, signer)


def _two_message_id(challenge, signer, stranger):
    return f"Message-ID: <other@{stranger.domain}>\r\n".encode() + _lax(challenge, signer)


def _added_reply_to(challenge, signer, stranger):
    challenge.reply_to = None
    return f"Reply-To: mallory@{stranger.domain}\r\n".encode() + _lax(challenge, signer)


def _oversigned_two_subject(challenge, signer, _stranger):
    return f"Subject: ACME: {stray_token()}\r\n".encode() + signer.sign(compose(challenge))


def _short_length(challenge, signer, _stranger):
    message = compose(challenge)
    body = message.partition(b"\r\n\r\n")[2]
    return signer.sign(message, length=len(relaxed_body(body))) + b"Text of somebody else.\r\n"


def _zero_length(challenge, signer, _stranger):
    return signer.sign(compose(challenge), length=0)


def _rsa_sha1(challenge, signer, _stranger):
    return signer.sign(compose(challenge), digest="sha1")


def _expired_signature(challenge, signer, _stranger):
    # Two days: verifiers may allow some hours of clock difference.
    past = time.time() - 2 * 86400
    return signer.sign(compose(challenge), signed=past - 3600, expires=past)


def _list_mail(challenge, signer, _stranger):
    return b"List-Id: <staff.list.example>\r\n" + signer.sign(compose(challenge))


OLD = 2 * 86400

# variant: how its signature is made, given the CA's identity and the impostor's
_SIGNINGS = {
    "subject_unprotected": lambda i, s: Signing(protected=tuple(f for f in PROTECTED if f != "subject")),
    "old": lambda i, s: Signing(moment=time.time() - OLD),
    "old_new_subject": lambda i, s: Signing(moment=time.time() - OLD),
    "old_new_date": lambda i, s: Signing(moment=time.time() - OLD, protected=("from", "to", "subject")),
    "few_fields": lambda i, s: Signing(protected=("from", "to", "subject")),
    "undated": lambda i, s: Signing(moment=0, protected=("from", "to", "subject")),
    "sha1": lambda i, s: Signing(digest="sha1"),
    "no_attributes": lambda i, s: Signing(attributes=False),
    "embedded": lambda i, s: Signing(embed=True),
    "two_signers": lambda i, s: Signing(second=i.another()),
    "two_signers_one_broken": lambda i, s: Signing(second=i.another(), break_second=True),
    "two_signers_one_stranger": lambda i, s: Signing(second=s),
}

# variant: who signs
_SIGNERS = {
    "impostor": lambda i, s: s,
    "expired": lambda i, s: i.another(began=30, ends=-1),
    "not_for_mail": lambda i, s: i.another(eku=ExtendedKeyUsageOID.CLIENT_AUTH),
    "other_signer": lambda i, s: i.another("sales@" + i.address.partition("@")[2]),
    "rsa_1024": lambda i, s: i.another(rsa_bits=1024),
}
_RFC7508 = ("few_fields", "subject_unprotected", "old_new_date", "undated")


def _smime_form(variant):
    if variant == "unprotected":
        return "smime-unprotected"
    if variant in _RFC7508 or variant.endswith("_rfc7508"):
        return "smime-rfc7508"
    if variant.endswith("_opaque"):
        return "smime-rfc9788-opaque"
    return "smime-rfc9788" if variant.endswith("_rfc9788") else "smime-wrap"


def _smime(variant, challenge, stranger, identity, impostor):
    variant = variant.removeprefix("smime_")
    wanted = challenge.recipient
    if variant.startswith("new_to"):
        challenge.recipient = "somebody." + wanted
    if variant == "other_address":
        # The certificate stays what it is; the mail claims to come from elsewhere in the domain.
        challenge.sender = "other-" + challenge.sender
    if variant.startswith("old"):
        challenge.date = time.time() - OLD
    signing = _SIGNINGS.get(variant, lambda i, s: Signing())(identity, impostor)
    signer = _SIGNERS.get(variant, lambda i, s: i)(identity, impostor)
    message = protect(compose(challenge), _smime_form(variant), signer, signing)
    head, gap, body = message.partition(b"\r\n\r\n")
    head, body = _smime_outside(variant, challenge, wanted, stranger, head, body)
    return head + gap + body


def _replaced(head, field, value):
    return re.sub(rb"(?m)^" + field.encode() + rb": [^\r\n]*", f"{field}: {value}".encode(), head, count=1)


def _smime_outside(variant, challenge, wanted, stranger, head, body):
    """Header and body after a stranger had them in hands."""
    if variant.startswith(("new_subject", "old_new_subject")):
        head = _replaced(head, "Subject", f"ACME: {stray_token()}")
    elif variant.startswith("new_from"):
        head = _replaced(head, "From", f"acme@{stranger.domain}")
    elif variant.startswith("new_to"):
        head = _replaced(head, "To", wanted)
    elif variant == "added_reply_to":
        head = re.sub(rb"(?m)^Reply-To: [^\r\n]*\r\n", b"", head)
        head = f"Reply-To: mallory@{stranger.domain}\r\n".encode() + head
    elif variant == "two_subject":
        head = f"Subject: ACME: {stray_token()}\r\n".encode() + head
    elif variant == "changed":
        body = body.replace(b"certification authority", b"certain authority")
    elif variant == "third_part":
        boundary = re.search(rb'boundary="([^"]+)"', head).group(1)
        body = body.replace(b"--" + boundary + b"--", b"--" + boundary + b"\r\n\r\nMore.\r\n--" + boundary + b"--")
    elif variant == "parts_behind":
        kind = re.search(rb"(?ms)^Content-Type: .*?(?=^\S|\Z)", head).group(0)
        head = head.replace(kind, b'Content-Type: multipart/mixed; boundary="outside"')
        body = b"--outside\r\n" + kind + b"\r\n\r\n" + body + b"\r\n--outside\r\n\r\nMore.\r\n--outside--\r\n"
    if variant.startswith("old_new"):
        head = _replaced(head, "Date", date_value(time.time()))
        head = _replaced(head, "Message-ID", new_message_id(challenge.sender.partition("@")[2]))
    return head, body


def _lax(challenge, signer):
    """Signed like a CA that neither oversigns nor names absent fields: what additions need."""
    return signer.sign(compose(challenge), absent=False, oversign=False)


__all__ = ["Challenge", "VARIANTS", "forge", "stray_token"]
