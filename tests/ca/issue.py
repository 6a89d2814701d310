"""From a CSR to a certificate under the S/MIME Baseline Requirements, or to a wrong one on purpose."""

import datetime
import os
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, ed448, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

import jws
import lint
from pki import DER, PEM, digest_for, distribution_point, issuer_access, new_key, usage, write
from state import Issued, new_id

ORGANIZATION_IDENTIFIER = ObjectIdentifier("2.5.4.97")
TYPES = {"mailbox": 1, "organization": 2, "sponsor": 3, "individual": 4}
GENERATIONS = {"legacy": 1, "multipurpose": 2, "strict": 3}

PERSON = {NameOID.GIVEN_NAME, NameOID.SURNAME, NameOID.PSEUDONYM, NameOID.TITLE}
PLACE = {NameOID.COUNTRY_NAME, NameOID.LOCALITY_NAME, NameOID.STATE_OR_PROVINCE_NAME}
COMPANY = {NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, ORGANIZATION_IDENTIFIER}
BASIC = {NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER, NameOID.EMAIL_ADDRESS}
# What each type lets into the subject (7.1.4.2.3 to .6), the Strict column.
SUBJECT = {"mailbox": BASIC, "organization": BASIC | PLACE | COMPANY,
           "sponsor": BASIC | PLACE | COMPANY | PERSON, "individual": BASIC | PLACE | PERSON}
MULTIPURPOSE_ONLY = {NameOID.STREET_ADDRESS, NameOID.POSTAL_CODE}


class BadCsr(Exception):
    pass


