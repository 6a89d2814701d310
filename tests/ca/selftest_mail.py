"""Cases: the exchange of mails, right and wrong."""

import os
import subprocess
import threading
import time

import dkim
from cryptography import x509

import behaviour
import forge
import smimesign
from selftest_client import TWELVE, b64
from selftest_world import Case, headers_of, verify_chain


def verified(mail, root):
    """What an S/MIME signature covers, by OpenSSL; None when it does not verify."""
    result = subprocess.run(["openssl", "cms", "-verify", "-CAfile", root], input=mail, capture_output=True)
    return result.stdout if result.returncode == 0 else None


class Exchange(Case):
    """The whole way, and the forms of the challenge mail."""

    def test_from_order_to_certificate(self):
        url, order = self.validate()
        self.assertEqual(self.client.fetch(url)["status"], "ready")
        key, chain = self.finalize(url, order)
        self.assertEqual(len(chain), 2)
        with open(os.path.join(self.world.state_dir, "root.pem"), "rb") as file:
            verify_chain(chain, x509.load_pem_x509_certificate(file.read()))
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(names.value.get_values_for_type(x509.RFC822Name), [self.address])
        self.assertTrue(names.critical)
        self.assertEqual(chain[0].public_key().public_numbers(), key.public_key().public_numbers())
        self.assertEqual(self.log("issued")[0]["lint"], [])
        self.assertEqual(self.violations(), [])

    def test_post_before_the_reply_waits(self):
        _, _, authorization, challenge, mail = self.begin()
        self.assertEqual(self.client.post(challenge["url"], {}).json["status"], "processing")
        self.assertEqual(self.client.fetch(authorization)["status"], "pending")
        self.answer(mail, challenge)
        self.client.poll(authorization, "valid")

    def test_post_before_the_reply_can_end_invalid(self):
        self.switch(post_before_reply="invalid", order_stays_pending=True)
        url, _, authorization, challenge, _ = self.begin()
        self.client.post(challenge["url"], {})
        failed = self.client.fetch(authorization)
        self.assertEqual(failed["status"], "invalid")
        self.assertTrue(failed["challenges"][0]["error"]["type"].endswith("incorrectResponse"))
        self.assertEqual(self.client.fetch(url)["status"], "pending")

    def test_post_can_be_held_open_for_the_reply(self):
        self.switch(post_before_reply="invalid", post_waits=5)
        _, _, authorization, challenge, mail = self.begin()
        helper = self.new_client()
        helper.key, helper.kid = self.client.key, self.client.kid
        done = []
        thread = threading.Thread(target=lambda: done.append(helper.post(challenge["url"], {}).json))
        thread.start()
        time.sleep(0.2)
        self.answer(mail, challenge)
        thread.join(5)
        self.assertEqual(done[0]["status"], "valid")

    def test_late_check_of_the_reply(self):
        self.switch(reply_checked_late=0.7)
        _, _, authorization, challenge, mail = self.begin()
        started = time.monotonic()
        self.client.post(challenge["url"], {})
        self.answer(mail, challenge)
        self.client.poll(authorization, "valid")
        self.assertGreater(time.monotonic() - started, 0.7)

    def test_challenge_mail_is_as_the_rfc_wants_it(self):
        _, _, _, challenge, mail = self.begin()
        parsed = headers_of(mail)
        self.assertEqual(parsed["From"], challenge["from"])
        self.assertEqual(parsed["Reply-To"], "acme-reply@ca.example")
        self.assertEqual(parsed["To"], self.address)
        self.assertEqual(parsed["Auto-Submitted"], "auto-generated; type=acme")
        self.assertRegex(parsed["Subject"], r"\AACME: [A-Za-z0-9_-]{27}\Z")
        records = self.admin.get("/dkim")
        lookup = lambda name, timeout=5: records.get(name.decode().rstrip("."), "").encode()
        self.assertTrue(dkim.verify(mail, dnsfunc=lookup))
        named = [f.strip().lower() for f in parsed["DKIM-Signature"].partition("h=")[2].partition(";")[0].split(":")]
        for field in TWELVE + ("Auto-Submitted",):
            self.assertIn(field.lower(), named)
        for field in ("From", "To", "Subject", "Reply-To", "Message-ID", "Auto-Submitted"):
            self.assertEqual(named.count(field.lower()), 2, field)

    def test_forms_of_the_challenge_mail(self):
        forms = [{"challenge_subject": s} for s in ("folded", "encoded-q", "encoded-b", "encoded-split")]
        forms += [{"challenge_body": b} for b in ("html", "alternative", "html-in-alternative")]
        forms += [{"challenge_subject_token_space": True}, {"challenge_auto_submitted": None},
                  {"challenge_reply_to": False}, {"challenge_authentication": "none"},
                  {"challenge_dkim_absent_fields": False, "challenge_dkim_oversign": False},
                  {"token_part1_bytes": 16, "token_part2_bytes": 16}, {"extra_challenge": True}]
        for number, form in enumerate(forms):
            with self.subTest(**form):
                self.admin.post("/reset-behaviour")
                self.switch(**form)
                self.validate(f"form{number}.{self.address}")
        self.assertEqual(self.violations(), [])

    def test_challenge_mails_signed_by_smime(self):
        root = os.path.join(self.world.state_dir, "mail-root.pem")
        for form in smimesign.FORMS:
            with self.subTest(form):
                self.admin.post("/reset-behaviour")
                self.switch(challenge_authentication=form)
                address = f"{form}.{self.address}"
                _, _, authorization, challenge, mail = self.begin(address)
                inner = verified(mail, root)
                self.assertEqual(b"Subject: ACME: " in inner, "wrap" in form or "9788" in form)
                self.assertEqual(b"message/rfc822" in inner, "wrap" in form)
                self.answer(mail, challenge)
                self.client.post(challenge["url"], {})
                self.client.poll(authorization, "valid")
        for variant, good in (("smime_genuine", True), ("smime_impostor", False), ("smime_changed", False)):
            self.admin.post("/send-mail", {"variant": variant, "address": self.address})
            mail = self.mailbox.take(self.address)
            self.assertEqual(verified(mail, root) is not None, good, variant)

    def test_presets(self):
        for preset in behaviour.PRESETS:
            with self.subTest(preset):
                self.admin.post("/reset-behaviour")
                self.switch(preset=preset)
                late = behaviour.PRESETS[preset].get("challenge_trigger") == "challenge-post"
                address = f"{preset}.{self.address}"
                url, order = self.client.order(address)
                link = order["authorizations"][0]
                challenge = self.client.challenge(self.client.fetch(link))
                if late:
                    self.client.post(challenge["url"], {})
                mail = self.mailbox.take(address)
                join = behaviour.PRESETS[preset].get("token_join", "strings")
                self.assertEqual(self.answer(mail, challenge, join=join)["reasons"], [])
                if not late:
                    self.client.post(challenge["url"], {})
                self.client.poll(link, "valid")
                self.finalize(url, order)
        self.assertEqual(self.violations(), [])

    def test_both_ways_to_join_the_tokens(self):
        for join, other in (("strings", "decoded"), ("decoded", "strings")):
            self.switch(token_join=join)
            for used, reasons in ((join, 0), (other, 1)):
                _, _, _, challenge, mail = self.begin(f"{join}.{used}.{self.address}")
                self.assertEqual(len(self.answer(mail, challenge, join=used)["reasons"]), reasons, (join, used))

    def test_when_the_challenge_mail_goes_out(self):
        self.switch(challenge_trigger="newOrder")
        self.client.order("a." + self.address)
        self.mailbox.take("a." + self.address)
        self.switch(challenge_trigger="authz-fetch")
        _, order = self.client.order("b." + self.address)
        self.assertTrue(self.mailbox.box("b." + self.address).empty())
        self.client.fetch(order["authorizations"][0])
        self.client.fetch(order["authorizations"][0])
        self.mailbox.take("b." + self.address)
        self.switch(challenge_trigger="challenge-post")
        _, order = self.client.order("c." + self.address)
        challenge = self.client.challenge(self.client.fetch(order["authorizations"][0]))
        self.client.post(challenge["url"], {})
        mail = self.mailbox.take("c." + self.address)
        self.answer(mail, challenge)
        self.client.poll(order["authorizations"][0], "valid")
        self.switch(challenge_trigger="never")
        _, order = self.client.order("d." + self.address)
        self.client.fetch(order["authorizations"][0])
        time.sleep(0.2)
        self.assertTrue(self.mailbox.box("d." + self.address).empty())
        self.assertTrue(self.mailbox.box("b." + self.address).empty())

    def test_every_order_is_new(self):
        first, second = self.client.order(self.address), self.client.order(self.address)
        self.assertNotEqual(first[0], second[0])
        self.assertNotEqual(first[1]["authorizations"], second[1]["authorizations"])
        listed = self.client.fetch(self.client.fetch(self.client.kid)["orders"])["orders"]
        self.assertEqual(listed, [first[0], second[0]])

    def test_mail_is_tried_again(self):
        self.mailbox.answers = ["451 4.7.1 come again", "451 4.7.1 come again"]
        self.begin()
        self.assertEqual(len(self.log("challenge_deferred")), 2)
        self.assertEqual(self.admin.wait("challenge_sent", self.mark)["tries"], 3)

    def test_refused_mail_is_not_tried_again(self):
        self.mailbox.answers = ["550 5.1.1 nobody"]
        _, order = self.client.order(self.address)
        self.client.fetch(order["authorizations"][0])
        self.assertEqual(self.admin.wait("challenge_refused", self.mark)["code"], 550)

    def test_several_addresses(self):
        addresses = [f"{part}.{self.address}" for part in ("one", "two", "three")]
        url, order = self.client.order(*addresses)
        for link in order["authorizations"]:
            authorization = self.client.fetch(link)
            mail = self.mailbox.take(authorization["identifier"]["value"])
            challenge = self.client.challenge(authorization)
            self.answer(mail, challenge)
            self.client.post(challenge["url"], {})
        self.client.poll(url, "ready")
        _, chain = self.finalize(url, order)
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(sorted(names.get_values_for_type(x509.RFC822Name)), sorted(addresses))

    def test_second_challenge_mail_by_admin(self):
        _, _, authorization, challenge, first = self.begin()
        self.admin.post("/send-challenge", {"address": self.address})
        second = self.mailbox.take(self.address)
        self.assertNotEqual(headers_of(first)["Subject"], headers_of(second)["Subject"])
        self.answer(second, challenge)
        self.client.post(challenge["url"], {})
        self.client.poll(authorization, "valid")

    def test_forged_mails_are_delivered(self):
        for variant in forge.VARIANTS:
            sent = self.admin.post("/send-mail", {"variant": variant, "address": self.address})
            mail = self.mailbox.take(self.address)
            self.assertTrue(mail.strip())
            if variant == "genuine":
                self.assertIn(sent["token_part1"], headers_of(mail)["Subject"])

    def test_state_survives_a_restart(self):
        url, order, authorization, challenge, mail = self.begin()
        world = self.world
        world.config.setdefault("listen", {"host": "127.0.0.1", "port": world.ready["acme"]})
        world.config.setdefault("smtp_listen", {"host": "127.0.0.1", "port": world.ready["smtp"]})
        world.config.setdefault("admin", {"host": "127.0.0.1", "port": world.ready["admin"]})
        world.stop()
        world.start()
        self.client.close()
        self.client.nonce = None
        self.answer(mail, challenge)
        self.client.post(challenge["url"], {})
        self.client.poll(authorization, "valid")


