"""Orders, authorizations and the e-mail challenge (RFC 8555 section 7.4, RFC 8823)."""

import re
import secrets
import time

import jws
from issue import BadCsr
from problem import Problem, document, subproblem
from state import Authorization, Order, new_id
from webserver import Response

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
VALID_AUTHORIZATION_LIFETIME = 30 * 86400
ADDRESS = re.compile(rf"{ATOM}(?:\.{ATOM})*@{LABEL}(?:\.{LABEL})+\Z")


class Orders:
    def __init__(self, ca, acme):
        self.ca = ca
        self.acme = acme
        self.store = ca.store
        self.behaviour = ca.behaviour
        self.journal = ca.journal

    # newOrder

    def new_order(self, request, envelope, account, _jwk):
        payload = envelope.json_payload()
        identifiers = self.checked_identifiers(payload.get("identifiers"))
        profile = self.checked_profile(payload.get("profile"))
        for name in ("notBefore", "notAfter"):
            if name in payload and not DATE.match(str(payload[name])):
                raise Problem("malformed", f"{name} is not a date of RFC 3339", kind="payload")
        now = time.time()
        with self.store.lock:
            replaced = self.checked_replaces(payload.get("replaces"), account, identifiers)
            order = Order(new_id(), account.id, identifiers, [], now + self.behaviour["order_lifetime"],
                          now, profile, not_before=payload.get("notBefore"),
                          not_after=payload.get("notAfter"), replaces=payload.get("replaces"))
            for identifier in identifiers:
                authorization = self.authorization_for(account, identifier, now)
                authorization.orders.append(order.id)
                order.authorizations.append(authorization.id)
            self.store.orders[order.id] = order
            account.orders.append(order.id)
            if replaced:
                replaced.replaced_by = order.id
            self.refresh_order(order)
        request.notes["order"] = order.id
        self.journal.event("order_created", order=order.id, account=account.id,
                           addresses=order.addresses, profile=profile, replaces=order.replaces)
        if self.behaviour["challenge_trigger"] == "newOrder":
            for authorization in self.authorizations_of(order):
                self.trigger_mail(authorization)
        return self.order_response(order, 201)

    def checked_identifiers(self, identifiers):
        if not isinstance(identifiers, list) or not identifiers:
            raise Problem("malformed", "an order needs identifiers", kind="payload")
        allowed = {"both": ("email", "dns")}.get(self.behaviour["identifier_type"],
                                                 (self.behaviour["identifier_type"],))
        result = []
        for identifier in identifiers:
            if not isinstance(identifier, dict) or set(identifier) != {"type", "value"}:
                raise Problem("malformed", "an identifier has type and value", kind="payload")
            if identifier["type"] not in allowed:
                raise Problem("unsupportedIdentifier", f"identifiers have type {' or '.join(allowed)} here",
                              subproblems=[subproblem("unsupportedIdentifier", "wrong type", identifier)])
            value = identifier["value"]
            if not isinstance(value, str) or not ADDRESS.match(value) or len(value) > 254:
                raise Problem("rejectedIdentifier", f"{value!r} is not an e-mail address",
                              subproblems=[subproblem("rejectedIdentifier", "not an address", identifier)])
            if identifier in result:
                raise Problem("malformed", f"{value} is in the order twice", kind="payload")
            result.append(dict(identifier))
        if len(result) > self.behaviour["max_identifiers"]:
            raise Problem("rejectedIdentifier", "too many identifiers for one order")
        refused = [i for i in result if self.behaviour.covers("reject_identifiers", i["value"])]
        if refused:
            raise Problem("rejectedIdentifier", "this CA does not issue for some of the addresses",
                          subproblems=[subproblem("rejectedIdentifier", "refused by policy", i)
                                       for i in refused])
        return result

    def checked_profile(self, profile):
        if profile is None:
            return None
        if not self.behaviour["profiles"]:
            self.journal.violation("profile_not_offered", profile=profile)
        if profile not in self.ca.config["profiles"] or not self.behaviour["profiles"]:
            raise Problem("invalidProfile", f"no profile is called {profile!r}")
        return profile

    def checked_replaces(self, renewal_id, account, identifiers):
        if renewal_id is None:
            return None
        issued = self.store.certificate_by_renewal_id(renewal_id)
        if issued is None or issued.account != account.id:
            raise Problem("malformed", "`replaces` names no certificate of this account", kind="replaces")
        if not {i["value"] for i in identifiers} & set(issued.addresses):
            raise Problem("malformed", "the replaced certificate shares no address", kind="replaces")
        earlier = self.store.orders.get(issued.replaced_by)
        if earlier and earlier.status != "invalid":
            raise Problem("alreadyReplaced", "that certificate has been replaced already")
        return issued

    def authorization_for(self, account, identifier, now):
        """A new one, unless the switch allows to use a valid one again."""
        if self.behaviour["authz_reuse"]:
            for old in self.store.authorizations.values():
                self.store.refresh(old)
                if (old.account, old.identifier, old.status) == (account.id, identifier, "valid"):
                    return old
        token = jws.encode(secrets.token_bytes(int(self.behaviour["token_part2_bytes"])))
        result = Authorization(new_id(), account.id, identifier,
                               now + self.behaviour["authz_lifetime"], now, token,
                               self.ca.config["mail_from"])
        if self.behaviour.covers("authz_valid", identifier["value"]):
            result.status = result.challenge_status = "valid"
            result.validated = now
            result.expires = now + VALID_AUTHORIZATION_LIFETIME
            result.method = self.behaviour["authz_method"]
        self.store.authorizations[result.id] = result
        return result

    # reading

    def authorizations_of(self, order):
        return [self.store.authorizations[i] for i in order.authorizations]

    def refresh_order(self, order):
        """Status as it follows from time and authorizations."""
        self.store.refresh(order)
        if order.status != "pending":
            return
        states = []
        for authorization in self.authorizations_of(order):
            self.store.refresh(authorization)
            states.append(authorization.status)
        if all(state == "valid" for state in states):
            order.status = "ready"
        elif any(state not in ("pending", "valid") for state in states):
            if not self.behaviour["order_stays_pending"]:
                order.status = "invalid"
                failed = [a for a in self.authorizations_of(order) if a.challenge_error]
                order.error = document(
                    "compound" if len(failed) > 1 else "unauthorized",
                    "an authorization of this order failed", 403,
                    [{**a.challenge_error, "identifier": a.identifier} for a in failed])

    def order_response(self, order, status=200):
        with self.store.lock:
            url = self.acme.url
            body = {"status": order.status, "expires": rfc3339(order.expires),
                    "identifiers": order.identifiers,
                    "authorizations": [url(f"/acme/authz/{i}") for i in order.authorizations],
                    "finalize": url(f"/acme/order/{order.id}/finalize")}
            for name, value in (("profile", order.profile), ("notBefore", order.not_before),
                                ("notAfter", order.not_after), ("replaces", order.replaces),
                                ("error", order.error)):
                if value is not None:
                    body[name] = value
            if order.status == "valid":
                body["certificate"] = url(f"/acme/certificate/{order.certificate}")
            # A pending order waits for its authorizations, which say themselves when to ask again.
            wait = self.behaviour["poll_retry_after"] if order.status == "processing" else None
            return Response(status, body, headers=[("Location", url(f"/acme/order/{order.id}"))],
                            retry_after=wait)

    def find(self, table, request, account):
        found = table.get(request.ids[0])
        if found is None:
            raise Problem("malformed", "there is no such object", status=404, kind="unknown_object")
        if found.account != account.id:
            raise Problem("unauthorized", "that belongs to another account", kind="foreign_object")
        return found

    def order(self, request, envelope, account, _jwk):
        if envelope.payload:
            raise Problem("malformed", "POST-as-GET has an empty payload", kind="payload")
        with self.store.lock:
            order = self.find(self.store.orders, request, account)
            request.notes["order"] = order.id
            self.refresh_order(order)
            if order.status == "processing":
                order.polls_left -= 1
                if order.polls_left < 0 and not self.behaviour["issuance_held"]:
                    self.issue(order)
            return self.order_response(order)

    def authorization(self, request, envelope, account, _jwk):
        with self.store.lock:
            authorization = self.find(self.store.authorizations, request, account)
            request.notes["authz"] = authorization.id
            request.notes["address"] = authorization.address
            if envelope.payload:
                self.deactivate(authorization, envelope.json_payload())
            self.store.refresh(authorization)
            authorization.fetched = True
            if (authorization.status == "pending"
                    and self.behaviour["challenge_trigger"] == "authz-fetch"):
                self.trigger_mail(authorization)
            return self.authorization_response(authorization)

    def deactivate(self, authorization, payload):
        if payload.get("status") != "deactivated":
            raise Problem("malformed", "an authorization can only be deactivated", kind="payload")
        if authorization.status in ("pending", "valid"):
            authorization.status = "deactivated"
            self.journal.event("authz_deactivated", authz=authorization.id)

    def authorization_response(self, authorization):
        challenges = [self.challenge_object(authorization)] if authorization.method else []
        if self.behaviour["extra_challenge"]:
            challenges.insert(0, {"type": "carrier-pigeon-01", "status": "pending",
                                  "url": self.challenge_url(authorization) + "/other",
                                  "token": authorization.token_part2})
        body = {"status": authorization.status, "expires": rfc3339(authorization.expires),
                "identifier": authorization.identifier, "challenges": challenges}
        waiting = authorization.posted and authorization.status == "pending"
        wait = self.behaviour["poll_retry_after"] if waiting else None
        return Response(200, body, retry_after=wait)

    def challenge_url(self, authorization):
        return self.acme.url(f"/acme/challenge/{authorization.id}")

    def challenge_object(self, authorization):
        body = {"type": authorization.method, "url": self.challenge_url(authorization),
                "status": authorization.challenge_status, "token": authorization.token_part2}
        if authorization.method == "email-reply-00":
            body["from"] = self.behaviour["challenge_from"] or authorization.sender
        if authorization.validated:
            body["validated"] = rfc3339(authorization.validated)
        if authorization.challenge_error:
            body["error"] = authorization.challenge_error
        return body

    def abandon(self, account):
        """A deactivated account's open orders end."""
        for order_id in account.orders:
            order = self.store.orders[order_id]
            if order.status in ("pending", "ready"):
                order.status = "invalid"

    # the challenge

    def trigger_mail(self, authorization):
        if not authorization.mail_triggered and authorization.status == "pending":
            authorization.mail_triggered = True
            for _ in range(int(self.behaviour["challenge_mail_copies"])):
                self.ca.mail_out.send_challenge(authorization)

    def challenge(self, request, envelope, account, _jwk):
        with self.store.lock:
            authorization = self.find(self.store.authorizations, request, account)
            request.notes["authz"] = authorization.id
            request.notes["address"] = authorization.address
            self.store.refresh(authorization)
            if request.ids[1]:
                raise Problem("malformed", "no pigeon is at hand", kind="challenge_type")
            if envelope.payload:
                if envelope.json_payload() != {}:
                    raise Problem("malformed", "the payload of this challenge is {}", kind="payload")
                self.post_challenge(authorization)
            body = self.challenge_object(authorization)
            waiting = authorization.challenge_status == "processing"
        return Response(200, body, retry_after=self.behaviour["poll_retry_after"] if waiting else None,
                        headers=[("Link", f'<{self.acme.url("/acme/authz/" + authorization.id)}>;rel="up"')])

    def post_challenge(self, authorization):
        if authorization.status != "pending":
            return
        if authorization.posted:
            self.journal.event("challenge_posted_again", authz=authorization.id)
            return
        authorization.posted = True
        authorization.challenge_status = "processing"
        self.journal.event("challenge_posted", authz=authorization.id, address=authorization.address,
                           reply_there=authorization.reply_good is not None)
        forced = self.behaviour.take_counted("challenge_invalid")
        if forced:
            self.fail(authorization, forced_document(forced, authorization.identifier))
            return
        late = self.behaviour["challenge_trigger"] == "challenge-post"
        if late:
            self.trigger_mail(authorization)
        self.settle(authorization)
        deadline = time.monotonic() + self.behaviour["post_waits"]
        while authorization.reply_good is None and time.monotonic() < deadline:
            self.store.changed.wait(deadline - time.monotonic())
        if (authorization.reply_good is None and not late
                and self.behaviour["post_before_reply"] == "invalid"):
            self.fail(authorization, document("incorrectResponse", "no reply mail was found", 403))

    def reply_judged(self, authorization, good, reasons):
        """Called with the verdict about a reply mail to this authorization's challenge."""
        with self.store.lock:
            self.store.refresh(authorization)
            if authorization.status != "pending":
                return
            if good:
                authorization.reply_good = True
            elif self.behaviour["bad_reply"] == "invalid" and not authorization.reply_good:
                authorization.reply_good = False
                authorization.reply_reasons = reasons
            self.settle(authorization)
            self.store.changed.notify_all()

    def settle(self, authorization):
        """Valid as soon as POST and good reply are both there."""
        if authorization.status != "pending" or not authorization.posted:
            return
        if authorization.reply_good is False:
            self.fail(authorization, document(
                "incorrectResponse", "the reply mail was not accepted: " + "; ".join(authorization.reply_reasons), 403))
        elif authorization.reply_good:
            authorization.status = authorization.challenge_status = "valid"
            authorization.validated = time.time()
            authorization.expires = authorization.validated + VALID_AUTHORIZATION_LIFETIME
            self.journal.event("challenge_valid", authz=authorization.id, address=authorization.address)
            self.refresh_orders(authorization)

    def fail(self, authorization, error):
        if authorization.status != "pending":
            return
        authorization.status = authorization.challenge_status = "invalid"
        authorization.challenge_error = error
        self.journal.event("challenge_invalid", authz=authorization.id, address=authorization.address,
                           error=error)
        self.refresh_orders(authorization)

    def refresh_orders(self, authorization):
        for order_id in authorization.orders:
            if order_id in self.store.orders:
                self.refresh_order(self.store.orders[order_id])

    # finalize and the certificate

    def finalize(self, request, envelope, account, _jwk):
        payload = envelope.json_payload()
        with self.store.lock:
            order = self.find(self.store.orders, request, account)
            request.notes["order"] = order.id
            self.refresh_order(order)
            if order.status != "ready":
                if order.status in ("processing", "valid"):
                    self.journal.violation("finalized_twice", order=order.id)
                raise Problem("orderNotReady", f"the order is {order.status}")
            der = jws.decode(payload.get("csr"), "csr")
            try:
                self.ca.issuer.check_request(der, order, account.jwk)
            except BadCsr as error:
                raise Problem("badCSR", str(error)) from error
            order.csr = der
            self.journal.event("finalized", order=order.id, account=account.id, addresses=order.addresses)
            forced = self.behaviour.take_counted("order_invalid")
            if forced:
                order.status = "invalid"
                order.error = forced_document(forced, order.identifiers[0])
            else:
                order.status = "processing"
                order.polls_left = int(self.behaviour["finalize_processing"])
                if order.polls_left == 0 and not self.behaviour["issuance_held"]:
                    self.issue(order)
            return self.order_response(order)

    def issue(self, order):
        issued = self.ca.issuer.issue(order)
        self.store.certificates[issued.id] = issued
        order.certificate, order.status = issued.id, "valid"

    def certificate(self, request, envelope, account, _jwk):
        if envelope.payload:
            raise Problem("malformed", "POST-as-GET has an empty payload", kind="payload")
        with self.store.lock:
            issued = self.find(self.store.certificates, request, account)
        request.notes["certificate"] = issued.id
        url = self.acme.url(f"/acme/certificate/{issued.id}")
        headers, chain = [], issued.chain
        if issued.alternate:
            other = url if request.ids[1] else url + "/alternate"
            headers.append(("Link", f'<{other}>;rel="alternate"'))
            chain = issued.alternate if request.ids[1] else issued.chain
        elif request.ids[1]:
            raise Problem("malformed", "there is no other chain", status=404)
        return Response(200, body=chain.encode(), headers=headers,
                        content_type="application/pem-certificate-chain")


def forced_document(forced, identifier):
    """The problem a switch asks for; with true, one with two subproblems."""
    if forced is True or not set(forced) - {"count"}:
        return document("compound", "the test wants this to fail", 403, [
            subproblem("incorrectResponse", "the reply was not what was expected", identifier),
            subproblem("caa", "CAA forbids issuance", identifier)])
    return document(forced.get("type", "unauthorized"), forced.get("detail", "the test wants this to fail"),
                    forced.get("status"), forced.get("subproblems"))


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
