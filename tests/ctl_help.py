#!/usr/bin/python3
"""What enrollctl says of itself: help, completion in a shell, the nearest word; and that the manual has the same commands and options.

    cd BUILD && /usr/bin/python3 SOURCE/tests/ctl_help.py

All of it against the table of commands in ctl/main.c, which is read here by itself.  $ENROLL_TEST_LONG: each option at each command that
does not take it; otherwise every eighth of these, each command and each option among them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get('ENROLL_BUILD', '.'))
PROGRAM = BUILD + '/enrollctl'
LONG = bool(os.environ.get('ENROLL_TEST_LONG'))
GLOBAL = {'--config', '--json', '--csv', '--help', '--version'}


def read(*parts):
    with open(os.path.join(TOP, *parts), encoding='utf-8') as file:
        return file.read()


def table():
    """{command: (arguments, role, help, example)}"""
    rows = re.search(r'ctl_command commands\[\] = \{\n(.*?)\n\};', read('ctl', 'main.c'), re.S).group(1)
    rows = re.sub(r'"\s*\n\s*"', '', rows)
    text = r'"((?:[^"\\]|\\.)*)"'
    found = re.findall(r'^\t\{' + r',\s*'.join([text] * 5) + r',\s*\w+\},$', rows, re.M)
    assert len(found) == len(re.findall(r'^\t\{', rows, re.M)), 'a row is of another form'
    return {name: tuple(s.replace('\\"', '"') for s in rest) for name, *rest in found}


TABLE = table()


def options(arguments):
    return set(re.findall(r'--[a-z0-9-]+', arguments))


def subcommands(arguments):
    flat = re.sub(r'\[[^][]*\]', '', re.sub(r'\[[^][]*\]', '', arguments))
    return {w.split()[0] for w in flat.split('|') if re.match(r'\s*[a-z]', w)}


def run(*argv):
    return subprocess.run([PROGRAM, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)


class Case(unittest.TestCase):
    def setUp(self):
        if not os.access(PROGRAM, os.X_OK):
            self.skipTest('%s is not there' % PROGRAM)


class Help(Case):
    def test_all_commands_and_who_may(self):
        text = run('--help').stdout
        self.assertEqual([a for a in re.findall(r'^  ([a-z]+)', text, re.M)], list(TABLE))
        flat = ' '.join(text.split())
        for name, (arguments, role, about, _example) in TABLE.items():
            self.assertIn(' '.join(('%s %s %s (%s)' % (name, arguments, about, role)).split()), flat)
            self.assertRegex(role, r'^(help desk|admin|root|anybody)')

    def test_each_command(self):
        for name, (arguments, role, about, example) in TABLE.items():
            with self.subTest(name):
                done = run(name, '--help')
                self.assertEqual((done.returncode, done.stderr), (0, ''))
                self.assertEqual(run('help', name).stdout, done.stdout)
                flat = ' '.join(done.stdout.split())
                for part in (arguments, about[1:], 'Who may: %s.' % role, 'Example: ' + example):
                    self.assertIn(' '.join(part.split()), flat)
                self.assertTrue(example.startswith('enrollctl ' + name), example)
                for option in options(arguments):
                    self.assertEqual(len(re.findall(r'(?m)^ {6}%s(?= ).* \w+' % option, done.stdout)), 1, 'no help for %s' % option)
                self.assertLessEqual(options(example), options(arguments))
                self.assertLess(max(map(len, done.stdout.splitlines())), 80)
        self.assertLess(max(map(len, run('--help').stdout.splitlines())), 80)

    def test_the_manual_has_them(self):
        page = read('doc', 'enrollctl.8')
        self.assertEqual(set(re.findall(r'^\.It Cm ([a-z]+)', page, re.M)), set(TABLE))
        named = {'--' + n.replace('\\-', '-') for n in re.findall(r'Fl -([a-z0-9-]+)', page)}
        self.assertEqual(set().union(*(options(a) for a, *_ in TABLE.values())) - named, set())

    def test_the_checks_of_doctor(self):
        """Those of the table, of enrolld, and of their page are the same."""
        rows = re.findall(r'^\t\{"([a-z-]+)", "[\w ]+", (\w+), (\w+), (NULL|"[a-z-]+")\},$', read('ctl', 'doctor.c'), re.M)
        page = re.findall(r'^\.It Sy ([a-z-]+)$', read('doc', 'enroll-milter-doctor.7').split('.Sh CHECKS')[1], re.M)
        self.assertEqual(page, [name for name, *_ in rows])
        theirs = re.findall(r'\{"([a-z-]+)", \w+, (?:false|ADMIN)\}', read('enroll', 'doctor.c'))
        self.assertEqual(sorted(theirs), sorted(name for name, where, _run, by in rows if where == 'ENROLLD' and by == 'NULL'))
        self.assertLessEqual({by.strip('"') for *_, by in rows if by != 'NULL'}, set(theirs))

    def test_the_nearest_word(self):
        for typed, near in ((['stauts'], 'status'), (['reovke', 'x'], 'revoke'), (['exp'], 'expiring'), (['list', '--stata', 'x'], '--state'),
                            (['list', '--stata=x'], '--state'), (['account', 'rotate'], 'rotate-key'), (['config', 'chekc'], 'check'), (['help', 'shwo'], 'show')):
            with self.subTest(typed):
                done = run(*typed)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                self.assertIn('did you mean "%s"?' % near, done.stderr)
        for typed in (['frobnicate'], ['list', '--frobnicate'], ['-x']):
            done = run(*typed)
            self.assertEqual(done.returncode, 2)
            self.assertIn(typed[-1], done.stderr)
            self.assertNotIn('did you mean', done.stderr)
        self.assertIn('needs a value', run('list', '--state').stderr)

    def test_an_option_of_another_command_is_refused(self):
        """--dry-run that is not heeded would do harm."""
        every = sorted(set().union(*(options(a) for a, *_ in TABLE.values())))
        tried = [(name, option) for n, (name, (arguments, *_)) in enumerate(TABLE.items()) for m, option in enumerate(every)
                 if option not in options(arguments) and (LONG or (n + m) % 8 == 0)]
        self.assertEqual([{name for name, _o in tried}, {option for _n, option in tried}], [set(TABLE), set(every)])
        for name, option in tried:
            done = run('--config', '/nonexistent', name, option, '1')
            self.assertEqual(done.returncode, 2, (name, option))
            self.assertIn('%s does not take %s' % (name, option), done.stderr)

    def test_csv_where_there_is_a_table(self):
        done = run('enroll', 'a@example.org', '--csv')
        self.assertEqual(done.returncode, 2)
        self.assertIn('--csv is for tables: list events mail expiring search doctor', done.stderr)
        self.assertIn('either', run('list', '--csv', '--json').stderr)


class Log(Case):
    """enrollctl log explain; tests/names.py holds its table to what the programs log."""

    def explain(self, *typed):
        return run('--config', '/nonexistent', 'log', 'explain', *typed)

    def test_a_name(self):
        done = self.explain('mail_done')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for part in ('closing line of each mail', 'qid ', 'not-ours ', 'What to do: '):
            self.assertIn(part, done.stdout)
        self.assertNotIn('`', done.stdout)

    def test_a_line_as_it_stands_in_the_log(self):
        line = ('Nov 30 09:00:00 mx enroll-milter-inbound[7]: event=challenge_mail qid=4X verdict=foreign to=alice@example.org from="\\"CA\\" <ca@ca.example>" '
                'client=192.0.2.7 reason="x=1 y" novel=1')
        for typed in ((line,), line.replace('"', '').split()):  # with apostrophes around it; without, as a shell leaves it
            with self.subTest(typed):
                done = self.explain(*typed)
                self.assertEqual((done.returncode, done.stderr), (0, ''))
                flat = ' '.join(done.stdout.split())
                for part in ('verdict foreign authentic, but for no order of ours', 'to alice@example.org the recipient', 'CA', '<ca@ca.example>',
                             'client 192.0.2.7 ', 'novel 1 (this version does not know this key)', 'What to do: '):
                    self.assertIn(part, flat)
                self.assertNotIn('not-authentic ', flat.split('What to do')[0], 'other verdicts are not of this line')
        self.assertIn('from "CA" <ca@ca.example> the address', ' '.join(self.explain(line).stdout.split()))

    def test_a_step_of_an_enrollment_is_explained_by_what_the_history_calls_it(self):
        done = self.explain('event=enrollment enrollment=3 state=waiting what=order_abandoned class=temporary')
        self.assertIn('The answer of the CA to a new order was lost.', done.stdout)
        self.assertIn('passes by itself', done.stdout)

    def test_an_escape_of_a_terminal_is_not_passed_on(self):
        self.assertNotIn('\033', self.explain('event=mail_done from="\033[2J"').stdout)
        self.assertNotIn('\033', self.explain('event=\033[2Jx').stderr)

    def test_an_unknown_name_gets_those_that_are_like_it(self):
        for typed, near in (('mail_dome', ('mail_done',)), ('revocation_', ('revocation_failed', 'revocation_unknown')), ('event=mail_dome qid=1', ('mail_done',))):
            done = self.explain(typed)
            self.assertEqual((done.returncode, done.stdout), (1, ''))
            for name in near:
                self.assertIn(name, done.stderr)
        done = self.explain('zzzzzz')
        self.assertEqual(done.returncode, 1)
        self.assertNotIn('did you mean', done.stderr)
        done = run('--json', 'log', 'explain', 'zzzzzz')
        self.assertEqual((done.returncode, json.loads(done.stdout)['ok']), (1, False))
        self.assertEqual(run('log').returncode, 2)

    def test_all_and_json(self):
        listed = self.explain()
        found = json.loads(run('--json', 'log', 'explain').stdout)
        self.assertEqual(listed.returncode, 0)
        for row in found:
            self.assertRegex(listed.stdout, r'(?m)^%s ' % row['event'])
            for what in ('meaning', 'where'):
                self.assertTrue(row[what], row)
        one = json.loads(run('--json', 'log', 'explain', 'event=mail_done verdict=signed').stdout)
        self.assertEqual([(k['key'], k['value'], [v['value'] for v in k['values']]) for k in one[0]['keys']], [('verdict', 'signed', ['signed'])])
        self.assertEqual(len(json.loads(run('--json', 'log', 'explain', 'revocation_failed').stdout)), 2, 'log and history')


class Completion(Case):
    """The file is sourced and called as bash does it."""

    SCRIPT = r'''
. "$1"; shift
type -p enrollctl > /dev/null || exit 9
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<< "$COMP_LINE"
case $COMP_LINE in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p enrollctl | grep -q -- '-F _enrollctl enrollctl' || exit 8
_enrollctl enrollctl "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
'''

    def complete(self, line, **env):
        if not shutil.which('bash'):
            self.skipTest('bash is not there')
        done = subprocess.run(['bash', '--norc', '-c', self.SCRIPT, 'bash', TOP + '/ctl/enrollctl.bash', line], capture_output=True, text=True, cwd=self.folder,
                              stdin=subprocess.DEVNULL, env=dict(PATH=BUILD + ':/usr/bin:/bin', LC_ALL='C.UTF-8', **env))
        self.assertEqual((done.returncode, done.stderr), (0, ''), line)
        return set(done.stdout.split('\n')) - {''}

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix='completion-')
        self.addCleanup(shutil.rmtree, self.folder)

    def test_every_command(self):
        self.assertEqual(self.complete('enrollctl '), set(TABLE))
        self.assertEqual(self.complete('enrollctl --json '), set(TABLE))
        self.assertEqual(self.complete('enrollctl -c /nonexistent '), set(TABLE))
        self.assertEqual(self.complete('enrollctl help '), set(TABLE))
        self.assertEqual(self.complete('enrollctl rev'), {'revoke'})

    def test_every_option(self):
        for name, (arguments, *_) in TABLE.items():
            with self.subTest(name):
                found = self.complete('enrollctl %s --' % name)
                self.assertEqual(found - {'--csv'}, options(arguments) | GLOBAL - {'--csv'})
        self.assertIn('--csv', self.complete('enrollctl list --'))
        self.assertNotIn('--csv', self.complete('enrollctl enroll --'))

    def test_every_sub_command(self):
        some = 0
        for name, (arguments, *_) in TABLE.items():
            if subcommands(arguments):
                some += 1
                self.assertEqual(self.complete('enrollctl %s ' % name), subcommands(arguments), name)
        self.assertGreater(some, 4)
        self.assertEqual(self.complete('enrollctl account r'), {'register', 'rotate-key'})
        self.assertEqual(self.complete('enrollctl account show '), set())

    def test_states_and_reasons(self):
        states = set(re.findall(r'^\t\[ENROLLMENT_\w+\] = "([a-z-]+)"', read('store', 'records.c'), re.M))
        self.assertEqual(self.complete('enrollctl list --state '), states)
        self.assertEqual(self.complete('enrollctl list --state wai'), {'waiting'})
        # bash has = among its word breaks
        self.assertEqual(self.complete('enrollctl list --state=wai'), {'waiting'})
        reasons = set(re.findall(r'"(\w+)"', re.search(r'\{("keyCompromise".*?)\}', read('store', 'revocations.c')).group(1)))
        self.assertEqual(self.complete('enrollctl revoke a@example.org --reason '), reasons)
        self.assertEqual(self.complete('enrollctl disable a@example.org --reason '), set(), 'free words')
        self.assertEqual(self.complete('enrollctl cert check x --profile mailbox-s'), {'mailbox-strict'})

    def test_files(self):
        open(self.folder + '/one.pem', 'w').close()
        os.mkdir(self.folder + '/two words')
        for line in ('enrollctl cert check ', 'enrollctl backup ', 'enrollctl --config ', 'enrollctl cert check one.pem --anchors '):
            self.assertEqual(self.complete(line), {'one.pem', 'two words'}, line)

    def test_nothing_comes_of_what_is_not_there(self):
        for line in ('enrollctl show ', 'enrollctl frobnicate ', 'enrollctl show $(touch x)', 'enrollctl status x'):
            self.assertEqual(self.complete(line), set(), line)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == '__main__':
    result = unittest.main(exit=False, argv=[sys.argv[0]] + sys.argv[1:]).result
    bad = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('%d passed, %d failed, %d skipped' % (max(0, result.testsRun - bad - skipped), bad, skipped))
    sys.exit(1 if bad else 0)
