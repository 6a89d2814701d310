"""Every preset of examples/ca against the test CA that behaves as its namesake.

The product takes the preset as it is installed, by its name. What a preset cannot say is said by the
configuration: the binding, an own network. Two values are overruled: a reply-delay of a minute, which
would only make the test long, and how often an open order is looked at.
"""

import os
import re
import shutil

import service
from enrolling import Enrolling, address
from product import ETC, Product, require
from stage import Stage, StageCase

MAC = 'c2VjcmV0' * 6
STAGE = {'ca': True, 'users': 12, 'ca_config': {'eab_required': True, 'eab': {'kid-1': {'key': MAC, 'alg': 'HS256'}}}}
TAKES, BUSY = 25, 9
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'examples', 'ca')
FOLDER = ETC + '/presets'

# A CA that fails a POST before the reply: the test does not rely on a fast machine for "good".
PATIENT = {'post_waits': 30}


class Row:
    """name: of preset and the CA's own; ca: more of the CA's switches; config: more of group ca."""

    def __init__(self, name, ca=None, config=None, mails=True):
        self.name, self.ca, self.config, self.mails = name, ca or {}, config or {}, mails
        self.user = self.shown = None


ROWS = [
    Row('rfc'),
    Row('rapidmx'),
    Row('acme2certifier', ca=dict(PATIENT, challenge_authentication='dkim')),
    Row('castle', ca=PATIENT, config={'reply-delay': 3}),
    Row('platynum', ca={'challenge_authentication': 'dkim'}),
    Row('secsy-pki'),
    Row('akamu'),
    Row('step-ca'),
    Row('prevalidated-eab', ca={'preset': None, 'authz_valid': True}, mails=False),
]


def setUpModule():
    require()


class Presets(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        nothing = dict.fromkeys(('trigger-grace', 'reply-delay', 'poll-seconds'))
        cls.p = Product(stage, ca=dict(nothing, eab={'kid': 'kid-1', 'key-file': ETC + '/eab.key'}),
                        certificate={'key-type': 'ec:p256'})
        cls.p.prepare()
        shutil.copytree(SOURCE, FOLDER)
        cls.p.env['ENROLL_CA_PRESETS'] = FOLDER
        cls.p.write_secret('eab.key', MAC + '\n', owner='enrolld')
        cls.many = Enrolling(stage, cls.p)
        for row in ROWS:
            cls.run_row(row)
        cls.many.behave()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def run_row(cls, row):
        overruled = {'reply-delay': None, 'poll-seconds': 1}
        cls.p.configure(ca=dict(overruled, preset=row.name, **row.config))
        cls.p.restart()
        cls.many.behave(**{'preset': row.name, **row.ca})
        row.user = cls.many.user()
        cls.many.enroll(row.user)
        row.shown = cls.many.wait_state([row.user], 'active', 'waiting', 'blocked', 'failed')[row.user]

    def test_every_preset_enrolls_with_its_ca(self):
        for row in ROWS:
            with self.subTest(row.name):
                self.assertEqual(row.shown['enrollment']['state'], 'active', self.many.story(row.user))
                self.assertEqual(len(self.many.ca_log('order_created', row.user)), 1, 'one order was enough')
                replies = self.many.ca_log('reply_received', row.user)
                self.assertEqual([r['verdict'] for r in replies], ['good'] if row.mails else [])

    def test_the_ca_saw_no_breach(self):
        self.assertEqual(self.many.violations(), [])

    def test_every_preset_that_is_shipped_was_tried(self):
        shipped = sorted(n.removesuffix('.conf') for n in os.listdir(SOURCE) if n.endswith('.conf') and not n.startswith('exec'))
        self.assertEqual(sorted(r.name for r in ROWS), shipped)

    def test_a_ca_that_waits_for_the_post_was_posted_to_first(self):
        for row in ROWS:
            if row.name in ('secsy-pki', 'akamu'):
                with self.subTest(row.name):
                    events = self.many.events(row.user)
                    # the mail may be noted before the CA's answer to the POST is
                    self.assertLess(events.index('challenge_posted'), events.index('reply_sent'))

    def test_the_running_configuration_tells_where_values_come_from(self):
        said = self.p.json('config', 'running')['text']
        self.assertIn('# CA example-ca, from preset %s/prevalidated-eab.conf: ' % FOLDER, said)
        self.assertRegex(said, r'challenge-age = 3600')

    def test_a_wrong_preset_leaves_the_old_configuration_in_force(self):
        before = self.p.config
        mark = self.p.log_mark()
        self.p.configure(ca={'preset': 'casle'})
        done = self.p.ctl_run('config', 'check')
        self.assertEqual(done.returncode, 1)
        self.assertTrue(re.search(r'ca\.preset: there is no preset "casle" in \S+; there are acme2certifier', done.stderr), done.stderr)
        self.p.signal('enrolld', 1)
        self.p.wait_log(mark=mark, name='enrolld', event='reload_failed')
        self.p.config = before
        self.p.write_config()
        service.until(lambda: self.p.ctl_run('status').returncode == 0, 120, 'enrolld serves again')
        self.assertEqual(self.many.state(ROWS[0].user), 'active', address(ROWS[0].user))
