#!/usr/bin/python3
"""Does an end entity certificate keep to the S/MIME Baseline Requirements (1.0.10)?

    lint.py certificate.pem --profile mailbox-strict [--chain chain.pem]

Prints one line a finding (id, error or warning, what) and ends with 0 when there is no
error. The ids: FRM frame, VAL validity, KEY key, POL policies, CRL, AIA, BC basic
constraints, KU, EKU, AKI, SKI, SDA subject directory attributes, LEI, ADB Adobe, FLG
critical flags, SAN, DN subject, CN common name, ORG organization identifier. The file
looks at octets with its own reader, not at what the issuing code believes it wrote.
"""

import argparse
import datetime
import hashlib
import re
import sys
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, rsa

import der
from lint_subject import check_subject

TYPES = {"mailbox": 1, "organization": 2, "sponsor": 3, "individual": 4}
GENERATIONS = {"legacy": 1, "multipurpose": 2, "strict": 3}
RESERVED = re.compile(r"2\.23\.140\.1\.5\.([1-4])\.([1-3])\Z")

KU, SAN, POLICIES, EKU, CRLDP = "2.5.29.15", "2.5.29.17", "2.5.29.32", "2.5.29.37", "2.5.29.31"
AKI, SKI, BASIC, AIA, DIRECTORY = "2.5.29.35", "2.5.29.14", "2.5.29.19", "1.3.6.1.5.5.7.1.1", "2.5.29.9"
CAPABILITIES, QUALIFIED = "1.2.840.113549.1.9.15", "1.3.6.1.5.5.7.1.3"
LEI, LEI_ROLE = "1.3.6.1.4.1.52266.1", "1.3.6.1.4.1.52266.2"
ADOBE = ("1.2.840.113583.1.1.9.1", "1.2.840.113583.1.1.9.2")
KNOWN = {KU, SAN, POLICIES, EKU, CRLDP, AKI, SKI, BASIC, AIA, DIRECTORY, CAPABILITIES, QUALIFIED,
         LEI, LEI_ROLE, *ADOBE}
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
FORBIDDEN_PURPOSES = {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8", "2.5.29.37.0"}
SMTP_UTF8 = "1.3.6.1.5.5.7.8.9"


def pss(digest, hash_oid_end, salt):
    algorithm = f"300d06096086480165030402{hash_oid_end}0500"
    inner = (f"a00f{algorithm}a11c301a06092a864886f70d010108{algorithm}a2030201{salt:02x}")
    return digest, f"304106092a864886f70d01010a3034{inner}"


# Section 7.1.3.2, octet for octet: identifier -> (what signs, hash).
SIGNATURES = {bytes.fromhex(text): meaning for text, meaning in (
    ("300d06092a864886f70d01010b0500", ("rsa", "sha256")),
    ("300d06092a864886f70d01010c0500", ("rsa", "sha384")),
    ("300d06092a864886f70d01010d0500", ("rsa", "sha512")),
    (pss("sha256", "01", 32)[1], ("rsa", "sha256")),
    (pss("sha384", "02", 48)[1], ("rsa", "sha384")),
    (pss("sha512", "03", 64)[1], ("rsa", "sha512")),
    ("300a06082a8648ce3d040302", ("secp256r1", "sha256")),
    ("300a06082a8648ce3d040303", ("secp384r1", "sha384")),
    ("300a06082a8648ce3d040304", ("secp521r1", "sha512")),
    ("300506032b6570", ("ed25519", None)),
    ("300506032b6571", ("ed448", None)),
)}
# Section 7.1.3.1.
KEY_ALGORITHMS = {bytes.fromhex(text): meaning for text, meaning in (
    ("300d06092a864886f70d0101010500", "rsa"),
    ("301306072a8648ce3d020106082a8648ce3d030107", "secp256r1"),
    ("301006072a8648ce3d020106052b81040022", "secp384r1"),
    ("301006072a8648ce3d020106052b81040023", "secp521r1"),
    ("300506032b6570", "ed25519"),
    ("300506032b6571", "ed448"),
)}


@dataclass
class Finding:
    id: str
    error: bool
    message: str

    def text(self):
        return f"{self.id} {'error' if self.error else 'warning'}: {self.message}"


class Report:
    def __init__(self, kind, generation):
        self.kind = kind
        self.generation = generation
        self.findings = []

    @property
    def strict(self):
        return self.generation == "strict"

    def error(self, row, message):
        self.findings.append(Finding(row, True, message))

    def warn(self, row, message):
        self.findings.append(Finding(row, False, message))

    def ban(self, row, wrong, message):
        if wrong:
            self.error(row, message)


class Certificate:
    """The parts of a certificate, as octets."""

    def __init__(self, octets):
        outer = der.read(octets).children
        if len(outer) != 3:
            raise der.DerError("a certificate has three parts")
        self.outer_algorithm = outer[1].raw
        parts = outer[0].children
        self.version = 1
        if parts[0].tag == 0xA0:
            self.version = der.read(parts.pop(0).content).integer() + 1
        self.serial = parts[0].integer()
        self.inner_algorithm, self.issuer = parts[1].raw, parts[2].raw
        self.validity, self.subject, self.key_info = parts[3].children, parts[4], parts[5]
        self.unique_identifiers = [p for p in parts[6:] if p.tag in (0x81, 0x82, 0xA1, 0xA2)]
        self.extensions = []
        for part in parts[6:]:
            if part.tag == 0xA3:
                for extension in der.read(part.content).children:
                    fields = extension.children
                    critical = len(fields) == 3 and fields[1].content != b"\0"
                    self.extensions.append((fields[0].oid(), critical, fields[-1].content))

    def extension(self, oid):
        """The parsed value, or None."""
        return next((der.read(value) for found, _, value in self.extensions if found == oid), None)

    def critical(self, oid):
        return next((critical for found, critical, _ in self.extensions if found == oid), None)


def check(octets, profile, issuer=None):
    """All findings for a DER certificate judged as `profile`, e.g. "mailbox-strict"."""
    kind, _, generation = profile.partition("-")
    if kind not in TYPES or generation not in GENERATIONS:
        raise ValueError(f"there is no profile {profile}")
    report = Report(kind, generation)
    try:
        certificate = Certificate(octets)
        for row in (check_frame, check_validity, check_key, check_policies, check_addresses_of_services,
                    check_constraints, check_key_usage, check_purposes, check_identifiers, check_rare, check_flags):
            row(report, certificate)
        if issuer:
            check_issuer(report, certificate, issuer)
        names = check_alternative_names(report, certificate)
        check_subject(report, certificate.subject, names)
    except (der.DerError, IndexError, ValueError) as error:
        report.error("FRM-2", f"cannot be read: {error}")
    return report.findings


def check_frame(report, certificate):
    report.ban("FRM-1", certificate.version != 3, f"version {certificate.version}")
    report.ban("FRM-1", not 0 < certificate.serial < 1 << 159, f"serial number {certificate.serial:x}")
    oids = [oid for oid, _, _ in certificate.extensions]
    report.ban("FRM-2", len(oids) != len(set(oids)), "an extension is there twice")
    report.ban("FRM-2", bool(certificate.unique_identifiers), "has a unique identifier")
    report.ban("FRM-2", certificate.inner_algorithm != certificate.outer_algorithm,
               "inner and outer signature algorithm differ")
    report.ban("FRM-3", certificate.inner_algorithm not in SIGNATURES, "signature algorithm is not on the list")
    for oid in sorted(set(oids) - KNOWN):
        report.warn("FRM-5", f"extension {oid} is not on the list")


def moment(report, element):
    text = element.content.decode("ascii")
    form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}.get(element.tag)
    if form is None:
        raise der.DerError("a time of another type")
    result = datetime.datetime.strptime(text, form)
    report.ban("FRM-2", (result.year < 2050) != (element.tag == 0x17), f"{text} is the wrong type of time")
    return result


