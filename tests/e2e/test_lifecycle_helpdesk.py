"""Thirty-odd tasks of a help desk, typed as the help desk types them: by an agent without any other right, at a terminal of 80 columns, with nothing
but what `enrollctl --help` says.  What comes out is doc/helpdesk.md.

    ENROLL_BUILD=... ENROLL_TEST_WRITE=1 tests/e2e/run.py test_lifecycle_helpdesk      # writes doc/helpdesk.md anew

Without ENROLL_TEST_WRITE the file has to be as it would be written, but for where lines are broken.
"""

import csv
import datetime
import fcntl
import hashlib
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import tempfile
import termios

import mailtools
import service
from enrolling import Enrolling
from mailtools import message, unique
from namespace import BASE, environment
from product import DIR, ETC, Product, require, sqlite_only
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 6}
TAKES, BUSY = 11, 8
BOX = 'box@outside.example'
DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'doc', 'helpdesk.md')
WRITE = bool(os.environ.get('ENROLL_TEST_WRITE'))
COLUMNS = 80
# Commands of the help desk that no task below uses.
NOT_ASKED = set()
TODAY = datetime.datetime(2026, 11, 30, 9, 0, tzinfo=datetime.timezone.utc)
HEAD = """# Questions to the help desk, and where the answers are

What people ask, what an agent types, and what comes out. Whoever is in the group `enroll-helpdesk` can do all of it; what takes an admin says so.
Nothing here has to be learnt by heart: `enrollctl --help` names the commands, `enrollctl help COMMAND` explains one, with an example, and the Tab key
completes commands, options and addresses.

This page is written by a test (`tests/e2e/test_lifecycle_helpdesk.py`), which does on a real installation what stands here. Only times, serial numbers,
fingerprints and ids are made up.
"""

TASKS = []


def setUpModule():
    require()


def mail(user):
    return user + '@corp.example'


def task(question, note=''):
    def add(function):
        TASKS.append((question, note, function))
        return function
    return add


# ---- the tasks: each types its commands by t(...), and looks at what comes out -----------------------------------------------------------------

@task('What is going on today?')
def _(t):
    out = t('status')
    t.assertRegex(out, r'mode sign\n')
    t.assertRegex(out, r'active +[45]\n')


@task('Alice says her mail is not signed. Why?', 'The last mail she sent is the one that is explained.')
def _(t):
    out = t('why', mail('alice'))
    t.assertIn('list or bulk mail', out)
    t.assertIn('What to do:', out)


@task('But she means another one; its queue id is in the mail log.')
def _(t):
    out = t('why', mail('alice'), '--queue-id', t.qids['signed'])
    t.assertIn('signed-detached', out)
    t.assertIn(t.serial('alice'), out.replace('\n', ' '))


@task('A recipient forwards a mail of hers: was it signed when it left?', 'Its Message-ID stands in its header.')
def _(t):
    t.assertIn('list-mail', t('why', mail('alice'), '--message-id', 'news-1@corp.example'))


@task('Which mail of hers do we know of at all?')
def _(t):
    out = t('mail', mail('alice'))
    t.assertIn('signed', out)
    t.assertIn('list mail', out.replace('-', ' '))
    for qid in (t.qids['signed'], t.qids['list']):
        t.assertIn(qid, out)


@task('Has Alice got a certificate, since when, and until when?')
def _(t):
    out = t('show', mail('alice'))
    t.assertRegex(out, r'alice@corp\.example: active since ')
    t.assertIn('certificate %s (active)' % t.serial('alice'), out)
    t.assertIn('until', out)


@task('Dave’s mail is never signed. What is wrong?')
def _(t):
    out = ' '.join(t('why', mail('dave')).split())
    t.assertIn('no directory entry has this address', out)
    t.assertIn('enrollctl retry dave@corp.example', out)


@task('Dave’s address is in the directory now. Can it go on?')
def _(t):
    t.stage.ldap.modify('dave', mail=[mail('dave')])
    t.assertIn('goes on now', t('retry', mail('dave')))
    t.p.wait_state(mail('dave'), 'active')
    t.assertIn('active', t('search', 'dave'))


@task('Who is stuck and needs somebody to look?')
def _(t):
    out = t('list', '--state', 'blocked')
    t.assertIn(mail('frank'), out)
    t.assertNotIn(mail('alice'), out)


