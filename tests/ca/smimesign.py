"""S/MIME-signed challenge mails, with header protection in its three forms, or without.

    protect(message, form, identity, Signing(...))

`message` is what message.compose() made, `form` one of FORMS; Signing says what is unusual.
The CMS structure is built here: signed attributes of one's own (RFC 7508) are nothing the
usual builders offer, nor is most of what forge.py asks for.
"""

import base64
import datetime
import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from typing import Optional

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
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
# digest algorithm identifiers, and those of signatures by (EC, RSA)
DIGESTS = {
    "sha256": (hashes.SHA256, "300b0609608648016503040201", "300a06082a8648ce3d040302", "300d06092a864886f70d01010b0500"),
    "sha1": (hashes.SHA1, "300906052b0e03021a0500", "300906072a8648ce3d0401", "300d06092a864886f70d0101050500"),
}


class Identity:
    """A certificate for the sender's address under a root of its own."""

    def __init__(self, certificate, key, root, root_key):
        self.certificate = certificate
        self.key = key
        self.root = root
        self.root_key = root_key

    @classmethod
    def new(cls, address):
        root_key = ec.generate_private_key(ec.SECP256R1())
        root = (builder("Test Mail Root", root_key.public_key(), 1, 3650)
                .add_extension(x509.BasicConstraints(True, None), critical=True)
                .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
                .sign(root_key, hashes.SHA256()))
        return cls(None, None, root, root_key).another(address)

    def another(self, address=None, began=1, ends=3650, eku=ExtendedKeyUsageOID.EMAIL_PROTECTION, rsa_bits=None):
        """One more signer under the same root: other address, days, purpose or key."""
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        address = address or self.address
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.root_key.public_key())
        certificate = (builder("Test Mail Signer", key.public_key(), began, ends)
                       .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), critical=False)
                       .add_extension(x509.BasicConstraints(False, None), critical=True)
                       .add_extension(usage(digital_signature=True), critical=True)
                       .add_extension(x509.ExtendedKeyUsage([eku]), critical=False)
                       .add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
                       .sign(self.root_key, hashes.SHA256()))
        return Identity(certificate, key, self.root, self.root_key)

    @property
    def address(self):
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.RFC822Name)[0]

    @classmethod
    def from_files(cls, address, directory, stem):
        """STEM-signer.pem, STEM-signer.key, STEM-root.pem, STEM-root.key; made when missing."""
        ends = ("signer.pem", "signer.key", "root.pem", "root.key")
        paths = [os.path.join(directory, f"{stem}-{end}") for end in ends]
        if not all(os.path.exists(path) for path in paths):
            made = cls.new(address)
            write(paths[1], key_pem(made.key), 0o600)
            write(paths[3], key_pem(made.root_key), 0o600)
            write(paths[0], made.certificate.public_bytes(PEM))
            write(paths[2], made.root.public_bytes(PEM))
            return made
        certificate, key, root, root_key = (open(path, "rb").read() for path in paths)
        return cls(x509.load_pem_x509_certificate(certificate), serialization.load_pem_private_key(key, None),
                   x509.load_pem_x509_certificate(root), serialization.load_pem_private_key(root_key, None))


def builder(subject, public_key, began, ends):
    """A certificate under the root that began and ends so many days from now."""
    now = datetime.datetime.utcnow().replace(microsecond=0)
    return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("Test Mail Root"))
            .public_key(public_key).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=began))
            .not_valid_after(now + datetime.timedelta(days=ends)))


@dataclass
class Signing:
    """How a signature is made, where that is not as usual."""
    digest: str = "sha256"
    moment: Optional[float] = None      # signingTime; None: now, 0: no such attribute
    protected: tuple = PROTECTED
    attributes: bool = True             # signed attributes at all
    embed: bool = False                 # a detached signature that carries the content, too
    second: Optional[Identity] = None   # one more signer
    break_second: bool = False          # whose signature is wrong


