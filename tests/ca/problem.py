"""Problem documents (RFC 7807) with the error types of RFC 8555."""

PREFIX = "urn:ietf:params:acme:error:"

STATUS = {
    "accountDoesNotExist": 400, "alreadyReplaced": 409, "alreadyRevoked": 400, "badCSR": 400,
    "badNonce": 400, "badPublicKey": 400, "badRevocationReason": 400,
    "badSignatureAlgorithm": 400, "caa": 403, "compound": 400, "connection": 400, "dns": 400,
    "externalAccountRequired": 403, "incorrectResponse": 403, "invalidContact": 400,
    "invalidProfile": 400, "malformed": 400, "orderNotReady": 403, "rateLimited": 429,
    "rejectedIdentifier": 400, "serverInternal": 500, "tls": 400, "unauthorized": 403,
    "unsupportedContact": 400, "unsupportedIdentifier": 400, "userActionRequired": 403,
}


def full_type(name):
    return name if ":" in name else PREFIX + name


def subproblem(name, detail, identifier):
    return {"type": full_type(name), "detail": detail, "identifier": identifier}


def document(name, detail, status=None, subproblems=None, **extra):
    """A problem as a dictionary, as it stands in answers and in order and challenge objects."""
    result = {"type": full_type(name), "detail": detail, "status": status or STATUS.get(name, 400)}
    if subproblems:
        result["subproblems"] = subproblems
    result.update(extra)
    return result


class Problem(Exception):
    """Ends a request with a problem document.

    `kind` names the breach for the log when a client that keeps to the RFCs would never
    have caused it; None for what may happen to anybody.
    """

    def __init__(self, name, detail, status=None, kind=None, retry_after=None, headers=None,
                 subproblems=None, **extra):
        super().__init__(detail)
        self.document = document(name, detail, status, subproblems, **extra)
        self.status = self.document["status"]
        self.kind = kind
        self.retry_after = retry_after
        self.headers = headers or {}
