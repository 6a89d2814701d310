"""Switches: how this CA behaves, well or badly.

One table (SWITCHES) holds every switch with its default, a check and a sentence.
Values come from the configuration file and, at run time, from the admin port.
Faults of single requests are kept apart, because they are counted down.
"""

import copy
import threading

import smimesign

FOREVER = "forever"

ENDPOINTS = (
    "directory", "newNonce", "newAccount", "newOrder", "account", "orders", "order",
    "authz", "challenge", "finalize", "certificate", "revokeCert", "keyChange",
    "renewalInfo", "terms",
)

BAD_CERTIFICATES = (
    "wrong_key", "wrong_address", "extra_address", "no_address", "wrong_policy", "no_policy",
    "multipurpose_for_strict", "legacy", "expired", "not_yet_valid", "wrong_issuer",
    "missing_intermediate", "foreign_intermediate", "extra_eku", "server_eku", "no_email_eku",
    "ca_true", "lifetime_900_days", "ku_encrypt_only", "ku_sign_only", "ku_cert_sign",
    "https_crl", "extra_subject",
)

FAULT_KEYS = (
    "status", "type", "detail", "subproblems", "retry_after", "hang", "hang_after", "drop",
    "drop_after", "answer_status", "body", "content_type", "no_nonce", "count", "skip",
    "address", "order_status",
)


def one_of(*values):
    def check(value):
        return value in values
    check.text = " | ".join("null" if v is None else str(v).lower() if isinstance(v, bool) else str(v)
                            for v in values)
    return check


def number(least, most=None):
    def check(value):
        return (isinstance(value, (int, float)) and not isinstance(value, bool)
                and value >= least and (most is None or value <= most))
    check.text = f"number from {least}" + (f" to {most}" if most is not None else "")
    return check


def optional(inner):
    def check(value):
        return value is None or inner(value)
    check.text = "null | " + inner.text
    return check


def boolean(value):
    return isinstance(value, bool)


def text(value):
    return isinstance(value, str)


def flag_or_addresses(value):
    return isinstance(value, bool) or addresses(value)


def addresses(value):
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def forced_problem(value):
    return value is None or isinstance(value, (bool, dict))


def bad_certificate(value):
    if isinstance(value, dict):
        return value.get("kind") in BAD_CERTIFICATES and set(value) <= {"kind", "count"}
    return value is None or value in BAD_CERTIFICATES


def renewal_window(value):
    if isinstance(value, dict):
        return set(value) == {"start", "end"}
    return value in (None, "now")


def smtp_faults(value):
    stages = ("connect", "mail", "rcpt", "data", "after_data")
    return isinstance(value, dict) and all(
        stage in stages and isinstance(fault, dict) for stage, fault in value.items())


boolean.text = "true | false"
text.text = "text"
flag_or_addresses.text = "true | false | list of addresses or domains"
addresses.text = "list of addresses or domains"
forced_problem.text = "null | true | {type, detail, subproblems, count}"
bad_certificate.text = "null | kind | {kind, count}"
renewal_window.text = 'null | "now" | {start, end} in seconds from now'
smtp_faults.text = "{stage: {code, text, hang, drop, count}}"

