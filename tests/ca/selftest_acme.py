"""Cases: signatures, nonces, accounts, faults of single requests, load."""

import http.client
import json
import os
import ssl
import threading
import time
import unittest
import urllib.error

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import behaviour
import config
from selftest_client import b64, unb64
from selftest_world import HERE, Case, World, headers_of, make_csr

HMAC_KEY = b64(b"k" * 32)


class Protocol(Case):
    """Signatures, nonces, accounts."""

    def test_nonce_twice(self):
        nonce = self.client.new_nonce()
        self.client.post_once(self.client.kid, None, nonce=nonce)
        self.refused("badNonce", 400, self.client.post_once, self.client.kid, None, nonce=nonce)
        self.refused("badNonce", 400, self.client.post_once, self.client.kid, None, nonce="invented")
        self.assertEqual(self.violations(), ["nonce_reused", "nonce_unknown"])

    def test_nonces_refused_by_chance(self):
        self.switch(nonce_reject_share=0.5)
        for _ in range(10):
            self.client.post(self.client.kid, None)
        self.assertEqual(self.violations(), [])
        self.assertTrue([r for r in self.log("request") if r.get("problem") == "badNonce"])

    def test_bad_signatures(self):
        def flip(body):
            body["signature"] = b64(bytes([unb64(body["signature"])[0] ^ 1]) + unb64(body["signature"])[1:])

        def pad(body):
            body["payload"] += "="

        kid = self.client.kid
        self.refused("malformed", 400, self.client.post_once, kid, {}, spoil=flip)
        self.refused("malformed", 400, self.client.post_once, kid, {}, spoil=pad)
        self.refused("malformed", 400, self.client.post_once, kid, {}, spoil=lambda b: b.update(header={}))
        self.refused("malformed", 400, self.client.post_once, kid, {}, jwk=self.client.jwk())
        self.refused("malformed", 400, self.client.post_once, kid, {}, kid=kid, jwk=self.client.jwk())
        self.refused("unauthorized", 401, self.client.post_once, kid, {}, url=kid + "/")
        self.refused("badSignatureAlgorithm", 400, self.client.post_once, kid, {}, alg="none")
        self.refused("badSignatureAlgorithm", 400, self.client.post_once, kid, {}, alg="HS256")
        self.refused("badSignatureAlgorithm", 400, self.client.post_once, kid, {}, alg="RS256")
        self.refused("malformed", 400, self.client.post_once, kid, {}, key=ec.generate_private_key(ec.SECP256R1()))
        self.refused("malformed", 415, self.client.post_once, kid, {}, content_type="application/json")
        self.refused("accountDoesNotExist", 400, self.client.post_once, kid, {}, kid=kid + "0")

    def test_other_key_types(self):
        key = ec.generate_private_key(ec.SECP384R1())
        numbers = key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-384", "x": b64(numbers.x.to_bytes(48, "big")),
               "y": b64(numbers.y.to_bytes(48, "big"))}
        self.register_with(jwk, "ES384", lambda data: p1363(key.sign(data, ec.ECDSA(hashes.SHA384())), 48))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = {"kty": "RSA", "e": "AQAB", "n": b64(key.public_key().public_numbers().n.to_bytes(256, "big"))}
        self.register_with(jwk, "RS256", lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()))

    def register_with(self, jwk, alg, sign):
        url = self.client.directory["newAccount"]
        protected = b64(json.dumps({"alg": alg, "jwk": jwk, "url": url, "nonce": self.client.new_nonce()}).encode())
        payload = b64(b'{"termsOfServiceAgreed": true}')
        body = {"protected": protected, "payload": payload,
                "signature": b64(sign(f"{protected}.{payload}".encode()))}
        answer = self.client.request("POST", url, json.dumps(body), {"Content-Type": "application/jose+json"})
        self.assertEqual(answer.status, 201, answer.body)

    def test_get_is_not_allowed(self):
        answer = self.client.get(self.client.kid)
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "POST"))
        self.assertEqual(self.client.get(self.client.directory["newNonce"]).status, 204)
        self.assertEqual(self.client.get(self.client.base_url + "/nothing").status, 404)

    def test_headers_of_answers(self):
        answer = self.client.post(self.client.kid, None)
        self.assertIn('rel="index"', answer.headers["Link"])
        self.assertTrue(answer.headers["Replay-Nonce"])
        self.assertEqual(answer.headers["Location"], self.client.kid)

    def test_accounts(self):
        kid, self.client.kid = self.client.kid, None
        found = self.client.post(self.client.directory["newAccount"], {"onlyReturnExisting": True})
        self.assertEqual((found.status, found.headers["Location"]), (200, kid))
        other = self.new_client()
        self.refused("accountDoesNotExist", 400, other.register, onlyReturnExisting=True)
        self.refused("userActionRequired", 403, other.register, termsOfServiceAgreed=False)
        self.refused("unsupportedContact", 400, other.register, contact=["tel:+49"])
        self.refused("invalidContact", 400, other.register, contact=["mailto:a@b.example,c@d.example"])
        other.register()
        self.client.kid = kid
        self.refused("unauthorized", 403, self.client.post, other.kid, None)
        changed = self.client.post(kid, {"contact": ["mailto:new@example.org"]})
        self.assertEqual(changed.json["contact"], ["mailto:new@example.org"])
        self.assertEqual(self.client.post(kid, {"status": "deactivated"}).json["status"], "deactivated")
        self.refused("unauthorized", 401, self.client.post, kid, None)

    def test_key_change(self):
        url = self.client.directory["keyChange"]
        new = ec.generate_private_key(ec.SECP256R1())
        payload = {"account": self.client.kid, "oldKey": self.client.jwk()}
        inner = self.client.jws({"url": url, "jwk": self.client.jwk(new)}, payload, new)
        wrong = self.client.jws({"url": url, "jwk": self.client.jwk(new)}, payload)
        self.refused("malformed", 400, self.client.post, url, wrong)
        self.client.post(url, inner)
        self.refused("malformed", 400, self.client.post, self.client.kid, None)
        self.client.key = new
        self.client.post(self.client.kid, None)
        taken = self.new_client()
        taken.register()
        inner = self.client.jws({"url": url, "jwk": taken.jwk()}, {"account": self.client.kid,
                                "oldKey": self.client.jwk()}, taken.key)
        refusal = self.refused("malformed", 409, self.client.post, url, inner)
        self.assertEqual(refusal.answer.headers["Location"], taken.kid)

    def test_orders_that_are_refused(self):
        order = self.client.order
        self.refused("unsupportedIdentifier", 400, order, self.address, kind="dns")
        self.refused("rejectedIdentifier", 400, order, "no address")
        self.refused("rejectedIdentifier", 400, order, "jörg@example.org")
        self.refused("malformed", 400, order)
        self.refused("malformed", 400, order, self.address, self.address)
        self.refused("invalidProfile", 400, order, self.address, profile="tlsserver")
        self.refused("malformed", 400, order, self.address, replaces="a.b")
        self.refused("rejectedIdentifier", 400, order, *[f"{i}.{self.address}" for i in range(11)])
        self.switch(reject_identifiers=["example.net"])
        refusal = self.refused("rejectedIdentifier", 400, order, self.address, "x@example.net")
        self.assertEqual(refusal.problem["subproblems"][0]["identifier"]["value"], "x@example.net")
        self.switch(identifier_type="dns")
        order(self.address, kind="dns")

    def test_challenge_payload_and_foreign_objects(self):
        url, order, authorization, challenge, _ = self.begin()
        self.refused("malformed", 400, self.client.post, challenge["url"], {"keyAuthorization": "x"})
        self.refused("malformed", 400, self.client.post, url, {})
        other = self.new_client()
        other.register()
        for link in (url, authorization, challenge["url"]):
            self.refused("unauthorized", 403, other.post, link, None)
        self.assertEqual(self.client.post(authorization, {"status": "deactivated"}).json["status"], "deactivated")
        self.assertEqual(self.client.fetch(url)["status"], "invalid")

    def test_early_polling_is_written_down(self):
        self.switch(poll_retry_after=3)
        _, _, authorization, challenge, _ = self.begin()
        self.assertEqual(self.client.post(challenge["url"], {}).headers["Retry-After"], "3")
        self.assertEqual(self.client.post(authorization, None).headers["Retry-After"], "3")
        self.client.post(authorization, None)
        self.assertEqual(self.violations(), ["retry_after_ignored"])
        self.switch(retry_after_as_date=True)
        self.assertIn("GMT", self.client.post(authorization, None).headers["Retry-After"])


