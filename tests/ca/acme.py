"""RFC 8555 without the orders: routing, nonces, signatures, accounts, keys, renewal information."""

import random
import re
import secrets
import threading
import time

import jws
from orders import Orders, rfc3339
from problem import Problem
from state import Account, new_id
from webserver import Response

NONCES_KEPT = 200_000
# How much too early a client may come back before it is written down.
RETRY_TOLERANCE = 0.3

ROUTES = (
    ("directory", r"/directory"),
    ("terms", r"/terms"),
    ("newNonce", r"/acme/new-nonce"),
    ("newAccount", r"/acme/new-account"),
    ("newOrder", r"/acme/new-order"),
    ("revokeCert", r"/acme/revoke-cert"),
    ("keyChange", r"/acme/key-change"),
    ("orders", r"/acme/account/(\w+)/orders"),
    ("account", r"/acme/account/(\w+)"),
    ("finalize", r"/acme/order/(\w+)/finalize"),
    ("order", r"/acme/order/(\w+)"),
    ("authz", r"/acme/authz/(\w+)"),
    ("challenge", r"/acme/challenge/(\w+)(?:/(other))?"),
    ("certificate", r"/acme/certificate/(\w+)(?:/(alternate))?"),
    ("renewalInfo", r"/acme/renewal-info/([\w.-]*)"),
)
COMPILED = [(name, re.compile(pattern + r"\Z")) for name, pattern in ROUTES]
UNSIGNED = ("directory", "terms", "newNonce", "renewalInfo")


class Nonces:
    """Each is good for one request; a used one and an invented one are told apart."""

    def __init__(self):
        self._lock = threading.Lock()
        self._fresh = {}
        self._used = {}

    def issue(self):
        nonce = secrets.token_urlsafe(16)
        with self._lock:
            self._fresh[nonce] = None
            if len(self._fresh) > NONCES_KEPT:
                self._fresh.pop(next(iter(self._fresh)))
        return nonce

    def take(self, nonce):
        """None when good, else "nonce_reused" or "nonce_unknown"."""
        with self._lock:
            if nonce in self._fresh:
                del self._fresh[nonce]
                self._used[nonce] = None
                if len(self._used) > NONCES_KEPT:
                    self._used.pop(next(iter(self._used)))
                return None
            return "nonce_reused" if nonce in self._used else "nonce_unknown"