# name, default, check, sentence. The README prints this table.
SWITCHES = (
    # the challenge mail
    ("challenge_trigger", "authz-fetch", one_of("newOrder", "authz-fetch", "challenge-post", "never"),
     "when the challenge mail goes out; authz-fetch is the first POST-as-GET, once"),
    ("challenge_mail_delay", 0, number(0), "seconds between the trigger and the first delivery attempt"),
    ("challenge_mail_copies", 1, number(0, 5), "how many mails one trigger sends, each with its own token-part1"),
    ("challenge_subject", "plain", one_of("plain", "folded", "encoded-q", "encoded-b", "encoded-split"),
     "how the Subject is written: folded before the token, or RFC 2047 encoded (one word or two)"),
    ("challenge_subject_token_space", False, boolean, "white space inside the token of the Subject"),
    ("challenge_auto_submitted", "auto-generated; type=acme",
     one_of("auto-generated; type=acme", "auto-generated", None), "value of Auto-Submitted; null: no such field"),
    ("challenge_reply_to", True, boolean, "send Reply-To when the configuration has reply_to"),
    ("challenge_body", "plain", one_of("plain", "html", "alternative", "html-in-alternative"),
     "form of the challenge mail's body"),
    ("challenge_authentication", "dkim", one_of("dkim", "none", *smimesign.FORMS),
     "how the challenge mail is authenticated: DKIM, S/MIME (see smimesign.py), or not at all"),
    ("challenge_dkim_absent_fields", True, boolean, "h= lists the fields of RFC 8823 that are absent, too"),
    ("challenge_dkim_oversign", True, boolean, "h= lists each present field once more than it occurs"),
    ("challenge_from", None, optional(text), "what the challenge object says in `from` instead of the real sender"),
    ("token_part1_bytes", 20, number(1, 64), "random bytes in token-part1; under 16 is too weak"),
    ("token_part2_bytes", 20, number(1, 64), "random bytes in token-part2"),
    # judging the reply
    ("token_join", "strings", one_of("strings", "decoded"), "how the two token parts become one"),
    ("post_before_reply", "wait", one_of("wait", "invalid"),
     "a challenge POST before a reply: stay processing, or end invalid"),
    ("post_waits", 0, number(0, 60), "seconds the challenge POST is held open waiting for the reply"),
    ("reply_checked_late", 0, number(0), "seconds between the arrival of a reply and its verdict"),
    ("reply_swallowed", False, boolean, "replies are taken and forgotten, nobody judges them"),
    ("bad_reply", "invalid", one_of("invalid", "ignore"), "what a reply that fails a check does to its challenge"),
    ("reply_dkim", True, boolean, "the reply needs the DKIM signature of RFC 8823"),
    ("reply_dkim_fields", True, boolean, "h= of the reply must name all twelve fields"),
    ("reply_strict_body", True, boolean, "nothing but the block in the body, digest on one line"),
    ("reply_strict_subject", True, boolean, "the Subject must be on one line, not encoded"),
    ("reply_needs_in_reply_to", True, boolean, "false: a reply without In-Reply-To is found by its Subject"),
    # ACME
    ("nonce_reject_share", 0.0, number(0, 1), "share of good nonces answered badNonce"),
    ("require_terms", True, boolean, "newAccount must agree to the terms of service"),
    ("identifier_type", "email", one_of("email", "dns", "both"), "identifier type accepted in newOrder"),
    ("max_identifiers", 10, number(1), "identifiers allowed in one order"),
    ("reject_identifiers", [], addresses, "newOrder refuses these with rejectedIdentifier and subproblems"),
    ("authz_valid", False, flag_or_addresses, "authorizations are valid from the start, no mail needed"),
    ("authz_method", "email-reply-00", text,
     "type of the challenge shown by authorizations that are valid from the start; empty: none is shown"),
    ("authz_reuse", False, boolean, "a valid authorization of the account is put into its later orders"),
    ("authz_lifetime", 86400, number(1), "seconds a pending authorization and its tokens live"),
    ("order_lifetime", 604800, number(1), "seconds an unfinished order lives"),
    ("extra_challenge", False, boolean, "each authorization also offers a challenge of an unknown type"),
    ("challenge_invalid", None, forced_problem, "challenges end invalid with this problem once POSTed"),
    ("order_invalid", None, forced_problem, "finalized orders end invalid with this problem"),
    ("order_stays_pending", False, boolean, "an order stays pending although an authorization is invalid"),
    ("finalize_processing", 0, number(0), "polls for which a finalized order stays processing"),
    ("issuance_held", False, boolean, "finalized orders stay processing as long as this is on"),
    ("poll_retry_after", 1, optional(number(0)), "Retry-After of pending and processing objects; null: none"),
    ("retry_after_as_date", False, boolean, "every Retry-After is an HTTP date instead of seconds"),
    ("profiles", True, boolean, "offer meta.profiles and accept `profile` in newOrder"),
    ("renewal_info", True, boolean, "offer renewalInfo (RFC 9773)"),
    ("renewal_window", None, renewal_window, "suggested window; null: from two thirds to five sixths of the lifetime"),
    ("renewal_retry_after", 21600, number(0), "Retry-After of renewalInfo"),
    ("clock_offset", 0, number(-1000000000), "seconds by which Date in its answers is wrong"),
    ("alternate_chain", False, boolean, "offer a second chain to another root by Link rel=alternate"),
    # issuance
    ("key_usage_request", "honour", one_of("honour", "ignore", "refuse"),
     "the CSR's keyUsage: honour, ignore (always dual use), refuse (badCSR)"),
    ("bad_certificate", None, bad_certificate, "issue a wrong certificate of this kind"),
    ("lifetime_days", 365, number(1), "lifetime of certificates"),
    ("lifetime_seconds", None, optional(number(1)), "lifetime in seconds, before lifetime_days"),
    ("backdate_seconds", 3600, number(0), "how far notBefore lies in the past"),
    # the mail server
    ("smtp_faults", {}, smtp_faults, "answers of the reply MX at connect, mail, rcpt, data, after_data"),
)

# What is known of real servers, as far as the switches can show it. Each is set on top of the
# defaults: POST /behaviour {"preset": NAME, ...further switches}.
PRESETS = {
    "rfc": {},
    "rapidmx": {"challenge_trigger": "authz-fetch", "token_join": "strings", "max_identifiers": 1},
    "acme2certifier": {
        "challenge_trigger": "authz-fetch", "token_join": "strings", "token_part1_bytes": 24,
        "token_part2_bytes": 24, "challenge_auto_submitted": None, "challenge_reply_to": False,
        "challenge_authentication": "none", "reply_dkim": False, "post_before_reply": "invalid",
        "post_waits": 2, "order_stays_pending": True, "identifier_type": "both", "profiles": False,
        "renewal_info": False},
    "castle": {"challenge_trigger": "newOrder", "token_join": "decoded", "post_before_reply": "invalid"},
    "platynum": {"challenge_trigger": "authz-fetch", "token_join": "decoded",
                 "challenge_body": "html-in-alternative", "challenge_authentication": "smime-rfc7508"},
    "secsy-pki": {"challenge_trigger": "challenge-post", "token_join": "strings",
                  "reply_needs_in_reply_to": False},
    "akamu": {"challenge_trigger": "challenge-post", "token_join": "strings"},
    "step-ca": {"token_join": "decoded"},
}

