"""ca.revocation-check: a new certificate is looked up in the CA's revocation list before it is used.

The list is the CA's, fetched over HTTP from a server of this test, which can be away.
"""

import http.server
import threading
import urllib.request

from enrolling import Enrolling
from product import Product, require
from stage import Stage, StageCase

PORT = 8066
STAGE = {'ca': True, 'users': 10, 'ca_config': {'http_url': 'http://127.0.0.1:%d' % PORT}}
TAKES, BUSY = 6, 4
CA_LIST = 'http://127.0.0.1:8055/intermediate.crl'


class Lists:
    """Hands on the CA's list, or 503 while it is away."""

    def __init__(self):
        lists = self
        self.away, self.asked = False, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                lists.asked.append(self.path)
                body = b''
                if not lists.away:
                    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(CA_LIST) as answer:
                        body = answer.read()
                self.send_response(503 if lists.away else 200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', PORT), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Revocation(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.lists = Lists()
        cls.addClassCleanup(cls.lists.stop)
        cls.p = Product(Stage.current, certificate={'key-type': 'ec:p256'}, ca={'revocation-check': 'required'})
        cls.p.start()
        cls.addClassCleanup(cls.p.stop)
        cls.many = Enrolling(Stage.current, cls.p)
        cls.many.behave(authz_valid=True)

    def setUp(self):
        self.lists.away, self.lists.asked = False, []

    def findings(self, shown):
        return shown['certificates'][0].get('findings') or ''

    def waiting(self):
        """A user whose certificate is there, while the list is away."""
        user = self.many.user()
        self.lists.away = True
        self.many.enroll(user)
        shown = self.many.wait_state([user], 'waiting')[user]
        self.assertEqual(shown['enrollment']['why_class'], 'temporary', self.many.story(user))
        self.assertIn('OWN-REV ca.revocation-check: whether it is revoked could not be learned', shown['enrollment']['why'])
        self.assertIn('503', shown['enrollment']['why'])
        self.assertTrue(shown['enrollment'].get('next_at'), 'it will ask again by itself')
        self.assertEqual(Stage.current.ldap.certificates(user), [], 'nothing is published')
        return user

    def test_a_good_one_is_looked_up_and_used(self):
        user = self.many.user()
        self.many.enroll(user)
        shown = self.many.wait_state([user], 'active')[user]
        self.assertEqual(self.lists.asked, ['/intermediate.crl'])
        self.assertNotIn('OWN-REV', self.findings(shown))
        self.assertEqual(len(Stage.current.ldap.certificates(user)), 1)

    def test_while_the_list_is_away_it_waits_and_the_same_certificate_is_used_later(self):
        user = self.waiting()
        self.lists.away = False
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.assertEqual(len(self.many.ca_log('issued', user)), 1, 'one certificate for one need')
        self.assertEqual(len(Stage.current.ldap.certificates(user)), 1)

    def test_a_revoked_one_is_refused(self):
        user = self.waiting()
        serial = self.many.ca_log('issued', user)[0]['serial']
        Stage.current.ca.admin('/revoke', {'serial': serial})
        self.lists.away = False
        self.many.retry(user)
        shown = self.many.wait_state([user], 'blocked')[user]
        self.assertIn('OWN-REV ca.revocation-check: it is revoked: by CRL', shown['enrollment']['why'])
        self.assertEqual([c['status'] for c in shown['certificates']], ['refused'])
        self.assertEqual(Stage.current.ldap.certificates(user), [])

    def test_z_best_effort_goes_on_with_a_warning(self):
        self.p.configure(ca={'revocation-check': 'best-effort'})
        self.p.restart('enrolld')
        user = self.many.user()
        self.lists.away = True
        self.many.enroll(user)
        shown = self.many.wait_state([user], 'active')[user]
        self.assertIn('/intermediate.crl', self.lists.asked)
        self.assertRegex(self.findings(shown), r'(?m)^OWN-REV .*could not be learned.*\(warning\)$')