def protect(message, form, identity, signing=Signing()):
    """The signed message. Outer fields stay as they were; what differs is the body."""
    head, _, body = message.partition(b"\r\n\r\n")
    fields = header_fields(head)
    lines = {n: spelled(head, n) + b":" + v for n, v in fields}
    content = [lines[n] for n, _ in fields if n.startswith("content-")]
    outer = [lines[n] for n, _ in fields if not n.startswith("content-")]
    covered = [lines[n] for n, _ in fields if n in signing.protected]
    attribute = None
    if form.startswith("smime-wrap"):
        part = b"Content-Type: message/rfc822\r\n\r\n" + message
    elif form.startswith("smime-rfc9788"):
        content = [line + b'; hp="clear"' if line.lower().startswith(b"content-type:") else line for line in content]
        part = b"\r\n".join(covered + content) + b"\r\n\r\n" + body
    else:
        part = b"\r\n".join(content) + b"\r\n\r\n" + body
        if form == "smime-rfc7508":
            attribute = secure_headers([(n, v) for n, v in fields if n in signing.protected], head)
    if form.endswith("opaque"):
        return opaque(outer, cms(part, identity, attribute, True, signing))
    part = part.removesuffix(b"\r\n")
    return detached(outer, part, cms(part, identity, attribute, signing.embed, signing))


def spelled(head, field):
    """The name of a field as it stands in the message."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(field.encode() + b":"):
            return line[:len(field)]
    return field.encode()


def detached(outer, part, signature):
    boundary = b"=_" + secrets.token_hex(12).encode()
    kind = (b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
            b' micalg=sha-256; boundary="' + boundary + b'"')
    body = (b"--" + boundary + b"\r\n" + part + b"\r\n--" + boundary + b"\r\n"
            b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
            b"Content-Transfer-Encoding: base64\r\n"
            b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n'
            + wrapped(signature) + b"--" + boundary + b"--\r\n")
    return b"\r\n".join(outer + [kind]) + b"\r\n\r\n" + body


def opaque(outer, signature):
    kind = (b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\r\n'
            b"Content-Transfer-Encoding: base64")
    return b"\r\n".join(outer + [kind]) + b"\r\n\r\n" + wrapped(signature)


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


def cms(content, identity, attribute, include, signing):
    """SignedData with its signers and their certificates, DER."""
    signers = [signer_info(content, identity, attribute, signing)]
    certificates = identity.certificate.public_bytes(DER)
    if signing.second:
        signers.append(signer_info(content, signing.second, attribute, signing, signing.break_second))
        certificates += signing.second.certificate.public_bytes(DER)
    digest = bytes.fromhex(DIGESTS[signing.digest][1])
    held = tlv(0xA0, tlv(0x04, content)) if include else b""
    signed = tlv(0x30, integer(1), set_of(digest), tlv(0x30, OID_DATA, held), tlv(0xA0, certificates), set_of(*signers))
    return tlv(0x30, OID_SIGNED_DATA, tlv(0xA0, signed))


def signer_info(content, identity, attribute, signing, broken=False):
    certificate = identity.certificate
    kind, digest, by_ec, by_rsa = DIGESTS[signing.digest]
    attributes = [tlv(0x30, OID_CONTENT_TYPE, set_of(OID_DATA)),
                  tlv(0x30, OID_MESSAGE_DIGEST, set_of(tlv(0x04, hashlib.new(signing.digest, content).digest())))]
    if signing.moment != 0:
        moment = time.strftime("%y%m%d%H%M%SZ", time.gmtime(signing.moment)).encode()
        attributes.append(tlv(0x30, OID_SIGNING_TIME, set_of(tlv(0x17, moment))))
    if attribute:
        attributes.append(attribute)
    attributes = set_of(*attributes)
    signed = (attributes if signing.attributes else content) + (b"?" if broken else b"")
    if isinstance(identity.key, rsa.RSAPrivateKey):
        algorithm, signature = by_rsa, identity.key.sign(signed, padding.PKCS1v15(), kind())
    else:
        algorithm, signature = by_ec, identity.key.sign(signed, ec.ECDSA(kind()))
    return tlv(0x30, integer(1),
               tlv(0x30, certificate.issuer.public_bytes(), integer(certificate.serial_number)), bytes.fromhex(digest),
               b"\xa0" + attributes[1:] if signing.attributes else b"", bytes.fromhex(algorithm), tlv(0x04, signature))