@task('Carol asks how far her certificate is.')
def _(t):
    out = ' '.join(t('why', mail('carol')).split())
    t.assertIn('challenge mail', out)


@task('What happened to Carol’s enrollment so far?')
def _(t):
    out = t('events', mail('carol'))
    for event in ('requested', 'ordered', 'challenge-awaited'):
        t.assertIn(event, out)


@task('And what happened last, whoever it was about?')
def _(t):
    out = t('events', '--limit', '6')
    t.assertIn('dave@corp.example', out)
    t.assertGreaterEqual(len(re.findall(r'^\S+Z ', out, re.M)), 6)


@task('Who has one, and who has none yet?')
def _(t):
    out = t('list')
    for user, state in (('alice', 'active'), ('bob', 'active'), ('carol', 'challenge-awaited'), ('team', 'disabled')):
        t.assertRegex(out, r'(?m)^%s +%s\b' % (re.escape(mail(user)), state))


@task('Who expires in the next 30 days?', 'Nobody has to do anything as long as the last column says that a renewal begins.')
def _(t):
    out = t('expiring', '--within', '30d')
    found = re.search(r'(?m)^%s +\S+Z +20 +begins at\s+(\d{4}-\d\d-\d\d)T' % re.escape(mail(t.short)), out)
    t.assertTrue(found, out)
    days = (datetime.date.fromisoformat(found[1]) - datetime.datetime.now(datetime.timezone.utc).date()).days
    t.assertTrue(12 <= days <= 16, 'after two thirds of its life, not when the row is looked at next: ' + out)
    t.assertNotIn(mail('alice'), out)


@task('And this week?')
def _(t):
    t.assertIn("nobody's certificate ends", t('expiring', '--within', '1w'))


@task('A partner reports a problem with a certificate and gives its serial number. Whose is it?', 'The beginning is enough.')
def _(t):
    out = t('search', t.serial('bob')[:12])
    t.assertIn(mail('bob'), out)
    t.assertNotIn(mail('alice'), out)


@task('Another one reads a fingerprint from the screen.', 'With colons or without, in small letters or capitals.')
def _(t):
    out = t('search', ':'.join(re.findall('..', t.fingerprint('alice')[:20])).upper())
    t.assertIn(mail('alice'), out)
    t.assertNotIn(mail('bob'), out)


@task('“Here is Bäcker, my mail …” — which address is it?', 'The directory knows names; who has no enrollment yet is found, too.')
def _(t):
    out = t('search', 'bäcker')
    t.assertRegex(out, r'bob@corp\.example +active')
    t.assertIn('Bjørn Bäcker', out)


@task('A new colleague begins on Monday and is to have a certificate before the first mail.')
def _(t):
    t.assertIn('enrollment requested', t('enroll', mail(t.fresh)))
    t.p.wait_state(mail(t.fresh), 'active')


@task('Bob lost his laptop. Is his certificate in danger?',
      'Keys are on the gateway, not on laptops, so nothing has to be revoked. If it calms everybody, he gets a new key and certificate; '
      'mail is signed meanwhile.')
def _(t):
    before = t.serial('bob')
    out = t('rotate', mail('bob'), '--reason', 'laptop lost')
    t.assertIn('a new key and certificate are asked for', out)
    t.until(lambda: t.serial('bob') != before, what='the new one is active')


@task('He insists that it is revoked.', 'That is an admin’s decision; the answer says so, and nothing has happened.')
def _(t):
    out = t('revoke', mail('bob'), '--reason', 'keyCompromise', '--dry-run', code=1)
    t.assertIn('enroll-admin', out)
    t.assertEqual(t.p.show(mail('bob'))['revocations'], [])


@task('A colleague has left, and an admin has revoked the certificate. Have the CA and the directory followed?')
def _(t):
    out = t('show', mail(t.gone))
    t.assertRegex(out, r'(?m)^revocation of %s \(affiliationChanged\)' % t.serial(t.gone, 'revoked'))
    t.assertRegex(out, r'(?m)^  ca +done ')
    t.assertRegex(out, r'(?m)^  directory +done ')


@task('Mail of the team’s mailbox is not signed any more. Did somebody switch it off?')
def _(t):
    out = ' '.join(t('why', mail('team')).split())
    t.assertIn('admin1', out)
    t.assertIn('moves to another system', out)


