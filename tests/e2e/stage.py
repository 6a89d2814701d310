"""The stage: a mail gateway's whole surroundings, real servers in a private namespace.

    with Stage() as stage:
        stage.submit('alice', 'alice@corp.example', ['x@outside.example'], raw)
        stage.outside.wait_for(1)

Runs inside namespace.in_namespace() only; run.py and StageCase see to that.
"""

import os
import signal
import time
import unittest

import namespace
import service
import stage_ca
import stage_dkim
import stage_dns
import stage_ldap
import stage_mail
import stage_postfix
import stage_postgresql
import mailtools
from faults import Faults
from namespace import BASE, CA, GATEWAY, OUTSIDE, RELAY, STRANGER
from tls import Tls


class Stage:
    """Options: users (so many more people), product_milters (Postfix asks the product's
    filters), ca (start the test CA: True, False, or None for "if it is there"),
    ca_config (changes to its configuration), postgresql (options of its cluster, or True: the
    product's store is there; None: where the whole run's are)."""

    current = None

    def __init__(self, users=0, product_milters=False, ca=None, ca_config=None, postgresql=None):
        self.base = BASE
        self.users = users
        self.tls = self.ldap = self.ca = None
        self.want_ca = ca
        self.ca_config = ca_config or {}
        self.want_postgresql = stage_postgresql.wanted() if postgresql is None else postgresql
        self.postgresql = None
        self.product_milters = product_milters
        self.seconds = {}
        self.product = None

    # -- life ------------------------------------------------------------

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exception):
        self.stop()

    def start(self):
        began = time.monotonic()
        self._step('namespace', namespace.prepare)
        self.syslog = namespace.SyslogReader()
        self.tls = Tls()
        self.dns = stage_dns.Dns()
        self.postfix = stage_postfix.Postfix(self.tls, self.product_milters)
        self.dkim = stage_dkim.Dkim(self.dns, self.postfix.queue)
        self.ldap = stage_ldap.Ldap(self.tls, self.users)
        self.dovecot = stage_mail.Dovecot(self.postfix.queue)
        self.outside = stage_mail.Outside()
        self.faults = Faults(self)
        self.ca = stage_ca.Ca(self.dkim, self.dns, self.ca_config)
        if self.want_postgresql is not False:
            self.postgresql = stage_postgresql.Postgresql(**(self.want_postgresql if isinstance(self.want_postgresql, dict) else {}))
            self._step('postgresql', self.postgresql.start)
        self._step('dkim keys', self.dkim.make_keys)
        if self.want_ca is None:
            self.want_ca = self.ca.available()
        if self.want_ca:
            self._step('ca', self.ca.start)      # the slowest to be ready
        self._step('postfix', self.postfix.start)
        self._step('dns', self.dns.start)
        self._step('dkim', self.dkim.start)
        self._step('dovecot', lambda: self.dovecot.start(self.logins()))
        self._step('outside', self.outside.start)
        self._step('ldap', self.ldap.start)
        for part in (self.dns, self.ldap, self.dkim, self.dovecot, self.postfix, self.outside):
            self._step('ready ' + type(part).__name__, part.wait_ready)
        if self.want_ca:
            self._step('ready Ca', self.ca.wait_ready)
        if self.postgresql:
            self._step('ready Postgresql', self.postgresql.wait_ready)
        self.startup = time.monotonic() - began
        Stage.current = self

    def _step(self, name, action):
        began = time.monotonic()
        action()
        self.seconds[name] = time.monotonic() - began

    def stop(self):
        """Everything at once; the namespace's end would do it too."""
        Stage.current = None
        for pid in [int(p) for p in os.listdir('/proc') if p.isdigit()]:
            if pid not in (1, os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def logins(self):
        names = list(stage_ldap.PERSONS) + ['shared1', 'shared2', 'team', 'mallory']
        names += ['user%05d' % n for n in range(self.users)]
        return {n: stage_ldap.password_of(n) for n in names}

    def add_people(self, number, first=0):
        """N more people who can log in too; returns their uids."""
        names = self.ldap.add_users(number, first)
        self.dovecot.add_users({n: stage_ldap.password_of(n) for n in names})
        return names

    # -- mail ------------------------------------------------------------

    def password(self, uid):
        return stage_ldap.password_of(uid)

    def submit(self, user, sender, recipients, raw, port=587, password=None, **more):
        """Mail handed in by a login (uid or uid@corp.example); returns the queue id.
        user=None: without login. Refused -> mailtools.Refused."""
        if user is not None and password is None:
            password = self.password(user.split('@')[0])
        return mailtools.send((GATEWAY, port), sender, recipients, raw, user=user,
                              password=password, **more)

    def inject(self, sender, recipients, raw, source=STRANGER, to=(GATEWAY, 25), **more):
        """Mail from a chosen address, by default a stranger's to our MX."""
        return mailtools.send(to, sender, recipients, raw, source=source, **more)

    def relay(self, sender, recipients, raw, **more):
        """Mail from the groupware behind the gateway."""
        return self.inject(sender, recipients, raw, source=RELAY, to=(GATEWAY, 2525), **more)

    def reply(self, sender, recipients, raw, **more):
        """Mail on the reply listener."""
        return mailtools.send(('127.0.0.1', 10025), sender, recipients, raw, **more)

    def mailbox(self, uid):
        return self.dovecot.mailbox(uid)

    # -- logs ------------------------------------------------------------

    def log_marks(self):
        """Sizes of all logs now; for logs_since."""
        return {n: os.path.getsize(os.path.join(service.LOGS, n))
                for n in os.listdir(service.LOGS)}

    def logs_since(self, marks, lines=20):
        """The last lines every log got since then, as one text."""
        found = []
        for name in sorted(os.listdir(service.LOGS)):
            with open(os.path.join(service.LOGS, name), 'rb') as file:
                file.seek(marks.get(name, 0))
                text = file.read().decode('utf-8', 'replace').splitlines()
            if text:
                found.append('--- %s (%d lines)' % (name, len(text)))
                found += text[-lines:]
        return '\n'.join(found)


class StageCase(unittest.TestCase):
    """A test that finds the running stage in self.stage."""

    longMessage = True
    maxDiff = 4000

    @property
    def stage(self):
        if Stage.current is None:
            self.skipTest('no stage: start it by run.py')
        return Stage.current

    def until(self, question, seconds=120, what='it happens'):
        return service.until(question, seconds, what)


__all__ = ['Stage', 'StageCase', 'BASE', 'GATEWAY', 'CA', 'OUTSIDE', 'RELAY', 'STRANGER']
