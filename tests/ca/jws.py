"""JSON Web Signatures as RFC 8555 uses them: flattened, strict, few algorithms."""

import base64
import functools
import hashlib
import hmac
import json
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from problem import Problem

ACCOUNT_ALGORITHMS = ("ES256", "ES384", "RS256")
MAC_ALGORITHMS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
CURVES = {"P-256": (ec.SECP256R1(), 32, "ES256"), "P-384": (ec.SECP384R1(), 48, "ES384")}
BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text, what="a field"):
    """Base64url without padding, and nothing else."""
    if not isinstance(text, str) or not BASE64URL.match(text) or len(text) % 4 == 1:
        raise Problem("malformed", f"{what} is not base64url without padding", kind="base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(jwk):
    """RFC 7638, base64url."""
    names = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in names}, sort_keys=True, separators=(",", ":"))
    return encode(hashlib.sha256(canonical.encode("ascii")).digest())


def public_jwk(jwk):
    """Only the members that make the key, checked; the form in which keys are compared."""
    if not isinstance(jwk, dict):
        raise Problem("malformed", "jwk is not an object", kind="jwk")
    if set(jwk) & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}:
        raise Problem("malformed", "jwk carries private members", kind="jwk_private")
    wanted = {"EC": ("kty", "crv", "x", "y"), "RSA": ("kty", "n", "e")}.get(jwk.get("kty"))
    if wanted is None:
        raise Problem("badPublicKey", f"key type {jwk.get('kty')!r} is not supported")
    if any(not isinstance(jwk.get(name), str) for name in wanted):
        raise Problem("malformed", "jwk lacks members", kind="jwk")
    result = {name: jwk[name] for name in wanted}
    public_key(json.dumps(result, sort_keys=True))
    return result


@functools.lru_cache(maxsize=4096)
def public_key(canonical):
    """(key, algorithm) of a JWK given as JSON text."""
    jwk = json.loads(canonical)
    try:
        if jwk["kty"] == "EC":
            curve, size, algorithm = CURVES[jwk["crv"]]
            x, y = decode(jwk["x"], "x"), decode(jwk["y"], "y")
            if len(x) != size or len(y) != size:
                raise Problem("malformed", "EC coordinates have the wrong length", kind="jwk")
            numbers = ec.EllipticCurvePublicNumbers(
                int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
            return numbers.public_key(), algorithm
        modulus = decode(jwk["n"], "n")
        if modulus[:1] == b"\0":
            raise Problem("malformed", "RSA modulus has leading zeros", kind="jwk")
        if not 2048 <= len(modulus) * 8 <= 4096:
            raise Problem("badPublicKey", "RSA keys have 2048 to 4096 bits here")
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(decode(jwk["e"], "e"), "big"), int.from_bytes(modulus, "big"))
        return numbers.public_key(), "RS256"
    except (KeyError, ValueError) as error:
        raise Problem("badPublicKey", f"unusable key: {error}") from error


def jwk_of(key):
    """The JWK of a cryptography public key; None when ACME here has no algorithm for it."""
    numbers = key.public_numbers() if hasattr(key, "public_numbers") else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        for name, (curve, size, _) in CURVES.items():
            if curve.name == key.curve.name:
                return {"kty": "EC", "crv": name, "x": encode(numbers.x.to_bytes(size, "big")),
                        "y": encode(numbers.y.to_bytes(size, "big"))}
    if isinstance(key, rsa.RSAPublicKey):
        def number(value):
            return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    return None


class Envelope:
    """A flattened JWS, taken apart but not yet verified."""

    def __init__(self, value):
        if not isinstance(value, dict) or "signatures" in value or "header" in value:
            raise Problem("malformed", "not a flattened JWS with protected header only", kind="jws")
        for name in ("protected", "payload", "signature"):
            if not isinstance(value.get(name), str):
                raise Problem("malformed", f"JWS lacks {name}", kind="jws")
        self.signed = f"{value['protected']}.{value['payload']}".encode("ascii", "replace")
        self.payload = decode(value["payload"], "payload")
        self.signature = decode(value["signature"], "signature")
        try:
            self.header = json.loads(decode(value["protected"], "protected"))
        except ValueError as error:
            raise Problem("malformed", "protected header is not JSON", kind="jws") from error
        if not isinstance(self.header, dict):
            raise Problem("malformed", "protected header is not an object", kind="jws")
        if "crit" in self.header or "b64" in self.header:
            raise Problem("malformed", "crit and b64 are not supported", kind="jws")

    @classmethod
    def parse(cls, body):
        try:
            value = json.loads(body)
        except ValueError as error:
            raise Problem("malformed", "the request is not JSON", kind="jws") from error
        return cls(value)

    def json_payload(self):
        """The payload as an object; the empty payload of POST-as-GET is not one."""
        try:
            value = json.loads(self.payload)
        except ValueError as error:
            raise Problem("malformed", "the payload is not JSON", kind="payload") from error
        if not isinstance(value, dict):
            raise Problem("malformed", "the payload is not an object", kind="payload")
        return value

    def verify(self, jwk):
        """By an account or certificate key; raises Problem."""
        algorithm = self.header.get("alg")
        if algorithm not in ACCOUNT_ALGORITHMS:
            raise Problem("badSignatureAlgorithm", f"alg {algorithm!r} is not supported",
                          algorithms=list(ACCOUNT_ALGORITHMS))
        key, fitting = public_key(json.dumps(jwk, sort_keys=True))
        if algorithm != fitting:
            raise Problem("badSignatureAlgorithm", f"this key signs with {fitting}, not {algorithm}",
                          algorithms=[fitting], kind="alg")
        try:
            if fitting == "RS256":
                key.verify(self.signature, self.signed, padding.PKCS1v15(), hashes.SHA256())
                return
            size = 32 if fitting == "ES256" else 48
            if len(self.signature) != 2 * size:
                raise InvalidSignature
            pair = encode_dss_signature(int.from_bytes(self.signature[:size], "big"),
                                        int.from_bytes(self.signature[size:], "big"))
            digest = hashes.SHA256() if fitting == "ES256" else hashes.SHA384()
            key.verify(pair, self.signed, ec.ECDSA(digest))
        except InvalidSignature as error:
            raise Problem("malformed", "the JWS signature is wrong", kind="signature") from error

    def verify_mac(self, key, algorithm):
        """By the shared key of an external account binding; raises Problem."""
        if self.header.get("alg") != algorithm or algorithm not in MAC_ALGORITHMS:
            raise Problem("malformed", f"the binding must use {algorithm}", kind="eab")
        expected = hmac.new(key, self.signed, MAC_ALGORITHMS[algorithm]).digest()
        if not hmac.compare_digest(expected, self.signature):
            raise Problem("unauthorized", "the external account binding does not verify")