@task('Several people call: nothing is signed since this morning. What is it?')
def _(t):
    t.p.ctl('pause', '--reason', 'the CA is being moved')
    try:
        out = t('status')
        t.assertIn('PAUSED by admin:admin1', out)
        t.assertIn('the CA is being moved', out.replace('\n', ' '))
    finally:
        t.p.ctl('resume')


@task('Who has left the company, as the directory has it, and what becomes of their certificates?')
def _(t):
    t.assertNotIn(mail('alice'), t('departures'))


@task('Is everybody’s certificate being replaced just now, as the CA announced?', 'How far it is stands here, too, once an admin has begun it.')
def _(t):
    t.assertIn('no replacement was ever begun', t('replace', 'status'))


@task('A partner wants Alice’s certificate.', 'Certificates are public; keys are not, and are handed out by root alone, where that is allowed at all.')
def _(t):
    t.assertIn('BEGIN CERTIFICATE', t('export', mail('alice'), '--certificates'))


@task('Does everything work?')
def _(t):
    t.until(lambda: 'looked at for who left' in t.p.ctl_run('doctor', '--json').stdout, what='the directory was looked at once')
    out = t('doctor')
    t.assertNotRegex(out, r'(?m)^  fault ')
    t.assertEqual(re.findall(r'(?m)^  warning +(\S+)', out), ['enrollments'], 'somebody is blocked, and nothing else is wrong')
    t.assertIn('0 faults, 1 warning', out)


@task('Is the CA reachable, and does it still know us?')
def _(t):
    out = t('ca', 'check')
    t.assertNotRegex(out, r'(?m)^error')
    t.assertRegex(out, r'(?m)^ok +directory')


@task('Which account have we got there?')
def _(t):
    t.assertRegex(t('account', 'show'), r'status +valid')


@task('Does DNS still let the CA issue for our domain?')
def _(t):
    t.assertIn('corp.example: allowed', t('caa', 'check', 'corp.example'))


@task('Will Alice’s mail to a partner be signed, and by which rule?', 'Nothing is sent or changed by asking.')
def _(t):
    out = t('policy', 'explain', mail('alice'), '--to', 'joe@partner.example')
    t.assertIn('is signed', out)
    t.assertIn('mailbox-strict', out)


@task('Somebody sends a certificate as a file. Whose is it, and is it any good?', 'The file can be of any CA; nothing is asked of the network.')
def _(t):
    path = '/tmp/' + t.pem
    done = t('cert', 'check', path, '--at', '2026-12-01', code=None)
    t.assertIn(mail('alice'), done)


@task('Whose certificates in the directory have to be replaced?')
def _(t):
    out = t('report', 'legacy')
    t.assertRegex(out, r'entries of the directory have \d+ certificates')


@task('The auditor wants a list of all enrollments for a spreadsheet.')
def _(t):
    rows = list(csv.DictReader(io.StringIO(t('list', '--csv'))))
    t.assertEqual({r['address'] for r in rows}, {e['address'] for e in t.p.json('list')['enrollments']})
    t.assertEqual({r['address']: r['state'] for r in rows}[mail('alice')], 'active')


@task('And of the certificates that end within a year.', 'Everything can be had with --json, too.')
def _(t):
    rows = list(csv.DictReader(io.StringIO(t('expiring', '--within', '52w', '--limit', '2', '--csv'))))
    t.assertEqual(rows[0]['address'], mail(t.short))
    t.assertEqual(rows[0]['days'], '20')


@task('What was that command again?', 'A wrong word gets the nearest one.')
def _(t):
    t.assertIn('did you mean "expiring"?', t('expirng', code=2))
    out = t('help', 'why')
    t.assertIn('--queue-id ID', out)
    t.assertIn('Who may: help desk', out)


# ---- the stage of it ---------------------------------------------------------------------------------------------------------------------------

