"""Certificates in use are asked about by OCSP: `openssl ocsp` as the responder, good and bad.

The CA's list is what is asked when the responder proves nothing; it is away unless a test says otherwise."""

import contextlib
import os
import subprocess

import mailtools
import service
from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import BASE, environment
from product import Product, require
from stage import Stage, StageCase
from stage_ca import DIR as CA_DIR
from test_revocation import PORT, Lists

OCSP = 8067
STAGE = {'ca': True, 'users': 40, 'ca_config': {'http_url': 'http://127.0.0.1:%d' % PORT, 'ocsp_url': 'http://127.0.0.1:%d/' % OCSP}}
TAKES, BUSY = 105, 11
BOX = 'box@outside.example'
WATCH = 2
DIR = BASE + '/ocsp'
CA, CA_KEY = CA_DIR + '/intermediate.pem', CA_DIR + '/intermediate.key'


def setUpModule():
    require()


class Responder:
    """openssl ocsp; its index says what is revoked, and everything else that it was told of is good."""

    def __init__(self):
        os.makedirs(DIR, exist_ok=True)
        self.server, self.signer, self.faked = None, (CA, CA_KEY), None
        self.known, self.revoked = {'01'}, set()        # it takes no empty index

    def write_index(self):
        lines = []
        for serial in sorted(self.known | self.revoked):
            name = '/CN=%s' % serial
            lines.append('R\t351231235959Z\t200101000000Z,keyCompromise\t%s\tunknown\t%s' % (serial, name) if serial in self.revoked
                         else 'V\t351231235959Z\t\t%s\tunknown\t%s' % (serial, name))
        with open(DIR + '/index.txt', 'w') as file:
            file.write('\n'.join(lines) + '\n')
        with open(DIR + '/index.txt.attr', 'w') as file:
            file.write('unique_subject = no\n')

    def start(self):
        self.stop()
        self.write_index()
        argv = ['openssl', 'ocsp', '-index', DIR + '/index.txt', '-CA', CA, '-rsigner', self.signer[0], '-rkey', self.signer[1],
                '-port', str(OCSP), '-nmin', '1', '-text', '-ignore_err']
        if self.faked:
            argv = ['faketime', '-f', self.faked] + argv
        self.server = service.Service('ocsp', argv)
        self.mark = os.path.getsize(self.server.log) if os.path.exists(self.server.log) else 0
        self.server.start()
        service.until(lambda: self.server.check() and _listens(OCSP), 60, 'the responder listens', say=self.server.tail)

    def stop(self):
        if self.server:
            self.server.kill9()
        self.server = None

    def asked_about(self, serial):
        """Since it began."""
        with open(self.server.log, 'rb') as file:
            file.seek(self.mark)
            return 'Serial Number: ' + serial in file.read().decode('utf-8', 'replace')


def _listens(port):
    """On any address, of either family."""
    for path in ('/proc/net/tcp', '/proc/net/tcp6'):
        with open(path) as file:
            for row in file.readlines()[1:]:
                fields = row.split()
                if fields[1].endswith(':%04X' % port) and fields[3] == '0A':
                    return True
    return False


def delegate(name, *purposes):
    """A certificate of the CA for somebody who answers in its place; (certificate, key)."""
    paths = ['%s/%s.%s' % (DIR, name, end) for end in ('pem', 'key', 'csr', 'cnf')]
    with open(paths[3], 'w') as file:
        file.write('keyUsage = digitalSignature\nextendedKeyUsage = %s\n' % ', '.join(purposes))
    for argv in (['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=' + name, '-keyout', paths[1], '-out', paths[2]],
                 ['x509', '-req', '-in', paths[2], '-CA', CA, '-CAkey', CA_KEY, '-set_serial', '77', '-days', '30', '-extfile', paths[3], '-out', paths[0]]):
        subprocess.run(['openssl'] + argv, check=True, capture_output=True, env=environment())
    return paths[0], paths[1]