def p1363(signature, size):

    r, s = decode_dss_signature(signature)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


class Binding(Case):
    """External account binding, and two listeners in one configuration."""

    @classmethod
    def setUpClass(cls):
        cls.world = World(eab={"kid-1": {"key": HMAC_KEY, "alg": "HS256"}}, eab_required=True)
        cls.admin, cls.user, cls.mailbox = cls.world.admin, cls.world.user, cls.world.mailbox

    def setUp(self):
        self.client = self.new_client()

    def test_binding(self):
        self.assertTrue(self.client.directory["meta"]["externalAccountRequired"])
        self.refused("externalAccountRequired", 403, self.client.register)
        self.refused("unauthorized", 403, self.client.register, eab=("kid-2", HMAC_KEY))
        self.refused("unauthorized", 403, self.client.register, eab=("kid-1", b64(b"z" * 32)))
        answer = self.client.register(eab=("kid-1", HMAC_KEY))
        self.assertEqual(answer.status, 201)
        self.assertIn("externalAccountBinding", answer.json)


class Misbehaviour(Case):
    """Faults of single requests."""

    def test_problem_with_retry_after(self):
        self.switch(faults={"newOrder": {"status": 429, "type": "rateLimited", "retry_after": 7, "count": 2}})
        for _ in range(2):
            refusal = self.refused("rateLimited", 429, self.client.order, self.address)
            self.assertEqual(refusal.answer.headers["Retry-After"], "7")
        self.client.order(self.address)

    def test_act_and_drop(self):
        self.switch(faults={"newOrder": {"drop_after": True}})
        with self.assertRaises((http.client.HTTPException, OSError)):
            self.client.order(self.address)
        self.client.nonce = None
        self.client.order(self.address)
        self.assertEqual(len(self.log("order_created")), 2)

    def test_drop_without_acting(self):
        self.switch(faults={"newOrder": {"drop": True}})
        with self.assertRaises((http.client.HTTPException, OSError)):
            self.client.order(self.address)
        self.assertEqual(self.log("order_created"), [])

    def test_hang(self):
        self.switch(faults={"directory": {"hang": 0.5}, "newOrder": {"hang_after": "forever"}})
        started = time.monotonic()
        self.client.get(self.client.base_url + "/directory")
        self.assertGreater(time.monotonic() - started, 0.5)
        self.client.close()
        self.client.new_nonce()
        self.client.connection.sock.settimeout(0.5)
        with self.assertRaises(OSError):
            self.client.order(self.address)
        self.assertEqual(len(self.log("order_created")), 1)

    def test_spoiled_answers(self):
        url = self.client.base_url + "/directory"
        self.switch(faults={"directory": [{"body": "garbage"}, {"body": "truncated"}, {"body": "empty"},
                                          {"content_type": "text/html"}, {"status": 503}, {"no_nonce": True}]})
        self.assertRaises(ValueError, lambda: self.client.get(url).json)
        self.assertRaises(http.client.IncompleteRead, lambda: self.client.get(url))
        self.client.close()
        self.assertEqual(self.client.get(url).body, b"")
        self.assertEqual(self.client.get(url).headers["Content-Type"], "text/html")
        self.assertEqual(self.client.get(url).status, 503)
        self.assertIsNone(self.client.get(url).headers["Replay-Nonce"])
        self.assertEqual(self.client.get(url).json, self.client.directory)

    def test_faults_for_one_address_or_order(self):
        other = "other." + self.address
        self.switch(authz_valid=True, faults={
            "newOrder": [{"address": other, "status": 503, "count": -1}, {"status": 500}],
            "order": {"order_status": "ready", "address": self.address, "status": 503, "count": -1}})
        self.refused("serverInternal", 503, self.client.order, other)
        self.refused("serverInternal", 500, self.client.order, self.address)
        url, order = self.client.order(self.address)
        self.refused("serverInternal", 503, self.client.order, other)
        self.refused("serverInternal", 503, self.client.fetch, url)
        self.client.post(order["finalize"], {"csr": make_csr([self.address])[1]})
        self.assertEqual(self.client.fetch(url)["status"], "valid")
        about = [r["concerns"] for r in self.log("request") if r["endpoint"] in ("newOrder", "order", "finalize")]
        self.assertEqual(about, [[other], [self.address], [self.address], [other]] + [[self.address]] * 3)

    def test_issuance_held(self):
        self.switch(authz_valid=True, issuance_held=True)
        url, order = self.client.order(self.address)
        self.client.post(order["finalize"], {"csr": make_csr([self.address])[1]})
        self.assertEqual({self.client.fetch(url)["status"] for _ in range(3)}, {"processing"})
        self.switch(issuance_held=False)
        self.assertEqual(self.client.fetch(url)["status"], "valid")

    def test_another_status_after_acting(self):
        self.switch(faults={"newOrder": {"answer_status": 200}})
        answer = self.client.post(self.client.directory["newOrder"],
                                  {"identifiers": [{"type": "email", "value": self.address}]})
        self.assertEqual(answer.status, 200)
        self.assertEqual([r["done"] for r in self.log("request") if "done" in r], [201])

    def test_door(self):
        self.addCleanup(self.admin.post, "/door", {"how": "open"})
        self.client.new_nonce()
        self.admin.post("/door", {"how": "refuse"})
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.client.new_nonce()     # the connection has ended
        with self.assertRaises(ConnectionRefusedError):
            self.client.new_nonce()
        self.admin.post("/door", {"how": "stranger"})
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.client.new_nonce()
        self.admin.post("/door", {"how": "open"})
        self.client.new_nonce()
        self.client.order(self.address)

    def test_order_and_challenge_end_invalid(self):
        self.switch(challenge_invalid=True)
        url, _, authorization, challenge, _ = self.begin()
        self.client.post(challenge["url"], {})
        error = self.client.fetch(authorization)["challenges"][0]["error"]
        self.assertEqual(len(error["subproblems"]), 2)
        self.assertEqual(self.client.fetch(url)["error"]["subproblems"][0]["identifier"]["value"], self.address)
        self.admin.post("/reset-behaviour")
        self.switch(order_invalid={"type": "caa", "detail": "CAA forbids it", "count": 1})
        _, done = self.issue()
        self.assertEqual(done["status"], "invalid")
        self.assertTrue(done["error"]["type"].endswith("caa"))

    def test_unknown_switches_are_refused(self):
        for wrong in ({"no_such": 1}, {"token_join": "xor"}, {"faults": {"nowhere": {}}},
                      {"faults": {"order": {"explode": 1}}}, {"bad_certificate": "ugly"}):
            with self.subTest(wrong), self.assertRaises(urllib.error.HTTPError):
                self.switch(**wrong)

    def test_authorizations_valid_from_the_start(self):
        self.switch(authz_valid=["example.org"])
        url, order = self.client.order(self.address)
        self.assertEqual(order["status"], "ready")
        self.assertEqual(self.client.fetch(order["authorizations"][0])["status"], "valid")
        self.assertEqual(self.client.order("user@example.net")[1]["status"], "pending")

    def test_authorizations_valid_by_another_method(self):
        for method in ("dns-01", ""):
            self.switch(authz_valid=True, authz_method=method)
            order = self.client.order(self.address)[1]
            challenges = self.client.fetch(order["authorizations"][0])["challenges"]
            self.assertEqual([(c["type"], c["status"]) for c in challenges], [(method, "valid")] if method else [])


