"""Where the log goes, and what a stranger can make of it: fields in the journal, lines in syslog, no flood."""

import os
import socket
import struct
import threading
import time

from enrolling import Enrolling, address
from mailtools import message, unique
from namespace import BASE
from product import Product, require
from stage import GATEWAY, STRANGER, Stage, StageCase

STAGE = {'ca': True, 'users': 5}
TAKES, BUSY = 20, 8
BOX = 'box@outside.example'
JOURNAL = '/run/systemd/journal/socket'
BURST, FLOOD = 60, 200      # base/log_limit.c lets so many pass at once


def setUpModule():
    require()


class Journal:
    """journald as its clients see it: entries as dictionaries."""

    def __init__(self):
        os.makedirs(os.path.dirname(JOURNAL), exist_ok=True)
        self.entries = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(JOURNAL)
        os.chmod(JOURNAL, 0o666)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            self.entries.append(self._parse(self._socket.recv(1 << 20)))

    @staticmethod
    def _parse(data):
        """KEY=VALUE lines, or KEY, a length of eight octets and the value."""
        entry = {}
        while data:
            line, _, rest = data.partition(b'\n')
            key, equals, value = line.partition(b'=')
            if not equals:
                size = struct.unpack('<Q', rest[:8])[0]
                value, rest = rest[8:8 + size], rest[8 + size + 1:]
            entry[key.decode()] = value.decode()
            data = rest
        return entry

    def find(self, **fields):
        return [e for e in list(self.entries) if all(e.get(k) == v for k, v in fields.items())]

    def end(self):
        self._socket.close()
        os.unlink(JOURNAL)


class Logs(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, certificate={'key-type': 'ec:p256'}, ca={'challenge-trigger': 'mail-first'})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def log_to(self, target):
        self.addCleanup(self.p.restart, 'outbound', 'inbound')
        self.addCleanup(self.p.configure, log={'target': 'stderr'})
        self.p.configure(log={'target': target})
        self.p.restart('outbound', 'inbound')

    def submit(self):
        subject = unique()
        self.stage.submit('alice', 'alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        return self.stage.outside.wait_subject(subject)

    def explained(self, line):
        """What an admin gets who pastes it."""
        done = self.p.ctl_run('log', 'explain', line, user='mallory')
        self.assertEqual((done.returncode, done.stderr), (0, ''), line)
        self.assertNotIn('does not know', done.stdout)
        return done.stdout

    def test_each_key_is_a_field_of_the_journal(self):
        journal = Journal()
        self.addCleanup(journal.end)
        self.log_to('journal')
        mark = self.p.log_mark()
        self.submit()
        entry = self.until(lambda: journal.find(EVENT='mail_done', LOGIN='alice'), what='the journal has it')[0]
        self.assertEqual({k: entry[k] for k in ('FROM', 'PRIORITY', 'SYSLOG_IDENTIFIER', 'SYSLOG_FACILITY', 'RULE')},
                         {'FROM': 'alice@corp.example', 'PRIORITY': '6', 'SYSLOG_IDENTIFIER': 'enroll-milter-outbound', 'SYSLOG_FACILITY': '2',
                          'RULE': 'submission'})
        self.assertTrue(entry['MESSAGE'].startswith('event=mail_done qid=%s ' % entry['QID']), entry)
        self.assertIn('The closing line of each mail.', self.explained(entry['MESSAGE']))
        self.assertEqual(self.p.log(mark, 'outbound'), [], 'once is enough')
        self.p.stop('outbound')
        self.until(lambda: journal.find(EVENT='stopped', INSTANCE='outbound'), what='its last word is there, too')
        self.p.start('outbound')

    def test_without_a_journal_it_is_stderr(self):
        self.log_to('journal')
        mark = self.p.log_mark()
        self.submit()
        line = self.p.wait_log(mark=mark, name='outbound', event='mail_done', login='alice')[0]['line']
        self.assertTrue(line.startswith('<6>event=mail_done '), line)

    def test_lines_in_syslog(self):
        self.log_to('syslog')
        self.submit()

        def there():
            with open(BASE + '/log/syslog', encoding='utf-8', errors='replace') as file:
                return [l for l in file if 'enroll-milter-outbound[' in l and ' event=mail_done ' in l and ' login=alice ' in l]
        self.assertIn('The closing line of each mail.', self.explained(self.until(there, what='syslog has it')[0]))

    def test_a_stranger_does_not_flood_it_and_what_matters_is_there(self):
        user = self.many.user()
        self.many.behave(challenge_mail_copies=0)
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited')
        mark, began = self.p.log_mark(), time.monotonic()
        nonsense = (b'From: ca@stranger.outside.example\r\nTo: %s\r\nSubject: ACME: nonsense\r\nMessage-ID: <x@stranger.outside.example>\r\n\r\nx\r\n'
                    % address(user).encode())
        for _ in range(FLOOD):
            self.stage.inject('ca@stranger.outside.example', [address(user)], nonsense, source=STRANGER, to=(GATEWAY, 25), helo='stranger.outside.example')
        most = BURST + int(time.monotonic() - began) + 1
        shown = len(self.p.log(mark, 'inbound', event='challenge_mail', verdict='not-a-challenge'))
        self.assertGreaterEqual(shown, BURST)
        self.assertLessEqual(shown, most)
        self.many.behave()
        self.stage.ca.admin('/send-challenge', {'address': address(user)})
        self.many.wait_state([user], 'active')
        self.assertEqual(len(self.p.log(mark, 'inbound', event='challenge_mail', verdict='taken')), 1, 'ours is told whatever others do')
        self.p.stop('inbound')
        self.p.start('inbound')
        told = self.p.log(mark, 'inbound', event='log_suppressed', of='challenge_mail')
        self.assertEqual(sum(int(l['count']) for l in told), FLOOD - shown, 'none is left out without a word')
        self.explained(told[0]['line'])
