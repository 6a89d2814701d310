"""Challenge mails on their way: made, signed, delivered, tried again.

A few threads deliver, so that one slow mail server does not hold up the others.
"""

import heapq
import itertools
import os
import secrets
import smtplib
import ssl
import threading
import time

import dns.exception
import dns.resolver

import jws
import smimesign
from message import Challenge, compose, new_message_id
from state import ChallengeMail

DELIVERY_THREADS = 8
SMTP_TIMEOUT = 30


class MailOut:
    def __init__(self, ca):
        self.ca = ca
        self.config = ca.config
        self.journal = ca.journal
        self._queue = []
        self._order = itertools.count()
        self._ready = threading.Condition()
        self._number = itertools.count(1)

    def start(self):
        for _ in range(DELIVERY_THREADS):
            threading.Thread(target=self._deliver_for_ever, daemon=True).start()

    def waiting(self):
        with self._ready:
            return len(self._queue)

    # making

    def send_challenge(self, authorization, token_part1=None):
        """A new challenge mail with its own tokens for an authorization; returns at once."""
        behaviour = self.ca.behaviour
        token = token_part1 or jws.encode(secrets.token_bytes(int(behaviour["token_part1_bytes"])))
        challenge = self.challenge_for(authorization, token)
        mail = ChallengeMail(token, challenge.message_id, challenge.reply_to or challenge.sender, time.time())
        with self.ca.store.lock:
            authorization.mails.append(mail)
        raw = authenticate(compose(challenge), behaviour, self.ca.signer, self.ca.identity)
        self.queue(raw, authorization.address, "challenge", mail, authorization,
                   delay=behaviour["challenge_mail_delay"])
        return mail

    def challenge_for(self, authorization, token):
        behaviour = self.ca.behaviour
        sender = authorization.sender
        return Challenge(
            sender, authorization.address, token, new_message_id(sender.rpartition("@")[2]),
            reply_to=self.config["reply_to"] if behaviour["challenge_reply_to"] else None,
            auto_submitted=behaviour["challenge_auto_submitted"],
            subject_form=behaviour["challenge_subject"],
            token_space=behaviour["challenge_subject_token_space"],
            body_form=behaviour["challenge_body"])

    def queue(self, raw, recipient, what, mail=None, authorization=None, delay=0, sender=None):
        """Deliver raw bytes in the background; `what` is "challenge" or "forged"."""
        file = self.keep(raw)
        job = {"raw": raw, "recipient": recipient, "sender": sender or self.config["mail_from"],
               "what": what, "mail": mail, "authorization": authorization, "file": file, "tries": 0}
        self._push(job, delay)
        return file

    def keep(self, raw):
        name = f"out-{os.getpid()}-{next(self._number):05d}.eml"
        with open(os.path.join(self.ca.mail_dir, name), "wb") as file:
            file.write(raw)
        return name

    # delivering

    def _push(self, job, delay):
        with self._ready:
            heapq.heappush(self._queue, (time.monotonic() + delay, next(self._order), job))
            self._ready.notify()

    def _next(self):
        with self._ready:
            while True:
                wait = None
                if self._queue:
                    wait = self._queue[0][0] - time.monotonic()
                    if wait <= 0:
                        return heapq.heappop(self._queue)[2]
                self._ready.wait(wait)

    def _deliver_for_ever(self):
        while True:
            self._deliver(self._next())

    def _deliver(self, job):
        job["tries"] += 1
        mail, authorization = job["mail"], job["authorization"]
        started = time.monotonic()
        verdict, server, code, answer = self._attempt(job)
        facts = {"address": job["recipient"], "server": server, "code": code, "answer": answer,
                 "tries": job["tries"], "file": job["file"], "ms": round((time.monotonic() - started) * 1000),
                 "authz": authorization.id if authorization else None,
                 "message_id": mail.message_id if mail else None,
                 "token_part1": mail.token_part1 if mail else None}
        if verdict == "deferred" and job["tries"] >= self.config["smtp_tries"]:
            verdict = "given_up"
        if mail:
            mail.status, mail.tries = verdict, job["tries"]
        self.journal.event(f"{job['what']}_{verdict}", **facts)
        if verdict == "deferred":
            self._push(job, self.config["smtp_retry_interval"])

    def _attempt(self, job):
        """(sent | deferred | refused, server, code, text)"""
        server = None
        try:
            for server in self.servers(job["recipient"].rpartition("@")[2]):
                try:
                    code, answer = self._talk(server, job)
                    break
                except OSError as error:  # smtplib's own errors are OSErrors, too
                    if isinstance(error, smtplib.SMTPResponseException):
                        raise
                    trouble = error
            else:
                raise trouble
        except smtplib.SMTPResponseException as error:
            code, answer = error.smtp_code, error.smtp_error.decode("utf-8", "replace")
        except dns.resolver.NXDOMAIN as error:
            return "refused", server, None, str(error)
        except (OSError, dns.exception.DNSException) as error:
            return "deferred", server, None, f"{type(error).__name__}: {error}"
        shown = f"{server[0]}:{server[1]}" if server else None
        if 200 <= code < 300:
            return "sent", shown, code, answer
        return ("deferred" if 400 <= code < 500 or code < 0 else "refused"), shown, code, answer

    def servers(self, domain):
        """[(host, port)] in the order to be tried."""
        out = self.config["smtp_out"]
        if not out.get("mx"):
            return [(out["host"], out["port"])]
        port = out.get("port", 25)
        resolver = dns.resolver.Resolver()
        try:
            records = sorted(resolver.resolve(domain, "MX", lifetime=10), key=lambda r: r.preference)
        except dns.resolver.NoAnswer:
            return [(domain, port)]
        return [(str(record.exchange).rstrip("."), port) for record in records]

    def _talk(self, server, job):
        with smtplib.SMTP(server[0], server[1], local_hostname=self.config["helo"],
                          timeout=SMTP_TIMEOUT) as session:
            session.ehlo_or_helo_if_needed()
            if session.has_extn("starttls") and self.config["smtp_out"].get("starttls", True):
                # Opportunistic, as between mail servers: encrypted, not authenticated.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                session.starttls(context=context)
                session.ehlo()
            for code, answer in (session.mail(job["sender"]), session.rcpt(job["recipient"])):
                if not 200 <= code < 300:
                    return code, answer.decode("utf-8", "replace")
            code, answer = session.data(job["raw"])
            return code, answer.decode("utf-8", "replace")


def authenticate(message, behaviour, signer, identity):
    """The composed message as it leaves, authenticated in the way the switch says."""
    form = behaviour["challenge_authentication"]
    if form == "none":
        return message
    if form in smimesign.FORMS:
        return smimesign.protect(message, form, identity)
    return signer.sign(message, absent=behaviour["challenge_dkim_absent_fields"],
                       oversign=behaviour["challenge_dkim_oversign"])