DEFAULTS = {name: default for name, default, _, _ in SWITCHES}
CHECKS = {name: check for name, _, check, _ in SWITCHES}


class BehaviourError(ValueError):
    """A switch or fault that does not exist, or a value it cannot have."""


def _checked(changes):
    """(switches, faults) of what somebody asks for; BehaviourError when there is no such thing."""
    changes = copy.deepcopy(changes)
    preset = changes.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise BehaviourError(f"no preset is called {preset!r}")
        changes = {**copy.deepcopy(PRESETS[preset]), **changes}
    faults = changes.pop("faults", None)
    for name, value in changes.items():
        if name not in CHECKS:
            raise BehaviourError(f"no switch is called {name!r}")
        if not CHECKS[name](value):
            raise BehaviourError(f"{name} cannot be {value!r}; allowed: {CHECKS[name].text}")
    return changes, {e: _checked_faults(e, v) for e, v in (faults or {}).items()}


class Behaviour:
    """Current switches and pending faults. All methods may be called from any thread."""

    def __init__(self, initial=None):
        self._lock = threading.Lock()
        self._initial = copy.deepcopy(initial or {})
        self.reset({})

    def reset(self, changes):
        """Back to the defaults and what the configuration file said, then `changes` as in merge;
        nobody sees a state in between."""
        values, faults = copy.deepcopy(DEFAULTS), {}
        for step in (self._initial, changes):
            more, more_faults = _checked(step)
            values.update(more)
            faults.update(more_faults)
        with self._lock:
            self._values, self._faults = values, faults

    def merge(self, changes):
        """Set switches; `faults` maps an endpoint to a fault, a list of them, or null (none);
        `preset` first sets what PRESETS says."""
        values, faults = _checked(changes)
        with self._lock:
            self._values.update(values)
            self._faults.update(faults)
    def __getitem__(self, name):
        with self._lock:
            return self._values[name]

    def snapshot(self):
        with self._lock:
            return {**copy.deepcopy(self._values), "faults": copy.deepcopy(self._faults)}

    def take_fault(self, endpoint, addresses=(), order_status=None):
        """The fault for this request, counted down; None when it is to go well. The first in the
        list that is not used up, and not about other addresses or orders, is the one."""
        with self._lock:
            for name in (endpoint, "*"):
                fault = next((f for f in self._faults.get(name) or () if f.get("count", 1) != 0
                              and f.get("address") in (None, *addresses)
                              and f.get("order_status") in (None, order_status)), None)
                if fault is None:
                    continue
                if fault.get("skip", 0) > 0:
                    fault["skip"] -= 1
                    continue
                return _count_down(fault)
        return None

    def take_counted(self, name):
        """A switch whose value may carry a count; None when off or used up."""
        with self._lock:
            value = self._values[name]
            if value in (None, False):
                return None
            if isinstance(value, dict) and "count" in value:
                if value["count"] <= 0:
                    return None
                value["count"] -= 1
            return copy.deepcopy(value)

    def take_smtp_fault(self, stage):
        with self._lock:
            fault = self._values["smtp_faults"].get(stage)
            if not fault or fault.get("count", 1) == 0:
                return None
            return _count_down(fault)

    def covers(self, name, address):
        """Whether a switch of addresses or domains (or true) names this address."""
        value = self[name]
        if isinstance(value, bool):
            return value
        domain = address.rpartition("@")[2].lower()
        return any(entry.lower() in (address.lower(), domain) for entry in value)


def _checked_faults(endpoint, value):
    if endpoint not in ENDPOINTS and endpoint != "*":
        raise BehaviourError(f"no endpoint is called {endpoint!r}")
    queue = value if isinstance(value, list) else [value] if value else []
    for fault in queue:
        unknown = set(fault) - set(FAULT_KEYS)
        if unknown:
            raise BehaviourError(f"a fault has no {', '.join(sorted(unknown))}")
        if fault.get("body") not in (None, "garbage", "truncated", "empty"):
            raise BehaviourError("body of a fault is garbage, truncated or empty")
    return queue


def _count_down(fault):
    """A copy of the fault; one use fewer is left. Without a count it is used once, -1 means always."""
    taken = copy.deepcopy(fault)
    left = fault.get("count", 1)
    if left > 0:
        fault["count"] = left - 1
    return taken


def switch_table():
    """The switches as a Markdown table, for the README and the admin port."""
    rows = ["| switch | default | values | meaning |", "|---|---|---|---|"]
    for name, default, check, sentence in SWITCHES:
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
        values = check.text.replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown}` | {values} | {sentence} |")
    return "\n".join(rows)