class HelpDesk(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        stage.postfix.main['smtpd_sender_login_maps'] = 'inline:{alice@corp.example=alice}'
        stage.postfix.listener_options['192.0.2.10:587'] = ['smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch']
        stage.postfix.set_transport('doctor.invalid', 'smtp:[127.0.0.1]:10027')
        p = cls.p = Product(stage, certificate={'key-type': 'ec:p256'}, ca={'trigger-grace': 3600}, directory={'disabled-filter': '(employeeType=former)'})
        p.env['MAIL_CONFIG'] = stage.postfix.directory
        many = cls.many = Enrolling(stage, p)
        cls.short, cls.gone, cls.fresh, cls.stuck = (many.user() for _ in range(4))
        p.start()
        stage.ldap.modify('bob', displayName=['Bjørn Bäcker'])
        many.behave(authz_valid=True)
        stage.ldap.modify('dave', mail=['dave.old@corp.example'])
        for user in ('alice', 'bob', 'team', 'dave', cls.gone):
            p.ctl('enroll', mail(user))
        many.wait_state(['alice', 'bob', 'team', cls.gone], 'active')
        p.wait_state(mail('dave'), 'blocked')
        cls.prepare(stage, p, many)

    @classmethod
    def prepare(cls, stage, p, many):
        """People in every situation that somebody will ask about."""
        many.behave(authz_valid=True, lifetime_seconds=20 * 86400 + 43200)
        p.ctl('enroll', mail(cls.short))
        many.wait_state([cls.short], 'active')
        many.behave(challenge_trigger='never')
        p.ctl('enroll', mail('carol'))
        p.wait_state(mail('carol'), 'challenge-awaited')
        many.behave(authz_valid=True)
        p.ctl('disable', mail('team'), '--yes', '--reason', 'moves to another system')
        p.ctl('revoke', mail(cls.gone), '--yes', '--reason', 'affiliationChanged')
        service.until(lambda: p.show(mail(cls.gone))['revocations'][0].get('done_at'), 120, 'CA and directory have followed')
        stage.ldap.modify(cls.stuck, mail=['elsewhere@corp.example'])
        p.ctl('enroll', 'frank@corp.example')
        p.wait_state('frank@corp.example', 'blocked')
        cls.qids = {}
        for name, more in (('signed', {'Message_ID': '<offer-7@corp.example>'}), ('list', {'Message_ID': '<news-1@corp.example>', 'List_Id': '<l.corp.example>'})):
            raw = message(mail('alice'), BOX, unique(), **more)
            cls.qids[name] = qid = stage.submit('alice', mail('alice'), [BOX], raw)
            service.until(lambda q=qid: q in str(p.json('mail', mail('alice'))), 120, 'the mail is on record')
        cls.save_certificate(stage)

    @classmethod
    def save_certificate(cls, stage):
        file = tempfile.NamedTemporaryFile('wb', suffix='.pem', dir='/tmp', delete=False)
        with file:
            der = stage.ldap.certificates('alice')[0]
            from cryptography import x509
            from cryptography.hazmat.primitives.serialization import Encoding
            file.write(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.pem = os.path.basename(file.name)

    # -- typing ------------------------------------------------------------------------

    def __call__(self, *args, **more):
        """As unittest calls a test; or a command that a task types."""
        if args and isinstance(args[0], str):
            return self.type(*args, **more)
        return super().__call__(*args, **more)

    def type(self, *words, code=0):
        """A command of helpdesk1 at a terminal; what is shown."""
        argv = service.as_user('helpdesk1', [self.p.program('enrollctl'), '--config', self.p.config_file, *words])
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, COLUMNS, 0, 0))
        child = subprocess.Popen(argv, stdin=follower, stdout=follower, stderr=follower, cwd=DIR, env=environment(**self.p.env), start_new_session=True)
        os.close(follower)
        shown = b''
        try:
            while piece := os.read(leader, 65536):
                shown += piece
        except OSError:         # its end
            pass
        os.close(leader)
        out = re.sub(r'[^\n]*\r\x1b\[K', '', shown.decode()).replace('\r', '')      # progress that was wiped out
        if code is not None:
            self.assertEqual(child.wait(600), code, out)
        else:
            child.wait(600)
        self.typed.append((words, out))
        return out

    def serial(self, user, status='active'):
        return [c for c in self.p.show(mail(user))['certificates'] if c['status'] == status][-1]['serial']

    def fingerprint(self, user):
        return [c for c in self.p.show(mail(user))['certificates'] if c['status'] == 'active'][-1]['fingerprint']

    # -- what is never the same twice ----------------------------------------------------

    def stand_ins(self):
        """{text: what stands for it}: serial numbers, fingerprints, ids."""
        found = {self.pem: 'shown.pem'}
        for entry in self.p.json('list', '--limit', '1000')['enrollments']:
            for n, one in enumerate(self.p.show(entry['address'])['certificates']):
                invented = hashlib.sha256(('%s %d' % (entry['address'], n)).encode()).hexdigest()
                for length in (len(one['serial']), 12):
                    found[one['serial'][:length]] = ('4' + invented.upper())[:min(length, 32)]
                found[one['fingerprint']] = invented
                pairs = ':'.join(re.findall('..', one['fingerprint'][:20])).upper()
                found[pairs] = ':'.join(re.findall('..', invented[:20])).upper()
        mails = self.p.json('mail', '--limit', '1000')['mail']
        for n, one in enumerate(reversed(mails)):
            found[one['queue_id']] = '%010X' % (0x4C5D1A7700 + 0x1F * n)
        return found

    def settle(self, text, stand_ins):
        now = datetime.datetime.now(datetime.timezone.utc)

        def moment(match):
            if len(match[0]) > 10:
                then = datetime.datetime.strptime(match[0], '%Y-%m-%dT%H:%M:%SZ').replace(tzinfo=datetime.timezone.utc)
                return (TODAY + datetime.timedelta(days=round((then - now) / datetime.timedelta(days=1)))).strftime('%Y-%m-%dT%H:%M:%SZ')
            # A day has no hour: counted by days, or the page would differ between morning and evening.
            return (TODAY + (datetime.date.fromisoformat(match[0]) - now.date())).strftime('%Y-%m-%d')
        text = re.sub(r'\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\dZ)?(?![\d])', moment, text)
        for real in sorted(stand_ins, key=len, reverse=True):
            text = text.replace(real, stand_ins[real])
        text = text.replace(ETC, '/etc/enroll-milter').replace(DIR + '/lib', '/var/lib/enroll-milter').replace(DIR + '/run', '/run/enroll-milter')
        text = text.replace('/run/stage/q', '/var/spool/postfix').replace(BASE, '')
        text = re.sub(r'(QUEUE ID|4C5D1A[0-9A-F]{4})  +', lambda m: m[1].ljust(12), text)
        text = re.sub(r'(begins at\s+)\d{4}-\d\d-\d\d', lambda m: m[1] + (TODAY + datetime.timedelta(days=14)).strftime('%Y-%m-%d'), text)
        text = re.sub(r'(BEGIN CERTIFICATE-----\n).*?( *-----END)', lambda m: m[1] + '(base64)\n' + m[2], text, flags=re.S)
        text = re.sub(r'(?<=HTTP 200, )\d+', '20', text)
        text = re.sub(r'(/acme/(?:account|certificate|order)/)[0-9a-f]{16}', lambda m: m[1] + str(self.number(m[0])), text)
        return re.sub(r'(thumbprint +)\S{43}', r'\g<1>' + 'A1b2C3d4' * 5 + 'E5f', text)

    def number(self, url):
        """1, 2, ... in the order of appearance."""
        self.urls = getattr(self, 'urls', [])
        if url not in self.urls:
            self.urls.append(url)
        return 1 + self.urls.index(url)

    # -- the test ----------------------------------------------------------------------------

    def page(self, done):
        parts, stand_ins = [HEAD], self.stand_ins()
        for n, (question, note, typed) in enumerate(done, 1):
            parts.append('## %d. %s\n' % (n, question))
            if note:
                parts.append(note + '\n')
            lines = []
            for words, out in typed:
                lines += ['$ enrollctl ' + shlex.join(words).replace("'", '"')] + out.rstrip('\n').split('\n')
            text = self.settle('\n'.join(lines), stand_ins)
            parts.append('\n'.join(('    ' + line).rstrip() for line in text.split('\n')) + '\n')
        return '\n'.join(parts)

    @sqlite_only('the page that it makes is of a store in a file')
    def test_1_tasks(self):
        done = []
        for question, note, function in TASKS:
            self.typed = []
            with self.subTest(question):
                function(self)
                for words, out in self.typed:
                    if '--csv' not in words:
                        wide = [line for line in out.split('\n') if len(line) > COLUMNS]
                        self.assertEqual(wide, [], 'wider than the terminal')
            done.append((question, note, self.typed))
        self.assertGreaterEqual(len(done), 30)
        self.by_the_help(done)
        self.compare(self.page(done))

    def by_the_help(self, done):
        """Nothing was typed that the help does not name; and the help desk has no command that is not asked for here."""
        text = self.p.ctl('--help', user='helpdesk1')
        rows = [' '.join(row.split()) for row in re.split(r'^  (?=[a-z])', text.split('\nOptions:')[0], flags=re.M)[1:]]
        roles = {row.split()[0]: re.search(r'\(([^()]*)\)$', row)[1] for row in rows}
        used = set()
        for _question, _note, typed in done:
            for words, _out in typed:
                if words[0] in roles:
                    used.add(words[0])
                    about = self.p.ctl('help', words[0], user='helpdesk1')
                    for option in (w for w in words if w.startswith('--') and w not in ('--json', '--csv')):
                        self.assertIn(option, about, words)
        theirs = {name for name, role in roles.items() if 'help desk' in role}
        self.assertEqual(theirs - used - NOT_ASKED, set(), 'commands of the help desk without a task')
        self.assertGreater(len(theirs), 12)

    def compare(self, page):
        if WRITE:
            with open(DOC, 'w', encoding='utf-8') as file:
                file.write(page)
            return
        with open(DOC, encoding='utf-8') as file:
            kept = file.read()
        kept_words, words = [re.sub(r'\s+', ' ', part) for part in kept.split('\n## ')], [re.sub(r'\s+', ' ', part) for part in page.split('\n## ')]
        self.assertEqual(kept_words, words, 'doc/helpdesk.md is out of date: write it anew with ENROLL_TEST_WRITE=1')

    def test_2_roles_are_as_the_help_says(self):
        """What is an admin's is refused to the help desk by enrolld, whatever enrollctl thinks."""
        more = {'revoke': ('--reason', 'superseded', '--yes'), 'disable': ('--yes',), 'pause': None, 'resume': None}
        for name in ('revoke', 'disable', 'enable', 'pause', 'resume'):
            self.assertIn('Who may: admin', self.p.ctl('help', name, user='helpdesk1'))
            args = more.get(name, ())
            done = self.p.ctl_run(name, *(() if args is None else (mail('alice'), *args)), user='helpdesk1')
            self.assertEqual(done.returncode, 1)
            self.assertIn('enroll-admin', done.stderr)

    def test_2_harm_is_asked_for(self):
        """Without a terminal and --yes nothing happens; --dry-run only tells; typing yes does it."""
        who = mail('alice')
        for args in (('disable', who), ('report', 'legacy', '--enroll'), ('revoke', who, '--reason', 'superseded')):
            done = self.p.ctl_run(*args)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn('--yes', done.stderr)
        self.assertIn('would be left unsigned', self.p.ctl('disable', who, '--dry-run'))
        self.assertTrue(self.p.json('disable', who, '--dry-run')['dry_run'])
        self.assertFalse(self.p.show(who)['enrollment']['disabled'])
        for typed, code, disabled in (('no', 1, False), ('yes', 0, True)):
            leader, follower = pty.openpty()
            child = subprocess.Popen(service.as_user('admin1', [self.p.program('enrollctl'), '--config', self.p.config_file, 'disable', who]), stdin=follower,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=DIR, env=environment(**self.p.env))
            os.close(follower)
            os.write(leader, typed.encode() + b'\n')
            said = child.communicate(timeout=300)[0].decode()
            os.close(leader)
            self.assertEqual(child.returncode, code, said)
            self.assertIn('Type yes to disable', said)
            self.assertEqual(self.p.show(who)['enrollment']['disabled'], disabled)
        self.p.ctl('enable', who)

    def test_2_addresses_are_completed(self):
        def complete(*words, user='helpdesk1'):
            argv = [self.p.program('enrollctl'), '--complete', '--config', self.p.config_file, *words]
            done = subprocess.run(service.as_user(user, argv), capture_output=True, text=True, cwd=DIR, env=environment(**self.p.env), timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            return done.stdout.split()
        self.assertEqual(complete('show', 'al'), [mail('alice')])
        self.assertEqual(complete('revoke', 'bob@'), [mail('bob')])
        self.assertLessEqual({mail('alice'), mail('bob'), mail('carol')}, set(complete('why', '')))
        self.assertEqual(complete('policy', 'explain', 'ali'), [mail('alice')])
        self.assertEqual(complete('show', 'al', user='mallory'), [], 'nothing for strangers')
        self.p.kill9('enrolld')
        try:
            self.assertEqual(complete('show', 'al'), [])
        finally:
            self.p.start('enrolld')
