#!/usr/bin/python3
"""The CA client against tests/ca, what comes after the first certificate: renewal information, predecessors, alternate chains,
revocation; and the life of the account: contact, new keys, its end.

    cd BUILD; tests/ca_client_account.py [unittest arguments]

Ends with 77 when something it needs is not installed.
"""

import base64
import email.utils
import fcntl
import json
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import ca_client  # noqa: E402
from ca_client import DRIVE, world_module  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402


def common_name(name):
    return name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


class Case(ca_client.Case):
    anchor = None

    def setUp(self):
        super().setUp()
        self.switch(authz_valid=True)

    def fresh_account(self):
        """A key file of this test's own, with an account; returns its URL."""
        self.key_file = os.path.join(self.folder.name, self.id() + ".key")
        answer = self.once("init")
        self.assertTrue(answer["ok"], answer)
        return answer["account"]

    def once(self, command, environment=None, **settings):
        """`init` or `rotate` in a process of its own, as enrollctl does it."""
        settings = {"directory-url": self.world.ready["base_url"] + "/directory", "account-key": self.key_file,
                    "ca-file": self.anchor or os.path.join(self.world.state_dir, "tls-root.pem"), "accept-terms": "true",
                    "contact": "mailto:postmaster@example.org", "timeout": "10", **settings}
        done = subprocess.run([DRIVE, command, *(f"{k}={v}" for k, v in settings.items())], capture_output=True, text=True,
                              env={**os.environ, **(environment or {})})
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)

    def accounts(self):
        return len(self.admin.get("/state")["accounts"])

    def write(self, name, data):
        path = os.path.join(self.folder.name, name)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        return path

    def issued(self, client, *words):
        """(chain, file of the leaf's DER, file of its key), by the command `words` or a plain open."""
        client.good(*(words or ("open", self.address)))
        client.look_until("ready")
        key, path = self.csr_file()
        client.good("finalize", path)
        client.look_until("issued")
        chain = world_module.split_chain(client.good("fetch")["pem"].encode())
        der = chain[0].public_bytes(serialization.Encoding.DER)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return chain, self.write("leaf.der", der), self.write("leaf.key", pem)