class Issuer:
    def __init__(self, ca, pki):
        self.ca = ca
        self.pki = pki

    @staticmethod
    def public_key_of(der):
        return x509.load_der_x509_certificate(der).public_key()

    def profile_of(self, order):
        """(type, generation, usage or None, description) of the order's profile."""
        return self.ca.config["profiles"].get(order.profile) or self.ca.config["default_profile"]

    # the request

    def check_request(self, der, order, account_jwk):
        """Raise BadCsr unless the CSR is one this order may be finalized with."""
        csr = load_request(der)
        key = csr.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            if key.key_size < 2048 or key.key_size % 8 or key.public_numbers().e < 65537:
                raise BadCsr("RSA keys have at least 2048 bits and an exponent of at least 65537")
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
                raise BadCsr("the curve is not P-256, P-384 or P-521")
        elif not isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            raise BadCsr("the key type is not supported")
        if jws.jwk_of(key) == account_jwk:
            raise BadCsr("the key is the account key")
        wanted = sorted(normal(address) for address in order.addresses)
        found = sorted(normal(address) for address in requested_addresses(csr))
        if wanted != found:
            raise BadCsr(f"the alternative name has {found}, the order {wanted}")
        for attribute in csr.subject:
            if attribute.oid in (NameOID.COMMON_NAME, NameOID.EMAIL_ADDRESS) and "@" in attribute.value:
                if normal(attribute.value) not in wanted:
                    raise BadCsr(f"{attribute.value} in the subject is not in the order")
        self.key_usage(csr, order)
        self.subject(csr, order)

    def key_usage(self, csr, order):
        """The bits to issue: what the CSR asks for, else what the profile says, else both."""
        asked = extension(csr, x509.KeyUsage)
        profile_usage = self.profile_of(order).get("usage")
        switch = self.ca.behaviour["key_usage_request"]
        if asked is not None and switch == "refuse":
            raise BadCsr("keyUsage may not be requested here")
        sign = encrypt = True
        commitment = False
        if asked is not None and switch == "honour":
            sign = asked.digital_signature or asked.content_commitment
            encrypt = asked.key_encipherment or asked.key_agreement
            commitment = asked.content_commitment
            if not sign and not encrypt:
                raise BadCsr("the requested keyUsage has no bit for signing or encryption")
            if asked.key_cert_sign or asked.crl_sign:
                raise BadCsr("the requested keyUsage is that of a CA")
            wanted = {"signing": (True, False), "encryption": (False, True),
                      "signing-encryption": (True, True)}.get(profile_usage)
            if wanted and wanted != (sign, encrypt):
                raise BadCsr(f"the requested keyUsage does not fit the profile {order.profile}")
        elif profile_usage:
            sign, encrypt = "signing" in profile_usage, "encryption" in profile_usage
        key = csr.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return dict(digital_signature=sign, content_commitment=commitment, key_encipherment=encrypt)
        if isinstance(key, ec.EllipticCurvePublicKey):
            return dict(digital_signature=sign, content_commitment=commitment, key_agreement=encrypt)
        if not sign:
            raise BadCsr("an Edwards key cannot encrypt")
        return dict(digital_signature=True, content_commitment=commitment)

    def subject(self, csr, order):
        """The CSR's subject, cut down to what the type allows; the CA adds what it knows itself."""
        profile = self.profile_of(order)
        kind = profile["type"]
        allowed = SUBJECT[kind] | (MULTIPURPOSE_ONLY if profile["generation"] == "multipurpose"
                                   and kind != "mailbox" else set())
        attributes = [a for a in csr.subject if a.oid in allowed]
        if kind == "mailbox":
            # A common name that is no address of the certificate has no place in this type.
            attributes = [a for a in attributes if a.oid != NameOID.COMMON_NAME
                          or normal(a.value) in map(normal, order.addresses)]
        if kind in ("organization", "sponsor"):
            attributes = [a for a in attributes if a.oid not in COMPANY - {NameOID.ORGANIZATIONAL_UNIT_NAME}
                          and a.oid != NameOID.COUNTRY_NAME]
            company = self.ca.config["organization"]
            attributes = [x509.NameAttribute(NameOID.COUNTRY_NAME, company["country"]),
                          x509.NameAttribute(NameOID.ORGANIZATION_NAME, company["name"]),
                          x509.NameAttribute(ORGANIZATION_IDENTIFIER, company["identifier"])] + attributes
        if kind == "organization":
            attributes = [a for a in attributes if a.oid != NameOID.COMMON_NAME
                          or a.value == self.ca.config["organization"]["name"]
                          or a.value in order.addresses]
        if kind in ("sponsor", "individual"):
            attributes = self.with_person(attributes, order)
        return x509.Name(attributes)

    def with_person(self, attributes, order):
        present = {a.oid for a in attributes}
        if not present & {NameOID.GIVEN_NAME, NameOID.SURNAME, NameOID.PSEUDONYM}:
            person = self.ca.config["people"].get(order.addresses[0])
            if not person:
                raise BadCsr("givenName, surname or pseudonym is needed for this profile")
            attributes = attributes + [
                x509.NameAttribute(oid, person[field]) for field, oid in
                (("given_name", NameOID.GIVEN_NAME), ("surname", NameOID.SURNAME),
                 ("pseudonym", NameOID.PSEUDONYM)) if person.get(field)]
        elif NameOID.PSEUDONYM in present and present & {NameOID.GIVEN_NAME, NameOID.SURNAME}:
            raise BadCsr("a pseudonym does not stand beside a name")
        return attributes

    # the certificate

    def issue(self, order):
        """Issue for a checked order; returns what the store keeps."""
        csr = load_request(order.csr)
        profile = self.profile_of(order)
        bad = self.ca.behaviour.take_counted("bad_certificate")
        bad = bad["kind"] if isinstance(bad, dict) else bad
        draft = {
            "subject": self.subject(csr, order), "key": csr.public_key(),
            "addresses": list(order.addresses), "usage": self.key_usage(csr, order),
            "purposes": [ExtendedKeyUsageOID.EMAIL_PROTECTION], "ca": False,
            "policy": f"2.23.140.1.5.{TYPES[profile['type']]}.{GENERATIONS[profile['generation']]}",
            "crl": self.pki.http_url + "/intermediate.crl", "issuer": self.pki.intermediate,
            "chain": [self.pki.intermediate],
        }
        draft["begin"], draft["end"] = self.validity(order)
        if bad:
            spoil(draft, bad, profile, self.pki)
        certificate = build(draft, self.pki)
        return self.record(order, certificate, draft, profile, bad)

    def validity(self, order):
        behaviour = self.ca.behaviour
        # notBefore and notAfter both belong to the lifetime, hence the second.
        begin = datetime.datetime.utcfromtimestamp(int(time.time() - behaviour["backdate_seconds"]))
        seconds = behaviour["lifetime_seconds"]
        if seconds is None:
            seconds = behaviour["lifetime_days"] * 86400
        else:
            seconds += behaviour["backdate_seconds"]
        return begin, begin + datetime.timedelta(seconds=int(seconds) - 1)

    def record(self, order, certificate, draft, profile, bad):
        der = certificate.public_bytes(DER)
        pem = certificate.public_bytes(PEM).decode()
        serial = certificate.serial_number
        issued = Issued(
            new_id(), order.id, order.account, draft["addresses"], der, f"{serial:x}",
            certificate.fingerprint(hashes.SHA256()).hex(), renewal_id(certificate),
            certificate.not_valid_before.replace(tzinfo=datetime.timezone.utc).timestamp(),
            certificate.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp(),
            pem + "".join(authority.pem for authority in draft["chain"]))
        if self.ca.behaviour["alternate_chain"]:
            issued.alternate = pem + self.pki.cross.pem
        write(os.path.join(self.ca.certificates_dir, issued.serial + ".pem"), issued.chain.encode())
        name = f"{profile['type']}-{profile['generation']}"
        findings = lint.check(der, name, draft["issuer"].certificate.public_bytes(DER))
        failed = [f.text() for f in findings]
        self.ca.journal.event("issued", certificate=issued.id, order=order.id, account=order.account,
                              serial=issued.serial, fingerprint=issued.fingerprint, profile=name,
                              addresses=issued.addresses, usage=sorted(k for k, v in draft["usage"].items() if v),
                              bad=bad, lint=failed)
        if not bad and any(f.error for f in findings):
            self.ca.journal.event("internal_error", detail="an honest certificate fails its lint", lint=failed)
        return issued

    # revocation lists

    def crl(self):
        """The issuing CA's list, DER, made anew at each request."""
        builder = crl_builder(self.pki.intermediate)
        with self.ca.store.lock:
            for issued in self.ca.store.certificates.values():
                if issued.revoked:
                    builder = builder.add_revoked_certificate(revoked_entry(issued))
        return sign_crl(builder, self.pki.intermediate)

    @staticmethod
    def empty_crl(authority):
        return sign_crl(crl_builder(authority), authority)