class OcspCase(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.s = Stage.current
        if not hasattr(OcspCase, 'p'):
            OcspCase.lists = Lists()
            OcspCase.responder = Responder()
            OcspCase.p = Product(cls.s, certificate={'key-type': 'ec:p256'}, ca={'revocation-watch': WATCH}, **{'cap-per-day': 0})
            cls.p.start()
            OcspCase.many = Enrolling(cls.s, cls.p)

    def setUp(self):
        self.lists.away, self.lists.asked = True, []
        self.many.behave(authz_valid=True)
        self.responder.signer, self.responder.faked = (CA, CA_KEY), None
        self.responder.start()
        self.mark = self.p.log_mark()

    # -- people and their certificates ------------------------------------------

    def active(self):
        """(user, serial number) of one whom the responder calls good."""
        user = self.many.user()
        self.many.enroll(user)
        self.many.wait_state([user], 'active')
        serial, = [c['serial'] for c in self.certificates(user)]
        self.says(known={serial})
        self.until(lambda: self.responder.asked_about(serial), 60, 'it is asked about')
        self.assertTrue(self.signed(user))
        return user, serial

    def says(self, known=(), revoked=(), **more):
        """The responder begins anew with this."""
        self.responder.known |= set(known)
        self.responder.revoked |= set(revoked)
        for name, value in more.items():
            setattr(self.responder, name, value)
        self.mark = self.p.log_mark()
        self.responder.start()

    def certificates(self, user):
        return self.many.show(user)['certificates']

    def statuses(self, user):
        return [c['status'] for c in self.certificates(user)]

    def signed(self, user):
        subject = unique()
        self.s.submit(user, address(user), [BOX], message(address(user), BOX, subject))
        return mailtools.is_signed(self.s.outside.wait_subject(subject).content)

    def found(self, user):
        return [e['text'] for e in self.many.show(user)['events'] if e['event'] == 'found_revoked']

    # -- what comes of an answer ----------------------------------------------------

    def unknown(self, user, serial, words):
        """It is said in the log that nothing was learned, and why; and nothing changes."""
        def told():
            return [line['text'] for line in self.p.log(self.mark, 'enrolld', event='revocation_unknown', serial=serial) if words in line['text']]
        self.until(told, 60, 'revocation_unknown: %s\n%s' % (words, self.p.daemons['enrolld'].tail(5)))
        n = len(told())
        self.until(lambda: len(told()) > n, 60, 'and once more')
        self.assertEqual((self.statuses(user), self.found(user)), (['active'], []))
        self.assertTrue(self.signed(user))

    def is_found(self, user, words):
        self.until(lambda: self.found(user), 60, 'it is found\n' + self.many.story(user))
        self.assertIn(words, self.found(user)[0])

    def by_the_list(self, user, serial):
        """The CA's list, when it is there, has the word that the responder has not."""
        self.s.ca.admin('/revoke', {'serial': serial})
        self.lists.away = False
        self.is_found(user, 'by CRL')
        self.lists.away = True


class Answers(OcspCase):
    def test_good(self):
        user, serial = self.active()
        self.says(known={c['serial'] for u in self.many.states() for c in self.certificates(u)})
        self.until(lambda: self.responder.asked_about(serial), 60, 'it is asked about')
        self.lists.asked = []
        self.says()
        self.until(lambda: self.responder.asked_about(serial), 60, 'and again')
        self.assertEqual(self.p.log(self.mark, 'enrolld', event='revocation_unknown', serial=serial), [])
        self.assertEqual((self.statuses(user), self.lists.asked), (['active'], []), 'good by OCSP: the list is not fetched')
        self.assertTrue(self.signed(user))

    def test_revoked_signs_no_more_and_is_replaced(self):
        user, serial = self.active()
        other, _serial = self.active()
        old = set(self.s.ldap.certificates(user))
        self.many.change(faults={'newOrder': {'status': 503, 'count': 1000}})
        self.says(revoked={serial})
        self.is_found(user, 'by OCSP, reason keyCompromise')
        self.assertIn('http://127.0.0.1:%d/' % OCSP, self.found(user)[0])
        self.assertFalse(self.signed(user), 'with the next mail')
        self.until(lambda: not old & set(self.s.ldap.certificates(user)), 60, 'the directory follows')
        self.many.behave(authz_valid=True)
        self.many.retry(user)
        self.until(lambda: self.statuses(user) == ['revoked', 'active'], 60, 'replaced\n' + self.many.story(user))
        self.assertTrue(self.signed(user))
        self.assertEqual(len(self.found(user)), 1, 'told once')
        self.assertEqual(self.statuses(other), ['active'])

    def test_by_somebody_whom_the_ca_named(self):
        user, serial = self.active()
        self.says(revoked={serial}, signer=delegate('named', 'OCSPSigning'))
        self.is_found(user, 'by OCSP')

    def test_unknown_to_the_responder(self):
        user, serial = self.active()
        self.responder.known.discard(serial)
        self.says()
        self.unknown(user, serial, 'the responder does not know this certificate')
        self.by_the_list(user, serial)

    def test_down_and_back(self):
        user, serial = self.active()
        self.mark = self.p.log_mark()
        self.responder.stop()
        self.unknown(user, serial, '127.0.0.1:%d' % OCSP)
        self.says(revoked={serial})
        self.is_found(user, 'by OCSP')

    def test_down_and_the_list_is_asked(self):
        user, serial = self.active()
        self.responder.stop()
        self.by_the_list(user, serial)


class Lies(OcspCase):
    """What is not proven says nothing: no stranger stops anybody's mail, or keeps a revoked certificate in use."""

    def test_stale(self):
        user, serial = self.active()
        self.says(faked='-2h')                          # what it says is "good"
        self.unknown(user, serial, 'it is stale')
        self.by_the_list(user, serial)

    def test_stale_and_revoked(self):
        user, serial = self.active()
        self.says(revoked={serial}, faked='-2h')
        self.unknown(user, serial, 'it is stale')
        self.responder.revoked.discard(serial)

    def test_of_the_future(self):
        user, serial = self.active()
        self.says(revoked={serial}, faked='+2h')
        self.unknown(user, serial, 'it is of the future')
        self.responder.revoked.discard(serial)

    def test_signed_by_a_stranger_with_the_ca_s_name(self):
        user, serial = self.active()
        self.says(revoked={serial}, signer=(CA_DIR + '/stranger.pem', CA_DIR + '/stranger.key'))
        self.unknown(user, serial, 'it is not signed by the issuer')
        self.responder.revoked.discard(serial)
        self.says()
        self.until(lambda: self.responder.asked_about(serial), 60, 'it is asked about')
        self.by_the_list(user, serial)                  # the stranger's "good" holds up nobody

    def test_signed_by_somebody_whom_the_ca_did_not_name_for_it(self):
        user, serial = self.active()
        self.says(revoked={serial}, signer=delegate('unnamed', 'emailProtection'))
        self.unknown(user, serial, 'it is not signed by the issuer')
        self.responder.revoked.discard(serial)

    def test_no_answer_at_all(self):
        """Something else listens there, and says nothing, or nonsense."""
        import socket
        import threading
        user, serial = self.active()
        self.responder.stop()
        with contextlib.closing(socket.create_server(('127.0.0.1', OCSP))) as server:
            def nonsense():
                with contextlib.suppress(OSError):
                    while True:
                        client = server.accept()[0]
                        with client:
                            client.recv(65536)
                            client.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: 5\r\n\r\n0\x030\x01\x00')
            threading.Thread(target=nonsense, daemon=True).start()
            self.mark = self.p.log_mark()
            self.unknown(user, serial, 'it is no OCSP response')
            server.shutdown(socket.SHUT_RDWR)
