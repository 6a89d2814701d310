"""A help desk that knows no enrollctl: what doc/howto-several-gateways.md says for it, typed as it stands there, with a person who is blocked."""

import os
import re
import shlex
import subprocess
import unittest

import mailtools
import namespace
import stage_postgresql
from mailtools import message, unique
from product import Product, require
from stage import Stage, StageCase
from stage_postgresql import postgresql

STAGE = {'ca': True, 'postgresql': True}
TAKES, BUSY = 20, 6
BOX, DAVE = 'box@outside.example', 'dave@corp.example'
DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'doc', 'howto-several-gateways.md')


def setUpModule():
    require()
    reason = postgresql.why_not()
    if reason:
        raise unittest.SkipTest(reason)


def documented():
    """{function: command line}, in the order of the page."""
    with open(DOC) as file:
        lines = re.findall(r'^    (psql service=.*helpdesk_(\w+)\(.*)$', file.read(), re.M)
    return {function: line for line, function in lines}


class HelpDesk(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        Stage.current.ca.admin('/behaviour', {'authz_valid': True})
        cls.pg = Stage.current.postgresql
        cls.commands = documented()
        cls.services = namespace.BASE + '/pg_service.conf'
        with open(cls.services, 'w') as file:
            file.write('[enroll-helpdesk]\n' + cls.pg.cluster.connection('enroll_helpdesk', stage_postgresql.DATABASE).replace(' ', '\n') + '\n')
        cls.p = Product(Stage.current)
        cls.p.start()

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def psql(self, function, **changed):
        """The page's command; `changed` words of it."""
        line = self.commands[function]
        for old, new in changed.items():
            self.assertIn(old, line)
            line = line.replace(old, new)
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, cwd='/',
                              env=dict(postgresql.environment(), PGSERVICEFILE=self.services))
        return done.stdout + done.stderr

    def signed(self):
        subject = unique()
        self.stage.submit('dave', DAVE, [BOX], message(DAVE, BOX, subject))
        return mailtools.is_signed(self.stage.outside.wait_subject(subject).content)

    def serials(self):
        return [c['serial'] for c in self.p.show(DAVE)['certificates'] if c['status'] == 'active']

    def test_what_the_page_says(self):
        self.assertEqual(list(self.commands), ['explain', 'retry', 'renew'])
        self.stage.ldap.modify('dave', mail=['dave.old@corp.example'])
        self.p.ctl('enroll', DAVE)
        why = self.p.wait_state(DAVE, 'blocked')['enrollment']['why']
        said = self.psql('explain')
        self.assertRegex(said, r'(?m)^state +\| blocked$')
        self.assertIn(why, said)
        self.stage.ldap.modify('dave', mail=[DAVE])
        self.assertIn(DAVE + ': goes on now', self.psql('retry'))
        self.p.wait_state(DAVE, 'active')
        self.assertTrue(self.signed())
        self.assertIn(DAVE + ': nothing to retry, its enrollment is active', self.psql('retry'))
        before = self.serials()
        self.assertIn(DAVE + ': gets a new key and certificate', self.psql('renew'))
        self.until(lambda: self.serials() not in ([], before), what='another certificate is active')
        asked = [(e['event'], e['actor']) for e in self.p.show(DAVE)['events'] if e['actor'].startswith('helpdesk:')]
        self.assertEqual(asked, [(name, 'helpdesk:enroll_helpdesk') for name in ('retry', 'renew')])

    def test_an_upgrade_brings_them_to_a_store_that_is_there(self):
        self.pg.cluster.psql('DROP FUNCTION enroll.helpdesk_explain(text)', stage_postgresql.DATABASE)
        self.assertIn('does not exist', self.psql('explain'))
        self.assertIn('nothing to do', self.p.ctl('store', 'upgrade', '--dry-run', user='root'))
        self.assertIn('granted anew', self.p.ctl('store', 'upgrade', user='root'))
        self.assertIn('no enrollment for nobody@corp.example yet', self.psql('explain', dave='nobody'))

    def test_what_it_may_not(self):
        self.p.ctl('enroll', 'alice@corp.example')
        self.p.wait_state('alice@corp.example', 'active')
        self.p.ctl('disable', 'alice@corp.example', '--yes')
        self.assertIn('its enrollment is disabled; it has to be enabled, and an admin says', self.psql('renew', dave='alice'))
        self.assertIn('does not exist', self.psql('retry', helpdesk_retry='helpdesk_enable', dave='alice'))
        self.assertIn('no enrollment for nobody@corp.example yet', self.psql('retry', dave='nobody'))
        self.assertIn('permission denied for function helpdesk_find', self.psql('retry', helpdesk_retry='helpdesk_find'))
        self.assertTrue(self.p.show('alice@corp.example')['enrollment']['disabled'])