def check_validity(report, certificate):
    begin, end = (moment(report, element) for element in certificate.validity)
    seconds = (end - begin).total_seconds() + 1
    report.ban("VAL-1", seconds > 825 * 86400, f"valid for {seconds / 86400:.5f} days")
    report.ban("VAL-1", seconds <= 0, "ends before it begins")


def check_key(report, certificate):
    algorithm = certificate.key_info.children[0].raw
    kind = KEY_ALGORITHMS.get(algorithm)
    try:
        key = serialization.load_der_public_key(certificate.key_info.raw)
    except Exception as error:  # several kinds, all of which mean a key nobody should use
        if kind is None:
            report.error("KEY-1", "key type or curve is not on the list")
        else:
            report.error("KEY-5", f"the key cannot be loaded: {type(error).__name__}")
        return
    allowed = (isinstance(key, (rsa.RSAPublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey))
               or isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in KEY_ALGORITHMS.values())
    report.ban("KEY-1", not allowed, "key type or curve is not on the list")
    report.ban("KEY-6", allowed and kind is None, "key algorithm identifier has other octets")
    if isinstance(key, rsa.RSAPublicKey):
        exponent, modulus = key.public_numbers().e, key.public_numbers().n
        report.ban("KEY-2", key.key_size < 2048 or key.key_size % 8 != 0, f"{key.key_size} bits")
        report.ban("KEY-3", exponent < 3 or exponent % 2 == 0, f"exponent {exponent}")
        if not 1 << 16 < exponent < 1 << 256:
            report.warn("KEY-4", f"exponent {exponent}")
        if any(modulus % factor == 0 for factor in range(2, 752)):
            report.warn("KEY-4", "the modulus has a small factor")