def crl_builder(authority):
    now = datetime.datetime.utcnow()
    return (x509.CertificateRevocationListBuilder()
            .issuer_name(authority.certificate.subject)
            .last_update(now - datetime.timedelta(minutes=5))
            .next_update(now + datetime.timedelta(days=7))
            .add_extension(x509.CRLNumber(int(time.time() * 1000)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier(authority.key_identifier, None, None), critical=False))


def sign_crl(builder, authority):
    return builder.sign(authority.key, digest_for(authority.key)).public_bytes(DER)


def load_request(der):
    try:
        csr = x509.load_der_x509_csr(der)
        if not csr.is_signature_valid:
            raise BadCsr("the CSR's signature is wrong")
        csr.extensions  # parsed here, so that nonsense in them ends here
        csr.public_key()
        return csr
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension) as error:
        raise BadCsr(f"the CSR cannot be read: {error}") from error


def normal(address):
    """Domains do not depend on case, local parts may."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}"


def extension(thing, kind):
    try:
        return thing.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def requested_addresses(csr):
    names = extension(csr, x509.SubjectAlternativeName)
    if names is None:
        raise BadCsr("the CSR has no alternative name")
    for entry in names:
        if not isinstance(entry, x509.RFC822Name):
            raise BadCsr(f"the alternative name has an entry that is no address: {entry}")
    return [entry.value for entry in names]


def renewal_id(certificate):
    """RFC 9773 section 4.1."""
    identifier = extension(certificate, x509.AuthorityKeyIdentifier).key_identifier
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{jws.encode(identifier)}.{jws.encode(octets)}"


def revoked_entry(issued):
    flags = {1: x509.ReasonFlags.key_compromise, 3: x509.ReasonFlags.affiliation_changed,
             4: x509.ReasonFlags.superseded, 5: x509.ReasonFlags.cessation_of_operation}
    builder = (x509.RevokedCertificateBuilder().serial_number(int(issued.serial, 16))
               .revocation_date(datetime.datetime.utcfromtimestamp(issued.revoked)))
    if issued.reason in flags:
        builder = builder.add_extension(x509.CRLReason(flags[issued.reason]), critical=False)
    return builder.build()


def build(draft, pki):
    issuer = draft["issuer"]
    names = x509.SubjectAlternativeName([x509.RFC822Name(a) for a in draft["addresses"]])
    builder = (x509.CertificateBuilder()
               .subject_name(draft["subject"]).issuer_name(issuer.certificate.subject)
               .public_key(draft["key"]).serial_number(x509.random_serial_number())
               .not_valid_before(draft["begin"]).not_valid_after(draft["end"])
               .add_extension(usage(**draft["usage"]), critical=True)
               .add_extension(distribution_point(draft["crl"]), critical=False)
               .add_extension(issuer_access(pki.http_url + "/intermediate.der", pki.ocsp_url), critical=False)
               .add_extension(x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(draft["key"]), critical=False))
    if draft["addresses"]:
        builder = builder.add_extension(names, critical=not list(draft["subject"]))
    if draft["purposes"]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(draft["purposes"]), critical=False)
    if draft["policy"]:
        builder = builder.add_extension(x509.CertificatePolicies(
            [x509.PolicyInformation(ObjectIdentifier(draft["policy"]), None)]), critical=False)
    if draft["ca"]:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(issuer.key, digest_for(issuer.key))


def spoil(draft, kind, profile, pki):
    """Change an honest draft into the wrong certificate a switch asks for."""
    life = draft["end"] - draft["begin"]
    day = datetime.timedelta(days=1)
    number = TYPES[profile["type"]]
    generation = GENERATIONS[profile["generation"]]
    domain = draft["addresses"][0].rpartition("@")[2]
    is_rsa = isinstance(draft["key"], rsa.RSAPublicKey)
    encryption = {"key_encipherment" if is_rsa else "key_agreement": True}
    replacements = {
        "wrong_address": {"addresses": [f"mallory@{domain}"]},
        "extra_address": {"addresses": draft["addresses"] + [f"mallory@{domain}"]},
        "no_address": {"addresses": []},
        "wrong_policy": {"policy": f"2.23.140.1.5.{number % 4 + 1}.{generation}"},
        "no_policy": {"policy": None},
        "multipurpose_for_strict": {"policy": f"2.23.140.1.5.{number}.2"},
        "legacy": {"policy": f"2.23.140.1.5.{number}.1"},
        "expired": {"begin": draft["begin"] - life - day, "end": draft["begin"] - day},
        "not_yet_valid": {"begin": draft["end"] + day, "end": draft["end"] + day + life},
        "wrong_issuer": {"issuer": pki.stranger, "chain": [pki.stranger]},
        "missing_intermediate": {"chain": []},
        "foreign_intermediate": {"chain": [pki.stranger]},
        "extra_eku": {"purposes": draft["purposes"] + [ExtendedKeyUsageOID.CLIENT_AUTH]},
        "server_eku": {"purposes": draft["purposes"] + [ExtendedKeyUsageOID.SERVER_AUTH]},
        "no_email_eku": {"purposes": [ExtendedKeyUsageOID.CLIENT_AUTH]},
        "ca_true": {"ca": True},
        "lifetime_900_days": {"end": draft["begin"] + 900 * day},
        "ku_encrypt_only": {"usage": encryption},
        "ku_sign_only": {"usage": {"digital_signature": True}},
        "ku_cert_sign": {"usage": {**draft["usage"], "key_cert_sign": True}},
        "https_crl": {"crl": draft["crl"].replace("http:", "https:")},
        "extra_subject": {"subject": x509.Name(list(draft["subject"]) + [
            x509.NameAttribute(NameOID.TITLE, "Wizard"), x509.NameAttribute(NameOID.STREET_ADDRESS, "Tower 1")])},
    }
    if kind == "wrong_key":
        # Of the same kind, so that nothing but the key itself is wrong.
        draft["key"] = (rsa.generate_private_key(public_exponent=65537, key_size=draft["key"].key_size)
                        if is_rsa else new_key("p256")).public_key()
    else:
        draft.update(replacements[kind])