class Renewal(Case):
    def test_window_and_when_to_ask_again(self):
        self.switch(renewal_window={"start": 3600, "end": 7200}, renewal_retry_after=21600)
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        told, now = client.good("renewal", der)["renewal"], time.time()
        self.assertTrue(told["known"])
        for name, wanted in (("start", 3600), ("end", 7200), ("ask_again", 21600)):
            self.assertAlmostEqual(told[name] - now, wanted, delta=5)
        self.assertEqual(self.requests("renewalInfo")[-1]["method"], "GET")
        self.assertEqual(self.violations(), [])

    def test_renew_now_is_a_window_in_the_past_with_words_for_people(self):
        self.switch(renewal_window="now")
        client = self.client_of_ours()
        told = client.good("renewal", self.issued(client)[1])["renewal"]
        self.assertLess(told["end"], time.time())
        self.assertIn("/terms", told["explanation"])

    def test_asking_again_is_kept_between_a_minute_and_a_day(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        for said, wanted in ((0, 60), (59, 60), (10 ** 7, 86400)):
            for date in (False, True):
                with self.subTest((said, date)):
                    self.switch(renewal_retry_after=said, retry_after_as_date=date)
                    told, now = client.good("renewal", der)["renewal"], time.time()
                    self.assertAlmostEqual(told["ask_again"] - now, wanted, delta=5)

    def test_every_serial_number_is_named_as_the_ca_names_it(self):
        """About every second serial begins with a high bit, and so with a zero octet in DER."""
        client = self.client_of_ours()
        high = set()
        while len(high) < 2:
            chain, der, _ = self.issued(client)
            high.add(chain[0].serial_number.bit_length() % 8 == 0)
            self.assertTrue(client.good("renewal", der)["renewal"]["known"])

    def test_a_ca_that_does_not_tell(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        self.faults(renewalInfo={"status": 404, "type": "malformed"})
        self.assertFalse(client.good("renewal", der)["renewal"]["known"])
        self.switch(renewal_info=False)
        client.good("discover")
        self.admin.post("/mark")
        self.assertFalse(client.good("renewal", der)["renewal"]["known"])
        self.assertEqual(len(self.requests("renewalInfo")), 1)

    def test_answers_that_are_none(self):
        client = self.client_of_ours(timeout="2")
        _, der, _ = self.issued(client)
        at = email.utils.formatdate(time.time() + 500, usegmt=True)
        for fault in ({"body": "garbage"}, {"body": "truncated"}, {"body": "empty"}, {"status": 500}, {"drop": True, "count": 5},
                      {"status": 429, "type": "rateLimited", "retry_after": at}):
            with self.subTest(fault):
                self.faults(renewalInfo={"count": 1, **fault})
                err = client.bad("renewal", der)
                self.assertEqual(err["class"], "temporary")
                if "retry_after" in fault:
                    self.assertAlmostEqual(err["retry_at"] - time.time(), 500, delta=5)
                    self.assertEqual(err["status"], 429)
                self.faults(renewalInfo=None)
        self.switch(renewal_window={"start": 7200, "end": 3600})
        self.assertIn("ends before it begins", client.bad("renewal", der)["text"])


class Predecessor(Case):
    def order_made(self):
        return self.admin.get("/log?event=order_created")[-1]

    def test_successor_names_it(self):
        client = self.client_of_ours()
        chain, der, _ = self.issued(client)
        authority = chain[0].extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        serial = chain[0].serial_number
        parts = (authority, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
        name = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        self.issued(client, "replace", der, self.address)
        self.assertEqual(self.order_made().get("replaces"), name)
        self.assertEqual(self.violations(), [])

    def test_replaced_already_is_ordered_without_it(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        client.good("replace", der, self.address)
        answer = client.good("replace", der, self.address)
        self.assertIn("without its predecessor", answer["order"]["activity"])
        self.assertIsNone(self.order_made().get("replaces"))
        self.assertEqual([r.get("problem") for r in self.requests("newOrder")], [None, None, "alreadyReplaced", None])

    def test_certificate_of_an_account_we_had_before(self):
        _, der, _ = self.issued(self.client_of_ours())
        self.fresh_account()
        client = self.client_of_ours()
        self.assertIn("without its predecessor", client.good("replace", der, self.address)["order"]["activity"])

    def test_a_ca_without_renewal_information_is_not_told(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        self.switch(renewal_info=False)
        client.good("discover")
        client.good("replace", der, self.address)
        self.assertIsNone(self.order_made().get("replaces"))
        self.assertEqual(self.violations(), [])

    def test_a_refusal_for_another_reason_stays_one(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        self.switch(reject_identifiers=[self.address])
        self.assertEqual(client.bad("replace", der, self.address)["type"], "rejectedIdentifier")
        self.assertEqual(len([r for r in self.requests("newOrder") if r["status"] != 201]), 1)


class Chains(Case):
    def top(self, **settings):
        client = self.client_of_ours(**settings)
        chain, _, _ = self.issued(client)
        return common_name(chain[-1].issuer), client.do("fetch")["order"]["activity"]

    def test_preferred_issuer_is_taken_among_the_alternates(self):
        default, _ = self.top()
        self.switch(alternate_chain=True)
        with open(os.path.join(self.world.state_dir, "alternate-root.pem"), "rb") as file:
            other = common_name(x509.load_pem_x509_certificate(file.read()).subject)
        self.assertNotEqual(other, default)
        self.assertEqual(self.top()[0], default)
        self.assertEqual(len([r for r in self.requests("certificate") if "alternate" in r["path"]]), 0, "nobody asked for another")
        self.assertEqual(self.top(**{"preferred-issuer": default})[0], default)
        self.assertEqual(len([r for r in self.requests("certificate") if "alternate" in r["path"]]), 0, "it is the default's")
        top, activity = self.top(**{"preferred-issuer": other})
        self.assertEqual(top, other)
        self.assertIn("preferred chain", activity)

    def test_nobodys_chain_is_the_default_and_it_is_said(self):
        self.switch(alternate_chain=True)
        default, _ = self.top()
        top, activity = self.top(**{"preferred-issuer": "No Such Root"})
        self.assertEqual(top, default)
        self.assertIn('of 1 alternates, none ends in "No Such Root"', activity)

    def test_alternate_that_cannot_be_had_is_passed_over(self):
        self.switch(alternate_chain=True)
        client = self.client_of_ours(**{"preferred-issuer": "No Such Root"}, timeout="2")
        self.issued(client)
        for fault in ({"status": 500}, {"body": "garbage"}, {"body": "truncated"}, {"content_type": "text/html"}):
            with self.subTest(fault):
                self.faults(certificate={"skip": 1, "count": 1, **fault})
                self.assertIn("BEGIN CERTIFICATE", client.good("fetch")["pem"])


class Revocation(Case):
    def revoked(self):
        return self.admin.get("/log?event=revoked")[-1]

    def test_by_the_account_and_twice(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        client.good("revoke", der, "4")
        self.assertEqual((self.revoked()["reason"], self.revoked()["by"]), (4, "account"))
        client.good("revoke", der, "4")
        self.assertEqual(self.requests("revokeCert")[-1]["problem"], "alreadyRevoked")

    def test_by_the_certificates_own_key_without_an_account(self):
        _, der, key = self.issued(self.client_of_ours())
        stranger = self.write("stranger.key", b"")
        os.unlink(stranger)
        accounts = self.accounts()
        self.key_file = stranger
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", stranger],
                       stderr=subprocess.DEVNULL, check=True)
        client = self.client_of_ours()
        client.good("revoke", der, "1", key)
        self.assertEqual((self.revoked()["reason"], self.revoked()["by"]), (1, "certificate key"))
        client.good("revoke", der, "1", key)
        self.assertEqual(self.accounts(), accounts, "no account is made for that")

    def test_without_a_reason(self):
        client = self.client_of_ours()
        client.good("revoke", self.issued(client)[1], "0")
        self.assertEqual(self.revoked()["reason"], 0)

    def test_refusals_are_the_cas_words(self):
        client = self.client_of_ours()
        _, der, _ = self.issued(client)
        err = client.bad("revoke", der, "9")
        self.assertEqual((err["class"], err["type"], err["status"]), ("ca", "badRevocationReason", 400))
        self.fresh_account()
        err = self.client_of_ours().bad("revoke", der, "4")
        self.assertEqual((err["class"], err["type"]), ("ca", "unauthorized"))

    def test_an_answer_that_is_lost_may_be_asked_for_again(self):
        client = self.client_of_ours(timeout="1")
        _, der, _ = self.issued(client)
        self.faults(revokeCert={"hang_after": 3})
        self.assertEqual(client.bad("revoke", der, "4")["class"], "temporary")
        client.good("revoke", der, "4")


class Account(Case):
    def test_look_does_not_register(self):
        self.fresh_account()
        os.unlink(self.key_file)
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key_file],
                       stderr=subprocess.DEVNULL, check=True)
        accounts = self.accounts()
        found = self.client_of_ours().good("account")
        self.assertEqual((found["found"], found["key_type"], len(found["thumbprint"])), (False, "rsa:2048", 43))
        self.assertEqual(self.accounts(), accounts)

    def test_look_shows_what_the_ca_has(self):
        url = self.fresh_account()
        found = self.client_of_ours().good("account")
        self.assertEqual((found["found"], found["uri"], found["status"], found["contacts"], found["key_type"]),
                         (True, url, "valid", ["mailto:postmaster@example.org"], "ec:p256"))

    def test_contact_is_changed_once(self):
        self.fresh_account()
        client = self.client_of_ours(contact="mailto:new@example.org")
        self.assertNotIn("warning", client.good("prepare"))
        client.good("prepare")
        self.assertEqual(client.good("account")["contacts"], ["mailto:new@example.org"])
        self.assertEqual(len(self.requests("account")), 2)  # the change, and our look

    def test_contact_that_the_ca_refuses_is_said_and_hinders_nothing(self):
        self.fresh_account()
        client = self.client_of_ours(contact="mailto:not an address")
        self.assertIn("mailto:not an address", client.good("prepare")["warning"])
        self.assertNotIn("warning", client.good("prepare"))
        client.good("open", self.address)

    def test_discovery_needs_no_account_and_asks_anew(self):
        self.fresh_account()
        client = self.client_of_ours(**{"accept-terms": "false"}, profile="none of theirs")
        for renewal_info in (True, False):
            self.switch(renewal_info=renewal_info)
            told = client.good("discover")
            self.assertEqual(told["renewal_info"], renewal_info)
            self.assertTrue(told["revocation"] and told["key_change"])
            self.assertNotIn("account", told)

    def test_deactivated_account_is_over(self):
        self.fresh_account()
        client = self.client_of_ours()
        client.good("open", self.address)
        client.good("deactivate")
        self.assertEqual(len(self.admin.get(f"/log?since={self.mark}&event=account_deactivated")), 1)
        for command in (["finalize", self.csr_file()[1]], ["open", self.address], ["prepare"]):
            self.assertIn("deactivated", client.bad(*command)["text"], command)

    def test_no_account_to_deactivate(self):
        self.fresh_account()
        os.unlink(self.key_file)
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", self.key_file],
                       stderr=subprocess.DEVNULL, check=True)
        accounts = self.accounts()
        self.assertEqual(self.client_of_ours().bad("deactivate")["class"], "config")
        self.assertEqual(self.accounts(), accounts)

    def test_changed_terms_are_explained(self):
        client = self.client_of_ours()
        self.faults(newOrder={"status": 403, "type": "userActionRequired", "detail": "new terms"})
        err = client.bad("open", self.address)
        self.assertEqual((err["class"], err["status"]), ("config", 403))

    def test_rate_limit_names_whom_it_concerns(self):
        client = self.client_of_ours()
        limit = {"status": 429, "type": "rateLimited", "detail": "slowly", "retry_after": 77}
        self.faults(newOrder={**limit, "subproblems": [
            {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many", "identifier": {"type": "email", "value": v}}
            for v in (self.address, "example.org")]})
        answer = client.do("open", self.address)
        self.assertEqual(answer["order"]["limited"], f"{self.address} example.org")
        self.assertEqual((answer["err"]["type"], answer["err"]["status"]), ("rateLimited", 429))
        self.assertAlmostEqual(answer["err"]["retry_at"] - time.time(), 77, delta=5)
        self.faults(newOrder=limit)
        self.assertNotIn("limited", client.do("open", self.address)["order"])


class Rollover(Case):
    def setUp(self):
        super().setUp()
        self.account = self.fresh_account()
        self.next = self.key_file + ".next"
        self.accounts_before = self.accounts()

    def tearDown(self):
        self.assertEqual(self.accounts(), self.accounts_before, "an account was registered on the way")

    def key(self, path=None):
        with open(path or self.key_file, "rb") as file:
            return file.read()

    def rotated(self):
        old = self.key()
        answer = self.once("rotate")
        self.assertTrue(answer["ok"], answer)
        self.assertEqual(answer["account"], self.account)
        self.assertNotEqual(self.key(), old)
        self.assertFalse(os.path.exists(self.next))
        self.assertEqual(os.stat(self.key_file).st_mode & 0o777, 0o600)

    def cut_short(self, **fault):
        self.faults(keyChange=fault)
        answer = self.once("rotate", timeout="1")
        self.assertFalse(answer["ok"])
        return answer["err"]

    def works(self, client):
        client.good("open", self.address)
        self.assertEqual(client.good("account")["uri"], self.account)

    def test_running_client_takes_the_new_key_by_itself(self):
        client = self.client_of_ours()
        self.works(client)
        self.rotated()
        client.good("look")
        self.works(client)
        mark = self.admin.post("/mark")["n"]
        self.works(client)
        self.assertEqual({r["status"] for r in self.requests(since=mark)}, {200, 201})

    def test_threads_at_work_lose_nothing(self):
        client = self.client_of_ours()
        client.good("prepare")
        client.process.stdin.write("parallel 8\n")
        client.process.stdin.flush()
        self.rotated()
        self.rotated()
        answer = json.loads(client.process.stdout.readline())
        self.assertTrue(answer["ok"], answer)

    def test_owner_stays(self):
        if os.geteuid() != 0:
            self.skipTest("not root")
        os.chmod(self.folder.name, 0o755)
        os.chown(self.key_file, 65534, 65534)
        with open(os.path.join(self.world.state_dir, "tls-root.pem"), "rb") as file:
            self.anchor = self.write("anchor.pem", file.read())
        os.chmod(self.anchor, 0o644)
        self.cut_short(drop=True)
        self.assertEqual(os.stat(self.next).st_uid, 65534)
        os.chown(self.next, 0, 0)
        self.rotated()
        self.assertEqual((os.stat(self.key_file).st_uid, os.stat(self.key_file).st_gid), (65534, 65534))

    def test_killed_before_the_ca_heard_of_it(self):
        client = self.client_of_ours()
        self.works(client)
        self.cut_short(drop=True)
        made = self.key(self.next)
        self.works(client)
        self.works(self.client_of_ours())
        self.rotated()
        self.assertEqual(self.key(), made, "the key that was there is used, whether the CA had it or not")

    def test_killed_after_the_ca_took_it(self):
        running = self.client_of_ours()
        self.works(running)
        old = self.key()
        self.assertEqual(self.cut_short(hang_after=3)["type"], "lost")
        made = self.key(self.next)
        self.works(running)
        self.works(self.client_of_ours())  # started anew in that state
        self.assertEqual(self.key(), old)
        self.rotated()
        self.assertEqual(self.key(), made)
        self.works(running)
        self.works(self.client_of_ours())

    def test_new_key_that_cannot_be_read_is_waited_for(self):
        client = self.client_of_ours()
        self.works(client)
        self.cut_short(hang_after=3)
        os.chmod(self.next, 0o644)
        for who in (client, self.client_of_ours()):
            err = who.bad("open", self.address)
            self.assertEqual((err["class"], os.path.basename(err["subject"])), ("temporary", os.path.basename(self.next)))
            self.assertAlmostEqual(err["retry_at"] - time.time(), 5, delta=4)
        os.chmod(self.next, 0o600)
        self.works(client)

    def test_a_refusal_that_is_no_matter_of_keys_stays_what_it_is(self):
        client = self.client_of_ours()
        self.works(client)
        self.cut_short(drop=True)
        self.faults(newOrder={"status": 403, "type": "unauthorized", "count": 2})
        self.assertEqual(client.bad("open", self.address)["class"], "ca")
        self.assertEqual(len([r for r in self.requests("newOrder") if r["status"] == 403]), 1)

    def test_key_that_the_ca_does_not_take_is_not_tried_for_ever(self):
        old = self.key()
        err = self.cut_short(status=400, type="badPublicKey")
        self.assertEqual((err["class"], err["op"]), ("config", "change account key"))
        self.assertFalse(os.path.exists(self.next))
        self.assertEqual(self.key(), old)
        self.rotated()

    def test_change_that_the_ca_took_although_it_said_no(self):
        """A proxy that sends the request twice: the second copy is refused."""
        self.cut_short(hang_after=3)
        self.faults(newAccount={"status": 503})
        self.assertFalse(self.once("rotate")["ok"])
        self.assertTrue(os.path.exists(self.next))
        self.rotated()

    def test_reply_is_made_with_the_key_that_the_ca_has_by_now(self):
        self.switch(authz_valid=False)
        client = self.client_of_ours()
        client.good("open", self.address)
        client.good("look")
        mail = self.mailbox.take(self.address)
        self.rotated()
        self.assertEqual(self.reply(client, mail)["reasons"], [])
        client.good("ready")
        client.look_until("ready")

    def test_two_at_a_time(self):
        folder = os.open(self.folder.name, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)
        answer = self.once("rotate")
        self.assertEqual((answer["ok"], answer["err"]["class"]), (False, "temporary"))
        self.assertFalse(os.path.exists(self.next))
        fcntl.flock(folder, fcntl.LOCK_UN)
        self.rotated()

    def test_credential_of_systemd(self):
        answer = self.once("rotate", {"CREDENTIALS_DIRECTORY": self.folder.name},
                           **{"account-key": "credential:" + os.path.basename(self.key_file)})
        self.assertEqual((answer["ok"], answer["err"]["class"]), (False, "config"))
        self.assertIn("copy of the configuration", answer["err"]["text"])
        self.assertFalse(os.path.exists(self.next))

    def test_key_without_an_account(self):
        subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.key_file],
                       stderr=subprocess.DEVNULL, check=True)
        answer = self.once("rotate")
        self.assertEqual((answer["ok"], answer["err"]["class"]), (False, "config"))

    def test_new_key_of_another_account(self):
        first = self.key_file
        answer = self.once("init", **{"account-key": self.next})
        self.accounts_before += 1
        self.assertTrue(answer["ok"])
        os.chmod(self.next, 0o600)
        answer = self.once("rotate")
        self.assertEqual((answer["ok"], answer["err"]["class"]), (False, "config"))
        self.assertTrue(os.path.exists(self.next) and os.path.exists(first))


if __name__ == "__main__":
    if not os.access(DRIVE, os.X_OK):
        print(f"skipped, because {DRIVE} is not built")
        sys.exit(77)
    unittest.main(verbosity=1)
