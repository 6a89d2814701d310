"""Plain HTTP: the admin port for tests (JSON), and the public files (CRL, CA certificates)."""

import json
import time
import urllib.parse
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler

import forge
from behaviour import BehaviourError, switch_table
from message import Challenge, new_message_id
from pki import DER
from problem import document

PUBLIC = {"/root": "root", "/intermediate": "intermediate", "/alternate-root": "alternate_root", "/cross": "cross"}


class BadRequest(Exception):
    pass


class PlainHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version = "smimeca"
    sys_version = ""

    def log_message(self, *_):
        pass

    def answer(self, status, body, content_type="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body, indent=1, default=str).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def serve_public(self, ca, path):
        """/NAME.der, /NAME.pem, /NAME.crl; False when there is no such file."""
        stem, _, suffix = path.rpartition(".")
        if suffix == "crl" and stem == "/intermediate":
            self.answer(200, ca.issuer.crl(), "application/pkix-crl")
        elif suffix == "crl" and stem in ("/root", "/alternate-root"):
            self.answer(200, ca.issuer.empty_crl(getattr(ca.pki, PUBLIC[stem])), "application/pkix-crl")
        elif stem in PUBLIC and suffix == "der":
            authority = getattr(ca.pki, PUBLIC[stem])
            self.answer(200, authority.certificate.public_bytes(DER), "application/pkix-cert")
        elif stem in PUBLIC and suffix == "pem":
            self.answer(200, getattr(ca.pki, PUBLIC[stem]).pem.encode(), "application/x-pem-file")
        else:
            return False
        ca.journal.event("file_fetched", path=path)
        return True


def http_handler(ca):
    class Handler(PlainHandler):
        def do_GET(self):
            if not self.serve_public(ca, self.path):
                self.answer(404, {"error": "no such file"})

        do_HEAD = do_GET

    return Handler


def admin_handler(ca):
    class Handler(PlainHandler):
        def do_GET(self):
            parts = urllib.parse.urlsplit(self.path)
            query = {k: v[-1] for k, v in urllib.parse.parse_qs(parts.query).items()}
            pages = {"/healthz": lambda: {"ok": True, **ca.ports, "base_url": ca.base_url},
                     "/state": lambda: state(ca), "/counters": ca.journal.counts,
                     "/behaviour": ca.behaviour.snapshot, "/log": lambda: log(ca, query),
                     "/variants": lambda: forge.VARIANTS,
                     "/dkim": lambda: {s.name: s.text() for s in (ca.signer, ca.stranger)}}
            if parts.path == "/switches":
                self.answer(200, switch_table().encode(), "text/markdown")
            elif parts.path in pages:
                self.guarded(pages[parts.path])
            elif not self.serve_public(ca, parts.path):
                self.answer(404, {"error": f"nothing is at {parts.path}"})

        def do_POST(self):
            actions = {"/behaviour": change_behaviour, "/reset-behaviour": reset_behaviour,
                       "/send-challenge": send_challenge, "/send-mail": send_mail,
                       "/dkim-key": dkim_key, "/revoke": revoke, "/fail": fail, "/mark": mark, "/door": door}
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            action = actions.get(self.path)
            if action is None:
                self.answer(404, {"error": f"nothing is at {self.path}"})
                return
            self.guarded(lambda: action(ca, json.loads(body or b"{}")))

        def guarded(self, work):
            try:
                self.answer(200, work())
            except (BadRequest, BehaviourError, ValueError, KeyError, TypeError) as error:
                self.answer(400, {"error": f"{type(error).__name__}: {error}"})

    return Handler


def state(ca):
    with ca.store.lock:
        for table in (ca.store.authorizations, ca.store.orders):
            for thing in table.values():
                ca.store.refresh(thing)
        certificates = [{k: v for k, v in asdict(c).items() if k not in ("der", "alternate")}
                        for c in ca.store.certificates.values()]
        orders = [{k: v for k, v in asdict(o).items() if k != "csr"} for o in ca.store.orders.values()]
        return {"accounts": [asdict(a) for a in ca.store.accounts.values()], "orders": orders,
                "authorizations": [asdict(a) for a in ca.store.authorizations.values()],
                "certificates": certificates, "counters": ca.journal.counts(),
                "mails_waiting": ca.mail_out.waiting(), "last": ca.journal.last_number()}


def log(ca, query):
    """?since=N, ?event=NAME, ?wait=SECONDS until there is something."""
    return ca.journal.since(int(query.get("since", 0)), query.get("event"),
                            min(float(query.get("wait", 0)), 120))


def change_behaviour(ca, body):
    ca.behaviour.merge(body)
    ca.journal.event("behaviour", changes=body)
    return ca.behaviour.snapshot()


def reset_behaviour(ca, body):
    ca.behaviour.reset(body)
    ca.journal.event("behaviour", changes="reset")
    return ca.behaviour.snapshot()


def mark(ca, body):
    """A line of the test's own in the log; its number is where to read on."""
    return {"n": ca.journal.event("mark", text=body.get("text"))["n"]}


def door(ca, body):
    """{how: open | refuse | stranger}: see TestCa.door."""
    if body["how"] not in ("open", "refuse", "stranger"):
        raise BadRequest("how is one of open, refuse, stranger")
    ca.door(body["how"])
    return {"how": body["how"]}


def chosen(ca, body):
    """Authorizations meant by {authz | order | address}; by address the pending ones, newest last."""
    with ca.store.lock:
        if "authz" in body:
            return [ca.store.authorizations[body["authz"]]]
        if "order" in body:
            order = ca.store.orders[body["order"]]
            return [ca.store.authorizations[i] for i in order.authorizations]
        if "address" in body:
            return [a for a in ca.store.authorizations.values()
                    if a.address.lower() == body["address"].lower() and a.status == "pending"]
    raise BadRequest("one of authz, order, address is needed")


def send_challenge(ca, body):
    """One more real challenge mail each, with a new token-part1 and Message-ID."""
    mails = [ca.mail_out.send_challenge(a) for a in chosen(ca, body)]
    if not mails:
        raise BadRequest("no authorization is pending there")
    return [{"message_id": m.message_id, "token_part1": m.token_part1} for m in mails]


def send_mail(ca, body):
    """A forged mail: {variant, address, token?, message_id?, signer?, host?...}. The token is
    a stray one unless `token` says "real" (the newest mail of the pending authorization)."""
    address = body["address"]
    token, message_id = body.get("token"), body.get("message_id")
    if token == "real":
        sent = [m for a in chosen(ca, {"address": address}) for m in a.mails]
        if not sent:
            raise BadRequest("no challenge mail went to that address")
        token, message_id = sent[-1].token_part1, message_id or sent[-1].message_id
    sender = body.get("from", ca.config["mail_from"])
    challenge = Challenge(sender, address, token or forge.stray_token(),
                          message_id or new_message_id(sender.rpartition("@")[2]),
                          reply_to=body.get("reply_to", ca.config["reply_to"]),
                          auto_submitted=body.get("auto_submitted", "auto-generated; type=acme"))
    raw = forge.forge(body["variant"], challenge, ca.signer, ca.stranger, ca.identity, ca.impostor)
    file = ca.mail_out.queue(raw, body.get("rcpt", address), "forged", sender=body.get("envelope_from"))
    ca.journal.event("forged", variant=body["variant"], address=address, file=file,
                     message_id=challenge.message_id, token_part1=challenge.token_part1)
    return {"file": file, "message_id": challenge.message_id, "token_part1": challenge.token_part1}


def dkim_key(ca, body):
    """Where no DNS is asked: {name, text} of a key record."""
    ca.lookup.add(body["name"], body["text"])
    return {"known": sorted(ca.lookup.texts)}


def revoke(ca, body):
    """The CA revokes by itself: {serial, reason}."""
    with ca.store.lock:
        for issued in ca.store.certificates.values():
            if issued.serial == body["serial"].lower().lstrip("0"):
                issued.revoked, issued.reason = time.time(), body.get("reason", 4)
                ca.journal.event("revoked", certificate=issued.id, serial=issued.serial,
                                 reason=issued.reason, by="CA", addresses=issued.addresses)
                return {"certificate": issued.id}
    raise BadRequest("no such serial number")


def fail(ca, body):
    """End pending authorizations as invalid: {authz | order | address, type?, detail?}."""
    with ca.store.lock:
        ended = chosen(ca, body)
        for authorization in ended:
            ca.acme.orders.fail(authorization, document(body.get("type", "unauthorized"),
                                                        body.get("detail", "ended by the test"), 403))
    return {"ended": [a.id for a in ended]}
