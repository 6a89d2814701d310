"""What the CA remembers: accounts, orders, authorizations, certificates.

Everything sits in memory under one lock (`Store.lock`, held while objects are read or
changed) and is written to the state directory at a regular end, so that a CA that was
stopped and started again still knows its clients.
"""

import os
import pickle
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Optional


def new_id():
    return secrets.token_hex(8)


@dataclass
class Account:
    id: str
    jwk: dict
    thumbprint: str
    contact: list
    terms_agreed: bool
    eab: Optional[dict] = None
    eab_kid: Optional[str] = None
    status: str = "valid"
    orders: list = field(default_factory=list)


@dataclass
class ChallengeMail:
    """One challenge mail: the token and the Message-ID a reply has to repeat, and where it goes."""
    token_part1: str
    message_id: str
    reply_address: str
    created: float
    status: str = "queued"
    tries: int = 0
    replies: int = 0


@dataclass
class Authorization:
    """With its one real challenge, which has no life of its own."""
    id: str
    account: str
    identifier: dict
    expires: float
    created: float
    token_part2: str
    sender: str
    status: str = "pending"
    challenge_status: str = "pending"
    challenge_error: Optional[dict] = None
    validated: Optional[float] = None
    posted: bool = False
    fetched: bool = False
    mail_triggered: bool = False
    reply_good: Optional[bool] = None
    reply_reasons: list = field(default_factory=list)
    mails: list = field(default_factory=list)
    orders: list = field(default_factory=list)
    method: str = "email-reply-00"

    @property
    def address(self):
        return self.identifier["value"]


@dataclass
class Order:
    id: str
    account: str
    identifiers: list
    authorizations: list
    expires: float
    created: float
    profile: Optional[str] = None
    status: str = "pending"
    not_before: Optional[str] = None
    not_after: Optional[str] = None
    replaces: Optional[str] = None
    error: Optional[dict] = None
    csr: Optional[bytes] = None
    polls_left: int = 0
    certificate: Optional[str] = None

    @property
    def addresses(self):
        return [identifier["value"] for identifier in self.identifiers]


@dataclass
class Issued:
    id: str
    order: str
    account: str
    addresses: list
    der: bytes
    serial: str
    fingerprint: str
    renewal_id: str
    not_before: float
    not_after: float
    chain: str
    alternate: Optional[str] = None
    revoked: Optional[float] = None
    reason: Optional[int] = None
    replaced_by: Optional[str] = None


class Store:
    def __init__(self, path):
        self._path = path
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.accounts = {}
        self.orders = {}
        self.authorizations = {}
        self.certificates = {}
        self._load()

    TABLES = ("accounts", "orders", "authorizations", "certificates")

    def _load(self):
        if os.path.exists(self._path):
            with open(self._path, "rb") as file:
                self.__dict__.update(pickle.load(file))

    def save(self):
        with self.lock:
            tables = {name: getattr(self, name) for name in self.TABLES}
            with open(self._path + ".new", "wb") as file:
                pickle.dump(tables, file)
        os.replace(self._path + ".new", self._path)

    def account_by_thumbprint(self, thumbprint):
        return next((a for a in self.accounts.values() if a.thumbprint == thumbprint), None)

    def certificate_by_der(self, der):
        return next((c for c in self.certificates.values() if c.der == der), None)

    def certificate_by_renewal_id(self, renewal_id):
        return next((c for c in self.certificates.values() if c.renewal_id == renewal_id), None)

    def mail_by_message_id(self, message_id):
        return self._mail(lambda mail: mail.message_id == message_id)

    def mail_by_token(self, token):
        return self._mail(lambda mail: mail.token_part1 == token)

    def _mail(self, matches):
        with self.lock:
            for authorization in self.authorizations.values():
                for mail in authorization.mails:
                    if matches(mail):
                        return authorization, mail
        return None, None

    def refresh(self, thing):
        """Let the time pass for an order or authorization before it is shown."""
        if thing.expires < time.time():
            if isinstance(thing, Order) and thing.status in ("pending", "ready"):
                thing.status = "invalid"
            elif isinstance(thing, Authorization) and thing.status in ("pending", "valid"):
                thing.status = "expired"
