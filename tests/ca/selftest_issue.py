"""Cases: what is issued, honestly and otherwise, and what happens to it later."""

import datetime
import os
import subprocess
import sys
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import behaviour
import lint
from selftest_client import b64, make_csr, unb64
from selftest_world import HERE, Case, split_chain, verify_chain


class Certificates(Case):
    """What is issued, honestly and otherwise."""

    def test_key_usage(self):
        for usage, wanted in ((("digital_signature",), {"digital_signature"}),
                              (("digital_signature", "content_commitment"),
                               {"digital_signature", "content_commitment"}),
                              (("key_agreement",), {"key_agreement"}),
                              (None, {"digital_signature", "key_agreement"})):
            _, chain = self.issue(usage)
            self.assertEqual(usage_of(chain[0]), wanted)
        _, chain = self.issue(("key_encipherment",), rsa.generate_private_key(public_exponent=65537, key_size=2048))
        self.assertEqual(usage_of(chain[0]), {"key_encipherment"})
        _, chain = self.issue(profile="signing")
        self.assertEqual(usage_of(chain[0]), {"digital_signature"})
        self.refused("badCSR", 400, self.issue, ("key_agreement",), profile="signing")
        self.assertEqual([r["lint"] for r in self.log("issued") if r["lint"]], [])

    def test_profiles(self):
        person = [(NameOID.GIVEN_NAME, "Alice"), (NameOID.SURNAME, "Example"), (NameOID.COMMON_NAME, "Alice Example")]
        for profile, subject in (("mailbox-strict", [(NameOID.COMMON_NAME, self.address)]),
                                 ("mailbox-multipurpose", person), ("organization-strict", ()),
                                 ("organization-multipurpose", ()), ("sponsor-strict", person),
                                 ("sponsor-multipurpose", person), ("individual-strict", person),
                                 ("individual-multipurpose", person)):
            with self.subTest(profile):
                _, chain = self.issue(profile=profile, subject=subject)
                record = self.log("issued")[-1]
                self.assertEqual((record["profile"], record["lint"]), (profile, []))
                policy = chain[0].extensions.get_extension_for_class(x509.CertificatePolicies).value[0]
                self.assertEqual(policy.policy_identifier.dotted_string,
                                 f"2.23.140.1.5.{lint.TYPES[record['profile'].split('-')[0]]}."
                                 f"{lint.GENERATIONS[record['profile'].split('-')[1]]}")
        self.refused("badCSR", 400, self.issue, profile="sponsor-strict")

    def test_bad_requests(self):
        self.switch(authz_valid=True)
        url, order = self.client.order(self.address)
        finalize = lambda csr: self.client.post(order["finalize"], {"csr": csr})
        self.refused("badCSR", 400, finalize, make_csr(["mallory@example.org"])[1])
        self.refused("badCSR", 400, finalize, make_csr([self.address, "mallory@example.org"])[1])
        self.refused("badCSR", 400, finalize, make_csr([self.address], self.client.key)[1])
        self.refused("badCSR", 400, finalize, make_csr([self.address], ec.generate_private_key(ec.SECP256K1()))[1])
        self.refused("badCSR", 400, finalize, make_csr([self.address], usage=("key_cert_sign",))[1])
        self.refused("badCSR", 400, finalize, make_csr(
            [self.address], subject=[(NameOID.EMAIL_ADDRESS, "mallory@example.org")])[1])
        good = unb64(make_csr([self.address])[1])
        self.refused("badCSR", 400, finalize, b64(good[:-1] + bytes([good[-1] ^ 1])))
        self.refused("badCSR", 400, finalize, b64(b"0"))
        self.assertEqual(self.client.fetch(url)["status"], "ready")
        finalize(b64(good))
        self.refused("orderNotReady", 403, finalize, b64(good))
        self.assertIn("finalized_twice", self.violations())

    def test_finalize_too_early(self):
        _, order = self.client.order(self.address)
        self.refused("orderNotReady", 403, self.client.post, order["finalize"], {"csr": make_csr([self.address])[1]})

    def test_processing(self):
        self.switch(finalize_processing=2, poll_retry_after=0)
        self.switch(authz_valid=True)
        url, order = self.client.order(self.address)
        answer = self.client.post(order["finalize"], {"csr": make_csr([self.address])[1]})
        seen = [answer.json["status"]] + [self.client.fetch(url)["status"] for _ in range(3)]
        self.assertEqual(seen, ["processing", "processing", "processing", "valid"])

    def test_every_wrong_certificate_is_wrong(self):
        expected = {
            "wrong_policy": "POL-3", "no_policy": "POL-1", "multipurpose_for_strict": "POL-3", "legacy": "POL-2",
            "extra_eku": "EKU-2", "server_eku": "EKU-3", "no_email_eku": "EKU-1", "ca_true": "BC-1",
            "lifetime_900_days": "VAL-1", "ku_cert_sign": "KU-4", "https_crl": "CRL-2", "extra_subject": "DN-3",
            "no_address": "SAN-1"}
        root = x509.load_pem_x509_certificate(self.admin.raw("/root.pem"))
        now = datetime.datetime.utcnow()
        for kind in behaviour.BAD_CERTIFICATES:
            with self.subTest(kind):
                self.switch(bad_certificate={"kind": kind, "count": 1})
                key, chain = self.issue()
                record = self.log("issued")[-1]
                self.assertEqual(record["bad"], kind)
                ids = [line.split()[0] for line in record["lint"] if " error:" in line]
                leaf = chain[0]
                if kind in expected:
                    self.assertIn(expected[kind], ids)
                    continue
                self.assertEqual(ids, [])
                names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                addresses = names.get_values_for_type(x509.RFC822Name)
                same_key = leaf.public_key().public_numbers() == key.public_key().public_numbers()
                try:
                    verify_chain(chain, root)
                    sound = len(chain) == 2
                except Exception:
                    sound = False
                facts = {"wrong_key": not same_key, "wrong_address": addresses == ["mallory@example.org"],
                         "extra_address": addresses == [self.address, "mallory@example.org"],
                         "expired": leaf.not_valid_after < now, "not_yet_valid": leaf.not_valid_before > now,
                         "wrong_issuer": not sound, "missing_intermediate": len(chain) == 1,
                         "foreign_intermediate": not sound, "ku_encrypt_only": usage_of(leaf) == {"key_agreement"},
                         "ku_sign_only": usage_of(leaf) == {"digital_signature"}}
                self.assertTrue(facts[kind])
                self.assertEqual(same_key, kind != "wrong_key")
        _, chain = self.issue()
        self.assertEqual(self.log("issued")[-1]["lint"], [])

    def test_alternate_chain(self):
        self.switch(alternate_chain=True, authz_valid=True)
        url, order = self.client.order(self.address)
        self.finalize(url, order)
        link = self.client.fetch(url)["certificate"]
        answer = self.client.post(link, None)
        other = next(v for v in answer.headers.get_all("Link") if "alternate" in v)
        chain = split_chain(self.client.post(other[1:other.index(">")], None).body)
        verify_chain(chain, x509.load_pem_x509_certificate(self.admin.raw("/alternate-root.pem")))

    def test_revocation(self):
        url = self.client.directory["revokeCert"]
        key, chain = self.issue()
        der = b64(chain[0].public_bytes(serialization.Encoding.DER))
        self.refused("badRevocationReason", 400, self.client.post, url, {"certificate": der, "reason": 7})
        other = self.new_client()
        other.register()
        self.refused("unauthorized", 403, other.post, url, {"certificate": der})
        self.client.post(url, {"certificate": der, "reason": 4})
        self.refused("alreadyRevoked", 400, self.client.post, url, {"certificate": der})
        second_key, chain = self.issue()
        der = b64(chain[0].public_bytes(serialization.Encoding.DER))
        self.client.post(url, {"certificate": der}, key=second_key, jwk=self.client.jwk(second_key))
        crl = x509.load_der_x509_crl(self.admin.raw("/intermediate.crl"))
        self.assertEqual(len(self.log("revoked")), 2)
        self.assertIsNotNone(crl.get_revoked_certificate_by_serial_number(chain[0].serial_number))

    def test_renewal_information(self):
        _, chain = self.issue()
        leaf = chain[0]
        identifier = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
        name = f"{b64(identifier)}.{b64(serial)}"
        link = f"{self.client.directory['renewalInfo']}/{name}"
        answer = self.client.get(link)
        self.assertEqual(answer.headers["Retry-After"], "21600")
        start = datetime.datetime.strptime(answer.json["suggestedWindow"]["start"], "%Y-%m-%dT%H:%M:%SZ")
        self.assertTrue(datetime.datetime.utcnow() < start < leaf.not_valid_after)
        self.switch(renewal_window="now")
        early = self.client.get(link).json["suggestedWindow"]["start"]
        self.assertLess(early, datetime.datetime.utcnow().isoformat())
        self.assertEqual(self.client.get(link + "0").status, 404)
        _, order = self.client.order(self.address, replaces=name)
        self.assertEqual(order["replaces"], name)
        self.refused("alreadyReplaced", 409, self.client.order, self.address, replaces=name)

    def test_lint_as_a_program(self):
        _, chain = self.issue()
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("leaf.pem", "chain.pem")]
            for path, certificate in zip(paths, chain):
                with open(path, "wb") as file:
                    file.write(certificate.public_bytes(serialization.Encoding.PEM))
            command = [sys.executable, os.path.join(HERE, "lint.py"), paths[0], "--chain", paths[1], "--profile"]
            good = subprocess.run(command + ["mailbox-strict"], capture_output=True, text=True)
            bad = subprocess.run(command + ["sponsor-strict"], capture_output=True, text=True)
        self.assertEqual((good.returncode, good.stdout), (0, ""))
        self.assertEqual(bad.returncode, 1)
        self.assertIn("POL-3", bad.stdout)


def usage_of(certificate):
    value = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign"]
    return {name for name in names if getattr(value, name)}
