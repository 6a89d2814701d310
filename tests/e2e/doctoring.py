"""An installation that is sound, what `enrollctl doctor` says of it, and doing what it prints as it stands."""

import collections
import json
import os
import re
import signal
import subprocess

import service
import stage_postfix
from mailtools import message, unique
from namespace import BASE, environment, run
from product import DIR, Product, require
from stage import Stage, StageCase

BOX = 'box@outside.example'
POSTFIX = stage_postfix.DIR
SUBMISSION = '192.0.2.10:587'

Line = collections.namedtuple('Line', 'verdict check text fixes')


def own_etc():
    """usermod and gpasswd put new files into the place of old ones: not where those are mounts."""
    copy = BASE + '/etc-copy'
    os.makedirs(copy)
    run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', copy)
    run('cp', '-a', '/etc/.', copy)
    run('mount', '--bind', copy, '/etc')


def parse(text):
    """The lines of doctor, as printed where there is no terminal."""
    found = []
    for line in text.splitlines():
        seen = re.match(r'  (ok|warning|fault) +(\S+) +(.*)$', line)
        if seen:
            found.append(Line(seen[1], seen[2], seen[3], []))
        elif line.startswith(' ' * 29):        # of a text with several lines
            found[-1] = found[-1]._replace(text=found[-1].text + ' ' + line.strip())
        elif line.startswith('      fix: '):
            found[-1].fixes.append(line[len('      fix: '):])
    return found


class Case(StageCase):
    """All share one installation, which each test leaves as sound as it was."""

    p = None

    @classmethod
    def setUpClass(cls):
        require()
        if Case.p is None:
            Case.p = cls.install(Stage.current)

    @staticmethod
    def install(stage):
        own_etc()
        stage.ca.admin('/behaviour', {'authz_valid': True})
        stage.dns.set('corp.example', 'TXT', ['"v=spf1 mx -all"'])
        stage.dns.set('_dmarc.corp.example', 'TXT', ['"v=DMARC1; p=none"'])
        stage.postfix.main['smtpd_sender_login_maps'] = 'inline:{alice@corp.example=alice,bob@corp.example=bob,nobody@corp.example=nobody}'
        stage.postfix.listener_options[SUBMISSION] = ['smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch']
        stage.postfix.set_transport('doctor.invalid', 'smtp:[127.0.0.1]:10027')
        p = Product(stage, directory={'disabled-filter': '(employeeType=former)'})
        p.env['MAIL_CONFIG'] = POSTFIX
        p.prepare()
        os.chmod(DIR + '/spool', 0o1770)
        p.start()
        p.ctl('enroll', 'alice@corp.example')
        p.wait_state('alice@corp.example', 'active')
        subject = unique()
        stage.submit('alice', 'alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        stage.outside.wait_subject(subject)
        service.until(lambda: p.json('mail')['mail'], 120, 'the mail is on record')
        return p

    # -- asking ---------------------------------------------------------------------------

    def doctor(self, *args, user='root', code=None):
        done = self.p.ctl_run('doctor', *args, user=user)
        lines = parse(done.stdout)
        self.assertEqual(done.returncode, code if code is not None else int(any(l.verdict == 'fault' for l in lines)), done.stdout + done.stderr)
        return lines

    def bad(self, *args, **more):
        return [l for l in self.doctor(*args, **more) if l.verdict != 'ok']

    # -- doing what it says -----------------------------------------------------------------

    def follow(self, line):
        self.assertTrue(line.fixes, 'no fix: %r' % (line,))
        for fix in line.fixes:
            self.follow_one(fix)

    def follow_one(self, fix):
        seen = re.fullmatch(r'in (\S+?)(?:, group (\S+))?: (\S+) = (.*);', fix)
        record = re.fullmatch(r'in the zone of (\S+): (\S+)\. (?:IN )?([A-Z]+) (.*)', fix)
        init = re.fullmatch(r'service enroll-milter (start|restart|reload)', fix)
        if seen:
            self.assertEqual(seen[1], self.p.config_file)
            self.p.configure(**{seen[2]: {seen[3]: json.loads(seen[4])}} if seen[2] else {seen[3]: json.loads(seen[4])})
            self.p.restart()
        elif record:
            self.stage.dns.set(record[2], record[3], [record[4]])
            self.stage.dns.flush()
            self.p.restart('enrolld')       # what it knows by heart
        elif init:
            self.service(init[1])
        else:
            done = subprocess.run(['sh', '-ec', fix], capture_output=True, text=True, timeout=120,
                                  env=environment(PATH=self.p.build + ':/usr/sbin:/usr/bin:/sbin:/bin', MAIL_CONFIG=POSTFIX))
            self.assertEqual(done.returncode, 0, fix + '\n' + done.stdout + done.stderr)

    def service(self, verb):
        """What the script of a host without systemd does, for all three."""
        if verb == 'start':
            self.p.start()
        elif verb == 'restart':
            self.p.restart()
        else:
            for name in self.p.daemons:
                self.p.signal(name, signal.SIGUSR1)

    def mended(self, *checks, **more):
        self.until(lambda: not self.bad(*checks, **more), seconds=30, what='doctor is content with ' + ' '.join(checks))

    def broken(self, check, verdict, words, ask=None):
        """The one line that is not ok says this."""
        lines = [l for l in self.bad(*(ask or [check])) if l.check == check]
        self.assertEqual([l.verdict for l in lines], [verdict], lines)
        self.assertRegex(lines[0].text, words)
        return lines[0]