class Replies(Case):
    """Each way in which a reply can be wrong has its reason."""

    def verdict(self, reason, digest=None, **more):
        _, _, authorization, challenge, mail = self.begin(f"case{len(self.log())}.{self.address}")
        record = self.answer(mail, challenge, digest=digest, **more)
        found = [r.partition(":")[0] for r in record["reasons"]]
        self.assertEqual(found, [reason] if isinstance(reason, str) else reason)
        self.client.post(challenge["url"], {})
        self.client.poll(authorization, "invalid")      # the record comes before the verdict is acted upon
        return record

    def test_without_dkim(self):
        self.verdict("dkim_missing", sign=())

    def test_dkim_of_another_domain(self):
        self.verdict("dkim_domain", domain="other.example")

    def test_dkim_with_too_few_fields(self):
        for left_out in TWELVE[1:]:
            with self.subTest(left_out):
                record = self.verdict("dkim_fields", sign=[f for f in TWELVE if f != left_out])
                self.assertIn(left_out.lower(), record["reasons"][0])

    def test_dkim_broken(self):
        _, _, _, challenge, mail = self.begin()
        real = self.user.reply
        self.user.reply = lambda *a, **m: real(*a, **m).replace(b"7bit", b"8bit")
        try:
            record = self.answer(mail, challenge)
        finally:
            self.user.reply = real
        self.assertEqual(record["reasons"][0].partition(":")[0], "dkim_fail")

    def test_wrong_digest(self):
        self.verdict("digest_wrong", digest=b64(b"x" * 32))

    def test_forms_of_the_body(self):
        good = "-----BEGIN ACME RESPONSE-----\r\n{}\r\n-----END ACME RESPONSE-----\r\n"
        digest = b64(b"x" * 32)
        for reasons, body in (
                (["block_missing"], f"{digest}\r\n"),
                (["text_beside_block", "digest_wrong"], good.format(digest) + "-- \r\nSent by a gateway\r\n"),
                (["digest_lines", "digest_wrong"], good.format(digest[:20] + "\r\n" + digest[20:])),
                (["digest_padded", "digest_wrong"], good.format(digest + "=")),
                (["digest_form"], good.format("> " + digest)),
                (["line_ends", "digest_wrong"], good.format(digest).replace("\r\n", "\n"))):
            with self.subTest(reasons):
                self.verdict(reasons, body=body)

    def test_header_fields(self):
        for reasons, fields in (
                ("subject", {"Subject": "Re: ACME: other"}),
                ("subject", {"Subject": "Re: challenge"}),
                ("in_reply_to", {"In-Reply-To": "<other@example.org>"}),
                ("in_reply_to", {"In-Reply-To": None}),
                (["from_address"], {"From": "mallory@example.org"}),
                (["from_count"], {"From": "a@example.org, b@example.org"}),
                ("to_address", {"To": "acme@ca.example"}),
                ("list_field", {"List-Id": "<l.example.org>"}),
                ("content_type", {"Content-Type": "text/html"}),
                (["transfer_encoding"], {"Content-Transfer-Encoding": "quoted-printable"}),
                ("field_missing", {"Date": None})):
            with self.subTest(fields):
                self.verdict(reasons, fields=fields)

    def test_two_from_fields(self):
        self.verdict(["field_twice", "from_count"], extra=[("From", "other@example.org")],
                     sign=TWELVE + ("From",))

    def test_second_reply(self):
        _, _, authorization, challenge, mail = self.begin()
        self.answer(mail, challenge)
        self.answer(mail, challenge)
        self.client.post(challenge["url"], {})
        self.client.poll(authorization, "valid")
        self.assertEqual(self.violations(), ["duplicate_reply"])

    def test_bad_reply_can_be_ignored(self):
        self.switch(bad_reply="ignore")
        _, _, authorization, challenge, mail = self.begin()
        self.answer(mail, challenge, sign=())
        self.client.post(challenge["url"], {})
        self.assertEqual(self.client.fetch(authorization)["status"], "pending")
        self.answer(mail, challenge)
        self.client.poll(authorization, "valid")
        self.assertEqual(self.violations(), ["bad_reply", "duplicate_reply"])

    def test_reply_to_nothing(self):
        _, _, _, challenge, mail = self.begin()
        strange = mail.replace(b"Message-ID: <", b"Message-ID: <not")
        strange = strange.replace(b"Subject: ACME: ", b"Subject: ACME: not")
        self.user.send(self.user.reply(strange, "x"), self.address, "acme@ca.example")
        self.admin.wait("violation", self.mark, kind="reply_to_nothing")

    def test_expired_challenge(self):
        self.switch(authz_lifetime=1)
        url, _, authorization, challenge, mail = self.begin()
        time.sleep(1.1)
        self.assertEqual(self.answer(mail, challenge)["reasons"], ["challenge_expired"])
        self.assertEqual(self.client.fetch(authorization)["status"], "expired")
        self.assertEqual(self.client.fetch(url)["status"], "invalid")

    def test_mail_server_faults(self):
        self.switch(smtp_faults={"rcpt": {"code": 451, "text": "later", "count": 1}})
        _, _, _, challenge, mail = self.begin()
        with self.assertRaises(Exception):
            self.answer(mail, challenge)
        self.assertEqual(self.answer(mail, challenge)["reasons"], [])
        self.assertEqual(len(self.log("smtp_fault")), 1)
