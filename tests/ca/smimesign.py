"""S/MIME-signed challenge mails, with header protection in its three forms, or without.

    protect(message, form, identity)

`message` is what message.compose() made, `form` one of FORMS. The CMS structure is built
here: signed attributes of one's own (RFC 7508) are nothing the usual builders offer.
"""

import base64
import datetime
import hashlib
import os
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from dkimsign import header_fields
from pki import DER, PEM, key_pem, name, usage, write

FORMS = {
    "smime-wrap": "multipart/signed around message/rfc822 with the fields",
    "smime-wrap-opaque": "signed-data (application/pkcs7-mime) around message/rfc822",
    "smime-rfc7508": "multipart/signed, the fields in the signed attribute of RFC 7508",
    "smime-rfc9788": "multipart/signed, the fields in the signed part, hp=\"clear\" (RFC 9788)",
    "smime-rfc9788-opaque": "the same as signed-data",
    "smime-unprotected": "multipart/signed, the fields not protected",
}
PROTECTED = ("from", "reply-to", "to", "subject", "date", "message-id", "auto-submitted")

OID_DATA = bytes.fromhex("06092a864886f70d010701")
OID_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
OID_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
OID_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
OID_SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
OID_SECURE_HEADERS = bytes.fromhex("060b2a864886f70d0109100237")
SHA256 = bytes.fromhex("300b0609608648016503040201")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


class Identity:
    """A certificate for the sender's address under a root of its own."""

    def __init__(self, certificate, key, root):
        self.certificate = certificate
        self.key = key
        self.root = root

    @classmethod
    def new(cls, address):
        now = datetime.datetime.utcnow().replace(microsecond=0)
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

        def builder(subject, public_key, issuer):
            return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
                    .public_key(public_key).serial_number(x509.random_serial_number())
                    .not_valid_before(now - datetime.timedelta(days=1))
                    .not_valid_after(now + datetime.timedelta(days=3650)))

        identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
        root = (builder("Test Mail Root", root_key.public_key(), "Test Mail Root")
                .add_extension(x509.BasicConstraints(True, None), critical=True)
                .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
                .add_extension(identifier, critical=False)
                .sign(root_key, hashes.SHA256()))
        certificate = (builder("Test Mail Signer", key.public_key(), "Test Mail Root")
                       .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False)
                       .add_extension(x509.BasicConstraints(False, None), critical=True)
                       .add_extension(usage(digital_signature=True), critical=True)
                       .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
                       .add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
                       .sign(root_key, hashes.SHA256()))
        return cls(certificate, key, root)

    @classmethod
    def from_files(cls, address, directory, stem):
        """STEM-signer.pem, STEM-signer.key, STEM-root.pem; made when missing."""
        paths = [os.path.join(directory, f"{stem}-{end}") for end in ("signer.pem", "signer.key", "root.pem")]
        if not all(os.path.exists(path) for path in paths):
            made = cls.new(address)
            write(paths[1], key_pem(made.key), 0o600)
            write(paths[0], made.certificate.public_bytes(PEM))
            write(paths[2], made.root.public_bytes(PEM))
            return made
        certificate, key, root = (open(path, "rb").read() for path in paths)
        return cls(x509.load_pem_x509_certificate(certificate), serialization.load_pem_private_key(key, None),
                   x509.load_pem_x509_certificate(root))


def protect(message, form, identity):
    """The signed message. Outer fields stay as they were; what differs is the body."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = header_fields(head)
    lines = {n: spelled(head, n) + b":" + v for n, v in fields}
    content = [lines[n] for n, _ in fields if n.startswith("content-")]
    outer = [lines[n] for n, _ in fields if not n.startswith("content-")]
    covered = [lines[n] for n, _ in fields if n in PROTECTED]
    attribute = None
    if form.startswith("smime-wrap"):
        part = b"Content-Type: message/rfc822\r\n\r\n" + message
    elif form.startswith("smime-rfc9788"):
        content = [line + b'; hp="clear"' if line.lower().startswith(b"content-type:") else line for line in content]
        part = b"\r\n".join(covered + content) + b"\r\n\r\n" + body
    else:
        part = b"\r\n".join(content) + b"\r\n\r\n" + body
        if form == "smime-rfc7508":
            attribute = secure_headers([(n, v) for n, v in fields if n in PROTECTED], head)
    if form.endswith("opaque"):
        return opaque(outer, part, identity)
    return detached(outer, part.removesuffix(b"\r\n"), identity, attribute)


def spelled(head, field):
    """The name of a field as it stands in the message."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(field.encode() + b":"):
            return line[:len(field)]
    return field.encode()


def detached(outer, part, identity, attribute):
    boundary = b"=_" + secrets.token_hex(12).encode()
    signature = wrapped(cms(part, identity, attribute, include=False))
    kind = (b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
            b' micalg=sha-256; boundary="' + boundary + b'"')
    body = (b"--" + boundary + b"\r\n" + part + b"\r\n--" + boundary + b"\r\n"
            b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
            b"Content-Transfer-Encoding: base64\r\n"
            b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n'
            + signature + b"--" + boundary + b"--\r\n")
    return b"\r\n".join(outer + [kind]) + b"\r\n\r\n" + body


def opaque(outer, part, identity):
    kind = (b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
            b"Content-Transfer-Encoding: base64")
    return b"\r\n".join(outer + [kind]) + b"\r\n\r\n" + wrapped(cms(part, identity, None, include=True))


def wrapped(octets):
    text = base64.b64encode(octets)
    return b"".join(text[i:i + 76] + b"\r\n" for i in range(0, len(text), 76))


# CMS (RFC 5652)


def tlv(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    else:
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def set_of(*parts):
    return tlv(0x31, *sorted(parts))


def integer(number):
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def secure_headers(fields, head):
    """RFC 7508: SET { canonAlgorithm ENUMERATED simple(0), secHeaderFields SEQUENCE OF HeaderField }."""
    entries = [tlv(0x30, tlv(0x1A, spelled(head, n)), tlv(0x0C, v.strip())) for n, v in fields]
    return tlv(0x30, OID_SECURE_HEADERS, set_of(tlv(0x31, tlv(0x0A, b"\0"), tlv(0x30, *entries))))


def cms(content, identity, attribute, include):
    """SignedData with one signer and its certificate, DER."""
    certificate = identity.certificate
    now = datetime.datetime.utcnow().strftime("%y%m%d%H%M%SZ").encode()
    attributes = [tlv(0x30, OID_CONTENT_TYPE, set_of(OID_DATA)),
                  tlv(0x30, OID_SIGNING_TIME, set_of(tlv(0x17, now))),
                  tlv(0x30, OID_MESSAGE_DIGEST, set_of(tlv(0x04, hashlib.sha256(content).digest())))]
    if attribute:
        attributes.append(attribute)
    attributes = set_of(*attributes)
    signature = identity.key.sign(attributes, ec.ECDSA(hashes.SHA256()))
    signer = tlv(0x30, integer(1),
                 tlv(0x30, certificate.issuer.public_bytes(), integer(certificate.serial_number)), SHA256,
                 b"\xa0" + attributes[1:], ECDSA_SHA256, tlv(0x04, signature))
    held = tlv(0xA0, tlv(0x04, content)) if include else b""
    signed = tlv(0x30, integer(1), set_of(SHA256), tlv(0x30, OID_DATA, held),
                 tlv(0xA0, certificate.public_bytes(DER)), set_of(signer))
    return tlv(0x30, OID_SIGNED_DATA, tlv(0xA0, signed))
