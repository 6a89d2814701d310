"""Keys and CA certificates: roots, the issuing CA, its cross certificate, the TLS server.

All are made once and kept in the state directory, so that a restarted CA is the same CA.
"""

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
ANY_POLICY = x509.ObjectIdentifier("2.5.29.32.0")


def new_key(kind):
    """kind: p256, p384 or rsa (3072 bits)."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1}[kind]())


def digest_for(key):
    """The hash the S/MIME Baseline Requirements pair with a signing key."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return hashes.SHA384()
    return hashes.SHA256()


def key_pem(key):
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write(path, data, mode=0o644):
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def usage(**bits):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names})


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
                      x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test CA"),
                      x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A CA certificate with its key."""

    def __init__(self, certificate, key):
        self.certificate = certificate
        self.key = key

    @property
    def pem(self):
        return self.certificate.public_bytes(PEM).decode()

    @property
    def key_identifier(self):
        return x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key()).digest


def make_authority(common_name, key, issuer=None, crl_url=None, issuer_url=None):
    """A root (no issuer) or a CA below one, allowed to issue for e-mail only."""
    now = datetime.datetime.utcnow().replace(microsecond=0)
    subject = name(common_name)
    builder = (x509.CertificateBuilder()
               .subject_name(subject)
               .issuer_name(issuer.certificate.subject if issuer else subject)
               .public_key(key.public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(days=2))
               .not_valid_after(now + datetime.timedelta(days=3650 if issuer else 7300))
               .add_extension(x509.BasicConstraints(True, 0 if issuer else None), critical=True)
               .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False))
    if issuer:
        builder = (builder
                   .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
                   .add_extension(x509.CertificatePolicies([x509.PolicyInformation(ANY_POLICY, None)]), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier(issuer.key_identifier, None, None), critical=False)
                   .add_extension(distribution_point(crl_url), critical=False)
                   .add_extension(issuer_access(issuer_url), critical=False))
    signer = issuer.key if issuer else key
    return Authority(builder.sign(signer, digest_for(signer)), key)


def distribution_point(url):
    return x509.CRLDistributionPoints([x509.DistributionPoint(
        [x509.UniformResourceIdentifier(url)], None, None, None)])


def issuer_access(url, ocsp_url=None):
    methods = x509.AuthorityInformationAccessOID
    places = [(methods.OCSP, ocsp_url)] if ocsp_url else []
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, x509.UniformResourceIdentifier(place))
                                            for method, place in places + [(methods.CA_ISSUERS, url)]])


class Pki:
    """The authorities of one test CA: `root`, `alternate_root`, `intermediate`, `cross`
    (the intermediate's key under the alternate root), and a stranger with the same names."""

    def __init__(self, state_dir, kind, http_url, ocsp_url=None):
        self.state_dir = state_dir
        self.kind = kind
        self.http_url = http_url
        self.ocsp_url = ocsp_url        # into certificates of users
        self.root = self.authority("root", "Test S/MIME Root X1")
        self.alternate_root = self.authority("alternate-root", "Test S/MIME Root X2")
        self.intermediate = self.authority("intermediate", "Test S/MIME Issuing CA 1", self.root)
        self.cross = self.authority("cross", "Test S/MIME Issuing CA 1", self.alternate_root,
                                    self.intermediate.key, above="alternate-root")
        self.stranger_root = self.authority("stranger-root", "Test S/MIME Root X1")
        self.stranger = self.authority("stranger", "Test S/MIME Issuing CA 1", self.stranger_root)

    def path(self, file):
        return os.path.join(self.state_dir, file)

    def authority(self, stem, common_name, issuer=None, key=None, above="root"):
        certificate_path, key_path = self.path(stem + ".pem"), self.path(stem + ".key")
        if os.path.exists(certificate_path):
            with open(certificate_path, "rb") as file:
                certificate = x509.load_pem_x509_certificate(file.read())
            if key is None:
                with open(key_path, "rb") as file:
                    key = serialization.load_pem_private_key(file.read(), None)
            return Authority(certificate, key)
        own_key = key or new_key(self.kind)
        made = make_authority(common_name, own_key, issuer, f"{self.http_url}/{above}.crl",
                              f"{self.http_url}/{above}.der")
        if key is None:
            write(key_path, key_pem(own_key), 0o600)
        write(certificate_path, made.pem.encode())
        return made


def make_tls(state_dir, host_names):
    """A root and a server certificate of its own for HTTPS; returns the paths (certificate, key)."""
    paths = [os.path.join(state_dir, file) for file in ("tls.pem", "tls.key", "tls-root.pem")]
    if all(os.path.exists(path) for path in paths) and names_in(paths[0]) == set(map(general_name, host_names)):
        return paths[0], paths[1]
    now = datetime.datetime.utcnow().replace(microsecond=0)
    root_key, key = new_key("p256"), new_key("p256")
    # A lifetime within the 398 days that TLS clients may insist on.
    begin, end = now - datetime.timedelta(days=1), now + datetime.timedelta(days=390)

    def builder(subject, public_key):
        return (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("Test TLS Root"))
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(begin).not_valid_after(end))

    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (builder("Test TLS Root", root_key.public_key())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(root_key, hashes.SHA256()))
    server = (builder(host_names[0][:64], key.public_key())
              .add_extension(x509.SubjectAlternativeName([general_name(n) for n in host_names]), critical=False)
              .add_extension(x509.BasicConstraints(False, None), critical=True)
              .add_extension(usage(digital_signature=True), critical=True)
              .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
              .add_extension(x509.AuthorityKeyIdentifier(identifier.digest, None, None), critical=False)
              .sign(root_key, hashes.SHA256()))
    write(paths[1], key_pem(key), 0o600)
    write(paths[0], server.public_bytes(PEM))
    write(paths[2], root.public_bytes(PEM))
    return paths[0], paths[1]


def names_in(path):
    with open(path, "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def general_name(text):
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