def key_kind(certificate):
    kind = KEY_ALGORITHMS.get(certificate.key_info.children[0].raw, "")
    return "ec" if kind.startswith("secp") else "edwards" if kind.startswith("ed") else kind


def check_issuer(report, certificate, issuer):
    above = Certificate(issuer)
    report.ban("FRM-4", certificate.issuer != above.subject.raw, "issuer name is not the issuer's subject")
    fitting = SIGNATURES.get(certificate.inner_algorithm, (None, None))[0]
    report.ban("FRM-4", fitting != KEY_ALGORITHMS.get(above.key_info.children[0].raw),
               "signature algorithm does not fit the issuer's key")


def check_policies(report, certificate):
    value = certificate.extension(POLICIES)
    if value is None:
        report.error("POL-1", "no certificate policies")
        return
    found = []
    for policy in value.children:
        fields = policy.children
        found.append(fields[0].oid())
        if len(fields) > 1:
            check_qualifiers(report, fields[1])
    reserved = [RESERVED.match(oid) for oid in found if RESERVED.match(oid)]
    report.ban("POL-1", len(reserved) != 1, f"{len(reserved)} reserved policy identifiers")
    for match in reserved:
        report.ban("POL-2", match.group(2) == "1", "generation Legacy")
        wanted = (str(TYPES[report.kind]), str(GENERATIONS[report.generation]))
        report.ban("POL-3", match.groups() != wanted, f"policy {match.group(0)} was not asked for")
    if "2.5.29.32.0" in found:
        report.warn("POL-5", "anyPolicy")


def check_qualifiers(report, qualifiers):
    for qualifier in qualifiers.children:
        oid, value = qualifier.children
        if oid.oid() == "1.3.6.1.5.5.7.2.1":
            report.ban("POL-4", not re.match(rb"https?://", value.content), "CPS address is not HTTP")
        elif oid.oid() == "1.3.6.1.5.5.7.2.2":
            tags = [part.tag for part in value.children]
            report.ban("POL-4", 0x30 in tags or not tags, "user notice with a reference or without text")


def check_addresses_of_services(report, certificate):
    points = certificate.extension(CRLDP)
    uris = []
    if points is not None:
        for point in points.children:
            for part in point.children:
                for name in (part.children if part.tag == 0xA0 else []):
                    uris += [n.content for n in name.children if name.tag == 0xA0 and n.tag == 0x86]
    report.ban("CRL-1", not uris, "no CRL distribution point with a URI")
    report.ban("CRL-2", any(not uri.startswith(b"http://") for uri in uris), "a CRL address is not http")
    access = certificate.extension(AIA)
    methods = {}
    for entry in (access.children if access else []):
        method, location = entry.children
        methods.setdefault(method.oid(), []).append(location)
    if "1.3.6.1.5.5.7.48.2" not in methods:
        report.warn("AIA-1", "no location of the issuer's certificate")
    for method in ("1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"):
        for location in methods.get(method, []):
            report.ban("AIA-2", location.tag != 0x86 or not location.content.startswith(b"http://"),
                       f"{location.content!r} is not http")


def check_constraints(report, certificate):
    value = certificate.extension(BASIC)
    for part in (value.children if value else []):
        report.ban("BC-1", part.tag == 0x02 or part.tag == 0x01 and part.content != b"\0",
                   "basic constraints of a CA")


def check_key_usage(report, certificate):
    value = certificate.extension(KU)
    bits = value.bits() if value else set()
    kind = key_kind(certificate)
    # 0 digitalSignature, 1 nonRepudiation, 2 keyEncipherment, 3 dataEncipherment, 4 keyAgreement,
    # 7 encipherOnly, 8 decipherOnly
    report.ban("KU-1", not bits & {0, 1, 2, 4}, "no key usage for signing or key management")
    if kind == "rsa":
        report.ban("KU-2", not bits & {0, 2} or bits - {0, 1, 2, 3} or (1 in bits and 0 not in bits),
                   f"bits {sorted(bits)} for RSA")
        report.ban("KU-3", 3 in bits and (report.strict or 2 not in bits), "dataEncipherment")
    elif kind == "ec":
        report.ban("KU-4", not bits & {0, 4} or bits - {0, 1, 4, 7, 8} or (1 in bits and 0 not in bits)
                   or (bits & {7, 8} and 4 not in bits) or {7, 8} <= bits, f"bits {sorted(bits)} for EC")
    elif kind == "edwards":
        report.ban("KU-5", 0 not in bits or bits - {0, 1}, f"bits {sorted(bits)} for an Edwards key")