class Load(Case):
    def test_many_orders_at_once(self):
        self.switch(nonce_reject_share=0.1)
        failures = []

        def run(number):
            try:
                case = Case()
                case.mark, case.address = self.mark, f"load{number}@example.org"
                case.client = self.world.client()
                case.client.register()
                case.world, case.mailbox = self.world, self.mailbox
                url, order, authorization, challenge, mail = case.begin()
                token = headers_of(mail)["Subject"].partition(": ")[2]
                reply = self.user.reply(mail, case.client.digest(token, challenge["token"]))
                self.user.send(reply, case.address, "acme-reply@ca.example")
                case.client.post(challenge["url"], {})
                case.client.poll(authorization, "valid", seconds=30)
                case.finalize(url, order)
                case.client.close()
            except Exception as error:
                failures.append(repr(error))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(self.log("issued")), 60)
        self.assertEqual(self.violations(), [])


class Documentation(unittest.TestCase):
    def test_readme_has_the_switches(self):
        with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertIn(behaviour.switch_table(), text, "print it with behaviour.switch_table()")
        for name in (*behaviour.PRESETS, *behaviour.BAD_CERTIFICATES, *behaviour.FAULT_KEYS, *behaviour.ENDPOINTS):
            self.assertIn(f"`{name}`", text)
        for name in config.DEFAULTS:
            self.assertIn(f"`{name}`", text)
