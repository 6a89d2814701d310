#!/usr/bin/python3
"""Samples and manual agree with the programs, as far as that can be seen without running a mail server.

    cd BUILD && /usr/bin/python3 SOURCE/tests/examples.py

Every sample configuration loads; every sample Postfix fragment is understood by Postfix; enroll-milter.conf(5) and
examples/enroll-milter.conf name every key, with its default, and no other; man pages are free of warnings (tests/names.py looks at the other names
in them).  What needs a tool that is not installed is skipped.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get('ENROLL_BUILD', '.'))
PLACES = ('submission', 'edge', 'after-queue')
FOLDERS = {'SYSCONFDIR': '/etc', 'STATEDIR': '/var/lib/enroll-milter', 'SPOOLDIR': '/var/spool/enroll-milter',
           'RUNDIR': '/run/enroll-milter', 'POSTFIXQUEUEDIR': '/var/spool/postfix'}
CONFIGURATIONS = tuple('postfix/' + place for place in PLACES) + ('sendmail',)
ENV = dict(os.environ, PATH='/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL='C.UTF-8')


def path(*parts):
    return os.path.join(TOP, *parts)


def read(*parts):
    with open(path(*parts), encoding='utf-8') as file:
        return file.read()


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, env=ENV)


def settled(file):
    """Postfix waits for a file that changed this very second, as it may be changing still."""
    os.utime(file, (10 ** 9, 10 ** 9))


def need(test, *programs):
    for program in programs:
        if not (os.access(program, os.X_OK) or shutil.which(program, path=ENV['PATH'])):
            test.skipTest('%s is not there' % program)


def config_table():
    """{path: (type, default or None)} from the one table of keys, groups left out."""
    text = re.sub(r'"\s*\n\s*"', '', read('policy', 'config_table.c'))
    for macro, folder in FOLDERS.items():       # as in a package; other prefixes: `make install` puts theirs into the pages
        text = re.sub(r'("unix:" )?\b%s( "|)' % macro, lambda m: '"' + ('unix:' if m[1] else '') + folder + ('' if m[2] else '"'), text)
    found = {}
    for row in re.findall(r'^\t\{"(\S+?)", (CONFIG_\w+)(.*?)\.help', text, re.S | re.M):
        name, kind, rest = row
        if kind not in ('CONFIG_GROUP', 'CONFIG_GROUPS'):
            rest = re.sub(r'WORDS\((?:\{[^}]*\},?\s*)*\)', 'NULL', rest)
            fallback = re.search(r'"([^"]*)"', re.sub(r'\bAT\([^)]*\)|\bIN\([^)]*\)', '', rest))
            found[name] = (kind, fallback.group(1) if fallback else None)
    return found


class Configurations(unittest.TestCase):
    def check(self, file):
        need(self, BUILD + '/enrollctl')
        done = run(BUILD + '/enrollctl', '--config', file, 'config', 'show')
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_full_example_loads(self):
        self.check(path('examples', 'enroll-milter.conf'))

    def test_each_sample_loads_in_observe_mode(self):
        for place in CONFIGURATIONS:
            with self.subTest(place):
                self.assertIn('mode = "observe"', self.check(path('examples', place, 'enroll-milter.conf')))

    def test_each_sample_loads_with_its_ca_switched_on(self):
        for place in CONFIGURATIONS:
            with self.subTest(place), tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
                text = read('examples', place, 'enroll-milter.conf').replace('"observe"', '"sign"')
                head, tail = text.split('# From mode = "enroll" on:\n')
                file.write(head + re.sub(r'^#', '', tail, flags=re.M))
                file.flush()
                self.assertIn('mode = "sign"', self.check(file.name))

    def test_what_readme_and_pages_show_loads_in_the_full_example(self):
        """Each block of settings in README.md and doc/*.md, in the place of the example's own."""
        for file in ['README.md'] + ['doc/' + os.path.basename(f) for f in sorted(glob.glob(path('doc', '*.md')))]:
            blocks = [textwrap.dedent(b) for b in re.findall(r'(?:^ {4,}.*\n)+', read(file), re.M)]
            blocks = [b for b in blocks if re.match(r'[a-z-]+ = ', b)]
            self.assertTrue(blocks or file != 'README.md')
            for block in blocks:
                with self.subTest(file, block=block):
                    self.check_block(block)

    def check_block(self, block):
        text = read('examples', 'enroll-milter.conf')
        for name in re.findall(r'^([a-z-]+) = ', block, re.M):
            text = re.sub(r'^%s = (?:[{(].*?^[})];|[^{(\n]*;)' % name, '', text, count=1, flags=re.S | re.M)
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as file:
            file.write(text + block)
            file.flush()
            self.check(file.name)

    def test_the_full_example_names_every_key(self):
        names = set(re.findall(r'([a-z0-9-]+) = ', read('examples', 'enroll-milter.conf')))
        missing = {k for k in config_table() if k.split('.')[-1] not in names}
        self.assertEqual(missing, set())


class Sendmail(unittest.TestCase):
    """tests/e2e/test_sign_sendmail.py runs Sendmail with these lines."""

    def test_the_readme_shows_the_lines_of_the_sample(self):
        shown = re.findall(r"^    ((?:MAIL_FILTER|FEATURE|DAEMON_OPTIONS)\(.*)$", read('README.md'), re.M)
        self.assertEqual(shown, re.findall(r'^((?:MAIL_FILTER|FEATURE|DAEMON_OPTIONS)\(.*)$', read('examples', 'sendmail', 'sendmail.mc'), re.M))
        self.assertTrue(shown)

    def test_doctors_trial_reply_comes_back(self):
        port = re.search(r'SINK_PORT (\d+)', read('enroll', 'sink.h')).group(1)
        self.assertIn('A=TCP $h %s\n' % port, read('examples', 'sendmail', 'sendmail.mc'))


class Postfix(unittest.TestCase):
    """Each fragment put into a stock configuration."""

    def services(self, text):
        """[(name, its lines)] of a master.cf; a line that begins with white space goes on."""
        found = []
        for line in text.splitlines():
            if not line.strip() or line.startswith('#'):
                continue
            if line[0].isspace():
                found[-1][1].append(line)
            else:
                found.append((' '.join(line.split()[:2]), [line]))
        return found

    REPORT_TABLES = {'transport_maps': 'transport', 'sender_dependent_default_transport_maps': 'sender', 'virtual_alias_maps': 'recipient'}

    def main_cf(self, reports=True):
        """The sample as it is when delivery reports are wanted: without the # before parameters."""
        text = read('examples', 'postfix', 'main.cf')
        return re.sub(r'^#(?=\w+ = )', '', text, flags=re.M) if reports else text

    def parameters(self, text):
        return dict(re.findall(r'^(\w+) = (.*)$', text, re.M))

    def make(self, folder, place, reports=True):
        stock = '/usr/share/postfix/master.cf.dist'
        if not os.path.exists(stock):
            self.skipTest(stock + ' is not there')
        ours = self.services(read('examples', 'postfix', place, 'master.cf'))
        with open(stock) as file:
            kept = [s for s in self.services(file.read()) if s[0] not in dict(ours)]
        with open(folder + '/master.cf', 'w') as file:
            file.write('\n'.join('\n'.join(lines) for _name, lines in kept + ours) + '\n')
        with open(folder + '/main.cf', 'w') as file:
            text = self.main_cf(reports).replace('/etc/postfix/enroll-milter', path('examples', 'postfix', 'reports'))
            # the later one of two lines counts, and Postfix says so
            text = re.sub(r'^transport_maps = .*\n(?=(.*\n)*transport_maps = )', '', text, flags=re.M)
            file.write('compatibility_level = 3.6\nmyhostname = mail.example.org\n' + text)
        for name in ('main.cf', 'master.cf'):
            settled(os.path.join(folder, name))

    def test_fragments_are_understood(self):
        need(self, 'postconf')
        for place, reports in [(p, r) for p in PLACES for r in (False, True)]:
            with self.subTest(place, reports=reports), tempfile.TemporaryDirectory() as folder:
                self.make(folder, place, reports)
                for option in ('-M', '-P', '-n'):
                    done = run('postconf', '-c', folder, option)
                    self.assertEqual((done.returncode, done.stderr), (0, ''), option)
                text = run('postconf', '-c', folder, '-P').stdout
                self.assertIn('enroll-milter/outbound.sock', text)
                self.assertIn('unix:enroll-milter/inbound.sock', text)

    def test_the_outbound_instance_stands_before_opendkim(self):
        for place in PLACES:
            rows = re.findall(r'smtpd_milters = (.*) \}$', read('examples', 'postfix', place, 'master.cf'), re.M)
            signing = [r for r in rows if 'outbound.sock' in r]
            self.assertEqual(len(signing), 1, place)
            self.assertIn('outbound.sock, default_action=tempfail }', signing[0], 'half-edited mail must not go on')
            self.assertLess(signing[0].index('outbound.sock'), signing[0].index('opendkim.sock'), place)

    def test_the_reply_listener_is_where_the_configuration_says(self):
        for place in PLACES:
            port = re.search(r'^reply = \{ port = (\d+)', read('examples', 'postfix', place, 'enroll-milter.conf'), re.M)
            wanted = '127.0.0.1:%s inet' % (port.group(1) if port else config_table()['reply.port'][1])
            block = dict(self.services(read('examples', 'postfix', place, 'master.cf')))[wanted]
            self.assertIn('  -o { smtpd_milters = unix:opendkim/reply.sock }', block)

    def test_delivery_reports_go_to_a_listener_with_the_inbound_instance_and_end_there(self):
        where = self.look_up(self.SENDER, 'regexp:' + path('examples', 'postfix', 'reports', 'transport'))
        service, port = re.fullmatch(r'(\w+):\[127\.0\.0\.1\]:(\d+)', where).groups()
        self.assertEqual(self.parameters(self.main_cf()).get(service + '_destination_recipient_limit'), '1')
        for place in PLACES:
            found = dict(self.services(read('examples', 'postfix', place, 'master.cf')))
            self.assertIn(service + ' unix', found, place)
            block = found['127.0.0.1:%s inet' % port]
            self.assertIn('  -o { smtpd_milters = unix:enroll-milter/inbound.sock }', block)
            self.assertIn('  -o content_filter=discard:', block, 'or what the milter leaves goes round in circles')

    def test_replies_leave_by_a_client_that_always_reports(self):
        service = self.look_up(self.SENDER, 'regexp:' + path('examples', 'postfix', 'reports', 'sender')).rstrip(':')
        for place in PLACES:
            block = dict(self.services(read('examples', 'postfix', place, 'master.cf')))[service + ' unix']
            self.assertIn('  -o smtp_discard_ehlo_keywords=dsn', block)

    def test_the_tables_know_envelope_senders_of_replies_and_nobody_else(self):
        for name, table in self.REPORT_TABLES.items():
            self.assertIn('regexp:/etc/postfix/enroll-milter/' + table, self.parameters(self.main_cf())[name])
            for key in ('smime-reports@example.org', 'alice@example.org', self.SENDER + '.net', 'x' + self.SENDER, '@example.org'):
                self.assertEqual(self.look_up(key, 'regexp:' + path('examples', 'postfix', 'reports', table)), '', key)
        self.assertEqual(self.look_up(self.SENDER, 'regexp:' + path('examples', 'postfix', 'reports', 'recipient')), self.SENDER)

    # what policy/report_address.c writes
    SENDER = 'smime-reports+e17-0123456789abcdef0123456789abcdef@example.org'

    def look_up(self, key, table):
        need(self, 'postmap')
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + '/main.cf', 'w') as file:
                file.write('compatibility_level = 3.6\n')
            settled(folder + '/main.cf')
            return run('postmap', '-c', folder, '-q', key, table).stdout.strip()

    def test_the_sender_rule_of_the_reply_listener_knows_our_domain(self):
        for place in PLACES:
            table = re.search(r'check_sender_access (\S+),', read('examples', 'postfix', place, 'master.cf')).group(1)
            self.assertEqual(self.look_up('example.org', table), 'permit')
            self.assertEqual(self.look_up('example.net', table), '')

    def test_doctors_trial_reply_comes_back(self):
        port = re.search(r'SINK_PORT (\d+)', read('enroll', 'sink.h')).group(1)
        table = re.search(r'^transport_maps = (.*)$', read('examples', 'postfix', 'main.cf'), re.M).group(1)
        self.assertEqual(self.look_up('doctor.invalid', table), 'smtp:[127.0.0.1]:%s' % port)


class OpenDkim(unittest.TestCase):
    def test_the_reply_signer_covers_the_twelve_fields(self):
        text = read('examples', 'postfix', 'opendkim-reply.conf')
        fields = re.search(r'reply_fields\[\] = \{(.*?)\}', read('enroll', 'doctor_reply.c'), re.S).group(1)
        wanted = {f.lower() for f in re.findall(r'"(.*?)"', fields)}
        self.assertEqual(len(wanted), 12)
        for option in ('SignHeaders', 'OversignHeaders'):
            listed = re.search(r'^%s\s+(\S+)$' % option, text, re.M).group(1)
            self.assertEqual({f.lower() for f in listed.split(',')}, wanted, option)

    def test_opendkim_understands_it(self):
        need(self, 'opendkim', 'openssl')
        if os.geteuid() != 0:
            self.skipTest('OpenDKIM wants its key in a folder of root')
        with tempfile.TemporaryDirectory(dir='/run') as folder:
            run('openssl', 'genrsa', '-out', folder + '/mail.private', '2048')
            os.chmod(folder + '/mail.private', 0o600)
            text = read('examples', 'postfix', 'opendkim-reply.conf')
            text = text.replace('/etc/dkimkeys', folder)
            with open(folder + '/conf', 'w') as file:
                file.write(text)
            done = run('opendkim', '-n', '-x', folder + '/conf')
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Manual(unittest.TestCase):
    def pages(self):
        found = sorted(glob.glob(path('doc', '*.[1-8]')))
        self.assertGreaterEqual(len(found), 6)
        return found

    def test_pages_are_free_of_warnings(self):
        need(self, 'groff')
        for page in self.pages():
            done = run('groff', '-ww', '-mandoc', '-Tutf8', '-z', page)
            self.assertEqual((done.returncode, done.stderr), (0, ''), page)

    def test_pages_are_clean_for_mandoc(self):
        need(self, 'mandoc')
        for page in self.pages():
            done = run('mandoc', '-Tlint', '-W', 'warning', page)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ''), page)

    def entries(self):
        """{key path: default or None} of enroll-milter.conf(5)."""
        text = read('doc', 'enroll-milter.conf.5')
        found = {}
        for name, body in re.findall(r'^\.It Cm (\S+).*?\n(.*?)(?=^\.(?:It|El))', text, re.S | re.M):
            default = re.search(r'Default:\n\.Dq (.*?)\.?$|Default:\n\.Dq Li (.*?)$', body, re.M)
            self.assertNotIn(name, found, 'named twice')
            found[name] = default.group(1) if default else None
        return found

    def test_the_configuration_page_names_every_key_and_no_other(self):
        self.assertEqual(set(self.entries()), set(config_table()))

    def test_the_configuration_page_tells_each_default(self):
        entries = self.entries()
        for name, (_kind, fallback) in config_table().items():
            if fallback is not None:
                told = (entries[name] or '').replace(' .', '').replace('\\&', '').replace('\\-', '-').rstrip(' .')
                self.assertEqual(told, fallback, name)

    def test_the_manual_names_every_command(self):
        commands = re.findall(r'^\t\{"([a-z]+)", "', read('ctl', 'main.c'), re.M)
        self.assertGreater(len(commands), 15)
        named = set(re.findall(r'^\.It Cm ([a-z]+)', read('doc', 'enrollctl.8'), re.M))
        self.assertEqual(named, set(commands))

    def test_the_manual_names_every_state(self):
        need(self, BUILD + '/enrolld')
        states = {line.split()[0] for line in run(BUILD + '/enrolld', '--states').stdout.splitlines()}
        named = set(re.findall(r'^\.It Sy ([a-z-]+)', read('doc', 'enrolld.8'), re.M))
        self.assertEqual(states - named, set())


class Units(unittest.TestCase):
    def test_units_are_understood(self):
        need(self, 'systemd-analyze')
        made = glob.glob(BUILD + '/systemd/*.service')
        if not made:
            self.skipTest('units are not made yet')
        with tempfile.TemporaryDirectory() as folder:
            for unit in made + [path('examples', 'postfix', 'opendkim-reply.service')]:
                with open(unit) as file:
                    text = re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', file.read(), flags=re.M)
                with open(os.path.join(folder, os.path.basename(unit)), 'w') as file:
                    file.write(text)
            for instance in ('outbound', 'inbound'):
                drop_in = '%s/enroll-milter@%s.service.d' % (folder, instance)
                os.mkdir(drop_in)
                shutil.copy(os.path.join(BUILD, 'systemd', instance + '.conf'), drop_in + '/instance.conf')
            for unit in ('enrolld', 'enroll-milter@outbound', 'enroll-milter@inbound', 'opendkim-reply'):
                done = run('systemd-analyze', 'verify', '--man=no', '%s/%s.service' % (folder, unit))
                ours = [l for l in done.stderr.splitlines() if folder in l or unit in l]
                self.assertEqual((done.returncode, ours), (0, []), unit)


if __name__ == '__main__':
    result = unittest.main(exit=False, argv=[sys.argv[0]] + sys.argv[1:]).result
    bad = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('%d passed, %d failed, %d skipped' % (max(0, result.testsRun - bad - skipped), bad, skipped))
    sys.exit(1 if bad else 0)