def check_purposes(report, certificate):
    value = certificate.extension(EKU)
    purposes = {part.oid() for part in value.children} if value else set()
    report.ban("EKU-1", EMAIL_PROTECTION not in purposes, "no e-mail protection")
    report.ban("EKU-2", report.strict and bool(purposes - {EMAIL_PROTECTION}), "a further purpose")
    report.ban("EKU-3", bool(purposes & FORBIDDEN_PURPOSES), "a purpose that is never allowed")


def check_identifiers(report, certificate):
    value = certificate.extension(AKI)
    tags = [part.tag for part in value.children] if value else []
    report.ban("AKI-1", tags != [0x80], "authority key identifier has not exactly a key identifier")
    subject_key = certificate.extension(SKI)
    key_octets = certificate.key_info.children[1].content[1:]
    if subject_key is None:
        report.warn("SKI-1", "no subject key identifier")
    elif not any(subject_key.content == hashlib.new(name, octets).digest()[:20]
                 for name in ("sha1", "sha256") for octets in (key_octets, certificate.key_info.raw)):
        report.warn("SKI-1", "the subject key identifier is not derived from the key")


def check_rare(report, certificate):
    present = {oid for oid, _, _ in certificate.extensions}
    report.ban("SDA-1", DIRECTORY in present, "subject directory attributes")
    if report.kind in ("mailbox", "individual"):
        report.ban("LEI-1", bool(present & {LEI, LEI_ROLE}), "an LEI extension")
    elif report.kind == "organization":
        report.ban("LEI-1", LEI_ROLE in present, "the LEI role extension")
    report.ban("ADB-1", report.strict and bool(present & set(ADOBE)), "an Adobe extension")


def check_flags(report, certificate):
    empty = not certificate.subject.content
    for oid, name in ((POLICIES, "certificate policies"), (CRLDP, "CRL distribution points")):
        if certificate.critical(oid):
            report.warn("FLG-1", f"{name} are critical")
    if certificate.critical(KU) is False:
        report.warn("FLG-1", "key usage is not critical")
    if certificate.critical(SAN) and not empty:
        report.warn("FLG-1", "the alternative name is critical although there is a subject")
    report.ban("FLG-1", empty and certificate.critical(SAN) is False,
               "the alternative name is not critical although the subject is empty")
    for oid in (AIA, AKI, SKI, CAPABILITIES, QUALIFIED, LEI, LEI_ROLE, *ADOBE):
        report.ban("FLG-2", bool(certificate.critical(oid)), f"{oid} is critical")


def check_alternative_names(report, certificate):
    """Returns the addresses."""
    value = certificate.extension(SAN)
    addresses = []
    for name in (value.children if value else []):
        if name.tag == 0x81:
            text = name.content.decode("ascii", "replace")
            report.ban("SAN-6", not re.match(r"[!-~]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\Z", text)
                       or text.count("@") != 1 or "<" in text, f"{text!r} is no bare address")
            addresses.append(text)
        elif name.tag == 0xA0:
            oid, inner = name.children
            if oid.oid() == SMTP_UTF8:
                held = der.read(inner.content)
                text = held.content.decode("utf-8", "replace")
                local, _, domain = text.rpartition("@")
                report.ban("SAN-6", held.tag != 0x0C or local.isascii() or not domain.isascii(),
                           f"{text!r} is no SmtpUTF8Mailbox")
                addresses.append(text)
            else:
                report.ban("SAN-4", report.strict, f"otherName {oid.oid()}")
        elif name.tag != 0xA4:
            report.error("SAN-3", f"an entry of type {name.tag & 0x1F}")
    report.ban("SAN-1", not addresses, "no address in the alternative name")
    return addresses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("certificate", help="PEM; the first certificate in it is looked at")
    parser.add_argument("--profile", required=True, help="TYPE-GENERATION, e.g. mailbox-strict")
    parser.add_argument("--chain", help="PEM; the first certificate in it is the issuer")
    arguments = parser.parse_args()

    def first_der(path):
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificate(file.read()).public_bytes(serialization.Encoding.DER)

    try:
        findings = check(first_der(arguments.certificate), arguments.profile,
                         first_der(arguments.chain) if arguments.chain else None)
    except (OSError, ValueError) as error:
        sys.exit(f"lint: {error}")
    for finding in findings:
        print(finding.text())
    return 1 if any(finding.error for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