class Acme:
    def __init__(self, ca):
        self.ca = ca
        self.store = ca.store
        self.behaviour = ca.behaviour
        self.journal = ca.journal
        self.nonces = Nonces()
        self.orders = Orders(ca, self)
        self._not_before = {}
        self._handlers = {
            "newAccount": self.new_account, "account": self.account, "orders": self.order_list,
            "keyChange": self.key_change, "revokeCert": self.revoke,
            "newOrder": self.orders.new_order, "order": self.orders.order,
            "authz": self.orders.authorization, "challenge": self.orders.challenge,
            "finalize": self.orders.finalize, "certificate": self.orders.certificate,
        }

    def route(self, path):
        for name, pattern in COMPILED:
            match = pattern.match(path)
            if match:
                return name, match.groups()
        return None, ()

    def url(self, path):
        return self.ca.base_url + path

    def handle(self, request):
        if request.endpoint is None:
            raise Problem("malformed", f"nothing is at {request.path}", status=404, kind="unknown_path")
        if request.endpoint in UNSIGNED:
            return self.unsigned(request)
        if request.method != "POST":
            raise Problem("malformed", f"{request.method} is not allowed here", status=405,
                          kind="method", headers={"Allow": "POST"})
        envelope = self.open_envelope(request)
        with self.store.lock:
            account, jwk = self.authenticate(request, envelope)
        if account:
            request.notes["account"] = account.id
            self.note_early_return(request, account)
        return self._handlers[request.endpoint](request, envelope, account, jwk)

    def concerns(self, request):
        """(addresses, status of the order) of what a request is about, not believed yet: for
        faults and the log."""
        if request.endpoint == "newOrder":
            return addresses_in(request.body), None
        tables = {"order": self.store.orders, "finalize": self.store.orders, "authz": self.store.authorizations,
                  "challenge": self.store.authorizations, "certificate": self.store.certificates}
        with self.store.lock:
            found = tables.get(request.endpoint, {}).get(request.ids[0] if request.ids else None)
            if found is None:
                return [], None
            if request.endpoint == "certificate":
                return found.addresses, "valid"
            if request.endpoint in ("order", "finalize"):
                return found.addresses, found.status
            order = self.store.orders.get(found.orders[-1]) if found.orders else None
            return [found.address], order.status if order else None

    # requests without a signature

    def unsigned(self, request):
        allowed = ("GET", "HEAD")
        if request.method not in allowed:
            raise Problem("malformed", f"{request.method} is not allowed here", status=405,
                          kind="method", headers={"Allow": "GET, HEAD"})
        if request.endpoint == "directory":
            return Response(200, self.directory())
        if request.endpoint == "terms":
            return Response(200, body=b"Certificates of this CA are for tests.\n",
                            content_type="text/plain")
        if request.endpoint == "renewalInfo":
            return self.renewal_info(request)
        return Response(200 if request.method == "HEAD" else 204)

    def directory(self):
        meta = {
            "termsOfService": self.url("/terms"),
            "website": self.ca.base_url,
            "caaIdentities": self.ca.config["caa_identities"],
            "externalAccountRequired": self.ca.config["eab_required"],
        }
        if self.behaviour["profiles"]:
            meta["profiles"] = {name: profile["description"]
                                for name, profile in self.ca.config["profiles"].items()}
        result = {
            "newNonce": self.url("/acme/new-nonce"), "newAccount": self.url("/acme/new-account"),
            "newOrder": self.url("/acme/new-order"), "revokeCert": self.url("/acme/revoke-cert"),
            "keyChange": self.url("/acme/key-change"), "meta": meta,
        }
        if self.behaviour["renewal_info"]:
            result["renewalInfo"] = self.url("/acme/renewal-info")
        return result

    def renewal_info(self, request):
        """RFC 9773."""
        if not self.behaviour["renewal_info"]:
            raise Problem("malformed", "no renewal information here", status=404)
        issued = self.store.certificate_by_renewal_id(request.ids[0])
        if issued is None:
            raise Problem("malformed", "no such certificate", status=404, kind="renewal_id_unknown")
        request.notes["certificate"] = issued.id
        window, now = self.behaviour["renewal_window"], time.time()
        if issued.revoked or window == "now":
            start, end = now - 7200, now - 3600
        elif window:
            start, end = now + window["start"], now + window["end"]
        else:
            life = issued.not_after - issued.not_before
            start, end = issued.not_before + life * 2 / 3, issued.not_before + life * 5 / 6
        answer = {"suggestedWindow": {"start": rfc3339(start), "end": rfc3339(end)}}
        if window == "now":
            answer["explanationURL"] = self.url("/terms")
        return Response(200, answer, retry_after=self.behaviour["renewal_retry_after"])

    # the signature

    def open_envelope(self, request):
        content_type = request.headers.get("Content-Type", "")
        if content_type != "application/jose+json":
            raise Problem("malformed", "Content-Type must be application/jose+json", status=415,
                          kind="content_type")
        if not request.headers.get("User-Agent"):
            self.journal.violation("no_user_agent", endpoint=request.endpoint)
        envelope = jws.Envelope.parse(request.body)
        if envelope.header.get("alg") not in jws.ACCOUNT_ALGORITHMS:
            raise Problem("badSignatureAlgorithm", "the algorithm is not supported",
                          algorithms=list(jws.ACCOUNT_ALGORITHMS))
        if envelope.header.get("url") != request.url:
            raise Problem("unauthorized", f"url in the JWS is not {request.url}", status=401,
                          kind="jws_url")
        self.check_nonce(envelope.header.get("nonce"))
        return envelope

    def check_nonce(self, nonce):
        if not isinstance(nonce, str) or not nonce:
            raise Problem("badNonce", "the JWS has no nonce", kind="nonce_missing")
        fault = self.nonces.take(nonce)
        if fault:
            raise Problem("badNonce", "the nonce is not good", kind=fault)
        if random.random() < self.behaviour["nonce_reject_share"]:
            raise Problem("badNonce", "this nonce is refused by chance")

    def authenticate(self, request, envelope):
        """(account, key): newAccount and revocation by certificate key have no account yet."""
        header = envelope.header
        if ("jwk" in header) == ("kid" in header):
            raise Problem("malformed", "exactly one of jwk and kid is needed", kind="jwk_or_kid")
        if "jwk" in header:
            if request.endpoint not in ("newAccount", "revokeCert"):
                raise Problem("malformed", "this request needs kid", kind="jwk_or_kid")
            jwk = jws.public_jwk(header["jwk"])
            envelope.verify(jwk)
            return None, jwk
        if request.endpoint == "newAccount":
            raise Problem("malformed", "newAccount needs jwk", kind="jwk_or_kid")
        prefix = self.url("/acme/account/")
        kid = header["kid"] if isinstance(header["kid"], str) else ""
        account = self.store.accounts.get(kid[len(prefix):]) if kid.startswith(prefix) else None
        if account is None:
            raise Problem("accountDoesNotExist", "kid names no account")
        envelope.verify(account.jwk)
        if account.status != "valid":
            raise Problem("unauthorized", f"the account is {account.status}", status=401)
        return account, account.jwk

    # Retry-After

    def remember_retry_after(self, request, response):
        if isinstance(response.retry_after, (int, float)) and request.endpoint != "renewalInfo":
            key = (request.notes.get("account"), request.path)
            with self.store.lock:
                self._not_before[key] = time.monotonic() + response.retry_after

    def note_early_return(self, request, account):
        with self.store.lock:
            until = (self._not_before.pop((account.id, request.path), 0)
                     or self._not_before.pop((None, request.path), 0))
        early = until - time.monotonic()
        # The challenge may be POSTed while it shows a time to poll again.
        if early > RETRY_TOLERANCE and request.endpoint != "challenge":
            self.journal.violation("retry_after_ignored", endpoint=request.endpoint,
                                   path=request.path, early=round(early, 2), account=account.id)

    # accounts

    def new_account(self, request, envelope, _account, jwk):
        payload = envelope.json_payload()
        with self.store.lock:
            thumbprint = jws.thumbprint(jwk)
            existing = self.store.account_by_thumbprint(thumbprint)
            if existing:
                request.notes["account"] = existing.id
                if existing.status != "valid":
                    raise Problem("unauthorized", f"the account is {existing.status}", status=401)
                return self.account_response(existing, 200)
            if payload.get("onlyReturnExisting") is True:
                raise Problem("accountDoesNotExist", "no account has this key")
            contact = checked_contact(payload.get("contact", []))
            agreed = payload.get("termsOfServiceAgreed") is True
            if self.behaviour["require_terms"] and not agreed:
                raise Problem("userActionRequired", "the terms of service must be agreed to",
                              headers={"Link": f'<{self.url("/terms")}>;rel="terms-of-service"'})
            binding = payload.get("externalAccountBinding")
            kid = self.check_binding(request, binding, jwk)
            account = Account(new_id(), jwk, thumbprint, contact, agreed, binding, kid)
            self.store.accounts[account.id] = account
        request.notes["account"] = account.id
        self.journal.event("account_created", account=account.id, eab=kid, contact=contact)
        return self.account_response(account, 201)

    def check_binding(self, request, binding, jwk):
        """The key identifier of a good external account binding, or None without one."""
        if binding is None:
            if self.ca.config["eab_required"]:
                raise Problem("externalAccountRequired", "newAccount needs an external account binding")
            return None
        inner = jws.Envelope(binding)
        if inner.header.get("url") != request.url or "nonce" in inner.header:
            raise Problem("malformed", "the binding has a wrong url or a nonce", kind="eab")
        known = self.ca.config["eab"].get(inner.header.get("kid"))
        if known is None:
            raise Problem("unauthorized", "the key identifier of the binding is not known")
        inner.verify_mac(jws.decode(known["key"].rstrip("="), "key"), known.get("alg", "HS256"))
        if jws.public_jwk(inner.json_payload()) != jwk:
            raise Problem("malformed", "the binding is about another key", kind="eab")
        return inner.header["kid"]

    def account_response(self, account, status):
        body = {"status": account.status, "contact": account.contact,
                "termsOfServiceAgreed": account.terms_agreed,
                "orders": self.url(f"/acme/account/{account.id}/orders")}
        if account.eab:
            body["externalAccountBinding"] = account.eab
        return Response(status, body, headers=[("Location", self.url(f"/acme/account/{account.id}"))])

    def account(self, request, envelope, account, _jwk):
        own(account, request.ids[0], account.id)
        with self.store.lock:
            if envelope.payload:
                payload = envelope.json_payload()
                if "contact" in payload:
                    account.contact = checked_contact(payload["contact"])
                if payload.get("status") == "deactivated":
                    account.status = "deactivated"
                    self.orders.abandon(account)
                    self.journal.event("account_deactivated", account=account.id)
                elif "status" in payload:
                    raise Problem("malformed", "an account can only be deactivated", kind="payload")
            return self.account_response(account, 200)

    def order_list(self, request, envelope, account, _jwk):
        own(account, request.ids[0], account.id)
        post_as_get(envelope)
        return Response(200, {"orders": [self.url(f"/acme/order/{i}") for i in account.orders]})

    def key_change(self, request, envelope, account, _jwk):
        """RFC 8555 section 7.3.5: the inner JWS is made with the new key."""
        inner = jws.Envelope(envelope.json_payload())
        if "jwk" not in inner.header or "nonce" in inner.header:
            raise Problem("malformed", "the inner JWS needs jwk and no nonce", kind="key_change")
        if inner.header.get("url") != request.url:
            raise Problem("malformed", "inner and outer url differ", kind="key_change")
        new_jwk = jws.public_jwk(inner.header["jwk"])
        inner.verify(new_jwk)
        payload = inner.json_payload()
        if payload.get("account") != self.url(f"/acme/account/{account.id}"):
            raise Problem("malformed", "the inner JWS is about another account", kind="key_change")
        with self.store.lock:
            if jws.public_jwk(payload.get("oldKey")) != account.jwk:
                raise Problem("malformed", "oldKey is not the account's key", kind="key_change")
            other = self.store.account_by_thumbprint(jws.thumbprint(new_jwk))
            if other:
                raise Problem("malformed", "another account has this key", status=409,
                              headers={"Location": self.url(f"/acme/account/{other.id}")})
            account.jwk, account.thumbprint = new_jwk, jws.thumbprint(new_jwk)
        self.journal.event("key_changed", account=account.id)
        return self.account_response(account, 200)

    # revocation

    def revoke(self, request, envelope, account, jwk):
        payload = envelope.json_payload()
        der = jws.decode(payload.get("certificate"), "certificate")
        reason = payload.get("reason", 0)
        with self.store.lock:
            issued = self.store.certificate_by_der(der)
            if issued is None:
                raise Problem("malformed", "this CA did not issue that certificate", status=404)
            if account is None:
                if jws.jwk_of(self.ca.issuer.public_key_of(der)) != jwk:
                    raise Problem("unauthorized", "the key is not that of the certificate")
            elif account.id != issued.account:
                raise Problem("unauthorized", "the certificate belongs to another account")
            if isinstance(reason, bool) or reason not in (0, 1, 3, 4, 5):
                raise Problem("badRevocationReason", "reasons here are 0, 1, 3, 4 and 5")
            if issued.revoked:
                raise Problem("alreadyRevoked", "the certificate was revoked before")
            issued.revoked, issued.reason = time.time(), reason
        self.journal.event("revoked", certificate=issued.id, serial=issued.serial, reason=reason,
                           by="account" if account else "certificate key", addresses=issued.addresses)
        return Response(200)


def addresses_in(body):
    """Of the identifiers in a JWS, whatever it looks like."""
    try:
        identifiers = jws.Envelope.parse(body).json_payload()["identifiers"]
        return [i["value"] for i in identifiers if isinstance(i["value"], str)]
    except (Problem, KeyError, TypeError):
        return []


def own(account, wanted, owner):
    if account.id != owner or wanted != owner:
        raise Problem("unauthorized", "that belongs to another account", kind="foreign_object")


def post_as_get(envelope):
    if envelope.payload:
        raise Problem("malformed", "POST-as-GET has an empty payload", kind="payload")


def checked_contact(contact):
    if not isinstance(contact, list):
        raise Problem("malformed", "contact is not a list", kind="payload")
    for entry in contact:
        if not isinstance(entry, str) or not entry.startswith("mailto:"):
            raise Problem("unsupportedContact", "contacts are mailto addresses here")
        if not re.match(r"mailto:[^@\s,?]+@[^@\s,?]+\.[^@\s,?]+\Z", entry):
            raise Problem("invalidContact", f"{entry} is not one plain address")
    return contact
