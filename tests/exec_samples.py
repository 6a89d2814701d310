#!/usr/bin/python3
"""The sample programs of examples/ca, asked as enrolld asks them (enroll-milter-exec(7)), without enrolld.

    /usr/bin/python3 tests/exec_samples.py

The small CA of exec-openssl keeps its promise, one id, one certificate, when it is killed and when it is asked twice at once; the skeleton
exec-rest refuses until it is filled in, and then does what its CA says.  What needs a tool that is not installed is skipped.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OPENSSL = os.path.join(TOP, 'examples', 'ca', 'exec-openssl')
REST = os.path.join(TOP, 'examples', 'ca', 'exec-rest')
PATH = '/usr/bin:/bin'
ALICE = 'alice@corp.example'


def openssl(*argv, data=None):
    done = subprocess.run(['openssl', *argv], input=data, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError('openssl %s: %s' % (' '.join(argv), done.stderr))
    return done.stdout


def start(program, **env):
    return subprocess.Popen([sys.executable, '-B', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=dict(env, PATH=PATH, LANG='C.UTF-8'), cwd='/', start_new_session=True)


def ask(program, question, **env):
    process = start(program, **env)
    out, err = process.communicate(json.dumps(dict(question, version=1)))
    if process.returncode != 0:
        raise AssertionError('code %d: %s' % (process.returncode, err))
    return json.loads(out)


class SmallCa(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which('openssl'):
            raise unittest.SkipTest('openssl is not there')
        cls.folder = tempfile.mkdtemp(prefix='exec-samples-')
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.env = {'CA_FOLDER': cls.folder + '/ca', 'CA_URL': 'http://pki.corp.example', 'CA_DOMAINS': 'corp.example'}
        subprocess.run([sys.executable, '-B', OPENSSL, 'init'], check=True, capture_output=True, env=dict(cls.env, PATH=PATH))
        cls.csrs = [openssl('req', '-new', '-newkey', kind, *more, '-nodes', '-keyout', cls.folder + '/key', '-subj', '/', '-out', '-')
                    for kind, *more in (('rsa:2048',), ('ec', '-pkeyopt', 'ec_paramgen_curve:P-256'))]

    def question(self, identifier, action='request', csr=0, **more):
        question = {'action': action, 'id': identifier.ljust(24, '-'), 'addresses': [ALICE], 'profile': 'mailbox-strict', 'usage': 'sign',
                    'state': None}
        if action == 'request':
            question.update(csr=self.csrs[csr], replaces=None)
        return dict(question, **more)

    def ask(self, identifier, **more):
        env = more.pop('env', {})
        return ask(OPENSSL, self.question(identifier, **more), **dict(self.env, **env))

    def issued(self):
        return set(os.listdir(self.folder + '/ca/issued'))

    def left_over(self):
        return [n for n in os.listdir(self.folder + '/ca') if n.startswith('work-')]

    def test_without_its_environment_it_says_what_is_missing(self):
        answer = ask(OPENSSL, {'action': 'check'})
        self.assertEqual((answer['status'], answer['class']), ('failed', 'config'))
        self.assertIn('CA_FOLDER', answer['text'])
        answer = ask(OPENSSL, {'action': 'check'}, **dict(self.env, CA_FOLDER=self.folder + '/none'))
        self.assertIn('exec-openssl init', answer['text'])

    def test_check(self):
        self.assertEqual(ask(OPENSSL, {'action': 'check'}, **self.env)['status'], 'ok')

    def test_certificate_verifies_and_is_what_was_asked_for(self):
        for csr, usage, bits in ((0, 'sign', 'Digital Signature'), (0, 'dual', 'Digital Signature, Key Encipherment'),
                                 (1, 'sign', 'Digital Signature'), (1, 'encrypt', 'Key Agreement')):
            with self.subTest(csr=csr, usage=usage):
                answer = self.ask('plain-%d-%s' % (csr, usage), csr=csr, usage=usage)
                self.assertEqual(answer['status'], 'issued', answer)
                leaf, issuing = [p + '-----END CERTIFICATE-----\n' for p in answer['chain'].split('-----END CERTIFICATE-----\n')[:2]]
                with open(self.folder + '/issuing', 'w') as file:
                    file.write(issuing)
                verified = openssl('verify', '-purpose', 'smimesign' if usage != 'encrypt' else 'any', '-x509_strict', '-CAfile',
                                   self.env['CA_FOLDER'] + '/root.pem', '-untrusted', self.folder + '/issuing', data=leaf)
                self.assertIn('OK', verified)
                text = openssl('x509', '-noout', '-text', data=leaf)
                for piece in ('email:' + ALICE, '2.23.140.1.5.1.3', 'E-mail Protection', bits + '\n'):
                    self.assertIn(piece, text)

    def test_addresses_of_every_shape(self):
        for number, name in enumerate(('alice', 'a.b+c=d/e', "x{y}|z~!%&*?^_", 'long.' * 12 + 'name')):
            with self.subTest(name):
                answer = self.ask('shape-%d' % number, addresses=[name + '@corp.example', 'second@corp.example'])
                self.assertEqual(answer['status'], 'issued', answer)
                text = openssl('x509', '-noout', '-text', '-nameopt', 'utf8,sname', data=answer['chain'])
                self.assertIn('email:%s@corp.example, email:second@corp.example\n' % name, text)
                long = len(name) > 50
                self.assertEqual('Alternative Name: critical' in text, long)
                self.assertIn('Subject: %s\n' % ('' if long else 'CN=%s@corp.example' % name), text)

    def test_a_request_that_comes_again_gets_the_same_certificate(self):
        before = self.issued()
        first = self.ask('again')
        self.assertEqual(self.ask('again'), first)
        self.assertEqual(self.ask('again', action='poll'), first)
        self.assertEqual(len(self.issued() - before), 1)
        self.assertNotEqual(self.ask('another')['chain'], first['chain'])

    def test_a_certificate_that_was_lost_before_it_was_told_is_made_again_as_it_was(self):
        first = self.ask('lost')
        before = self.issued()
        for name in before:
            with open(self.folder + '/ca/issued/' + name) as file:
                if file.read() in first['chain']:
                    os.unlink(self.folder + '/ca/issued/' + name)
        self.assertEqual(len(before - self.issued()), 1)
        self.assertEqual(self.ask('lost'), first)

    def test_asked_twice_at_once(self):
        for n in range(3):
            before = self.issued()
            both = [start(OPENSSL, **self.env) for _ in range(4)]
            answers = [p.communicate(json.dumps(self.question('twice-%d' % n)))[0] for p in both]
            self.assertEqual(len(set(answers)), 1, answers)
            self.assertEqual(len(self.issued() - before), 1)

    def test_killed_anywhere(self):
        chance = random.Random(8823)
        for n in range(20):
            identifier, before, seen = 'killed-%d' % n, self.issued(), set()
            for _ in range(3):
                process = start(OPENSSL, **self.env)
                process.stdin.write(json.dumps(self.question(identifier)))
                process.stdin.close()
                time.sleep(chance.uniform(0, 0.12))     # any moment is as good as another
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                seen.add(process.stdout.read())
                process.wait()
                process.stdout.close()
                process.stderr.close()
            answer = json.dumps(self.ask(identifier))
            self.assertLessEqual({s for s in seen if s.endswith('}')}, {answer})
            self.assertEqual(len(self.issued() - before), 1)
        self.assertEqual(self.left_over(), [])

    def test_an_id_belongs_to_one_request(self):
        self.ask('owned')
        answer = self.ask('owned', csr=1)
        self.assertEqual((answer['status'], answer['class']), ('failed', 'ca'))

    def test_refusals(self):
        table = (('policy', dict(addresses=['alice@other.example'])), ('policy', dict(addresses=['alice$HOME@corp.example'])),
                 ('policy', dict(addresses=['a\nkeyUsage=keyCertSign@corp.example'])), ('config', dict(profile='sponsor-strict')),
                 ('ca', dict(csr=None)), ('config', dict(id='../../../etc/passwd')))
        for number, (kind, more) in enumerate(table):
            with self.subTest(more):
                question = dict(self.question('refused-%d' % number), **more)
                if question['csr'] is None:
                    question['csr'] = 'no request'
                before = self.issued()
                answer = ask(OPENSSL, question, **self.env)
                self.assertEqual((answer['status'], answer['class']), ('failed', kind), answer)
                self.assertEqual(self.issued(), before)

    def test_a_folder_that_may_not_be_written_is_told_with_what_to_do(self):
        if os.geteuid() == 0:
            self.skipTest('root may write everywhere')
        os.chmod(self.folder + '/ca', 0o555)
        try:
            answer = self.ask('readonly')
        finally:
            os.chmod(self.folder + '/ca', 0o755)
        self.assertEqual(answer['class'], 'config')
        self.assertIn('ReadWritePaths', answer['text'])

    def test_approval_is_awaited(self):
        env = {'CA_APPROVAL': 'yes'}
        answer = self.ask('approval', env=env)
        self.assertEqual(answer['status'], 'pending')
        self.assertEqual(self.ask('approval', action='poll', state=answer['state'], env=env)['status'], 'pending')
        subprocess.run([sys.executable, '-B', OPENSSL, 'approve', 'approval'.ljust(24, '-')], check=True, env=dict(self.env, PATH=PATH))
        self.assertEqual(self.ask('approval', action='poll', state=answer['state'], env=env)['status'], 'issued')

    def test_revocation(self):
        chain = self.ask('revoked')['chain']
        leaf = chain.split('-----END CERTIFICATE-----')[0] + '-----END CERTIFICATE-----\n'
        serial = openssl('x509', '-noout', '-serial', data=leaf).strip().split('=')[1]
        for _ in range(2):
            answer = ask(OPENSSL, {'action': 'revoke', 'certificate': leaf, 'reason': 'keyCompromise'}, **self.env)
            self.assertEqual(answer, {'status': 'revoked'})
        text = openssl('crl', '-inform', 'DER', '-in', self.folder + '/ca/issuing.crl', '-noout', '-text')
        self.assertEqual(text.count('Serial Number: ' + serial), 1)
        self.assertIn('Key Compromise', text)
        with open(self.folder + '/ca/root.pem') as file:
            answer = ask(OPENSSL, {'action': 'revoke', 'certificate': file.read(), 'reason': 'superseded'}, **self.env)
        self.assertEqual(answer['class'], 'ca')


class RestSkeleton(unittest.TestCase):
    """Filled in as it stands, against a CA that speaks what it stands there with."""

    def test_it_refuses_until_it_is_filled_in(self):
        for action in ('check', 'request', 'poll', 'revoke', 'renewal-info'):
            answer = ask(REST, {'action': action})
            self.assertEqual((answer['status'], answer['class']), ('failed', 'config'))
            self.assertIn('FILLED_IN', answer['text'])

    def filled_in(self):
        loader = importlib.machinery.SourceFileLoader('exec_rest', REST)
        sys.dont_write_bytecode = True
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader('exec_rest', loader))
        loader.exec_module(module)
        module.FILLED_IN, module.API = True, 'https://ca.example'
        module.token = lambda: 'secret'
        return module

    def run_filled(self, module, **question):
        out = io.StringIO()
        saved, sys.stdin = sys.stdin, io.StringIO(json.dumps(question))
        try:
            with contextlib.redirect_stdout(out):
                module.main()
        finally:
            sys.stdin = saved
        return json.loads(out.getvalue())

    def test_one_request_an_id(self):
        module, requests = self.filled_in(), []

        def call(method, path, data=None):
            if method == 'POST':
                requests.append(dict(data, number=len(requests) + 1))
                return requests[-1]
            if 'externalId' in path:
                return {'requests': [r for r in requests if path.endswith('=' + r['externalId'])]}
            return {'status': 'ISSUED', 'certificate': 'LEAF', 'chain': ['CA']} if path.endswith('/1') else {'status': 'NEW'}
        module.call = call
        question = {'action': 'request', 'csr': 'CSR', 'addresses': [ALICE], 'profile': 'mailbox-strict', 'usage': 'sign', 'state': None}
        for _ in range(2):
            self.assertEqual(self.run_filled(module, id='one', **question), {'status': 'issued', 'chain': 'LEAFCA'})
        self.assertEqual(len(requests), 1)
        answer = self.run_filled(module, id='two', **question)
        self.assertEqual((answer['status'], answer['state']), ('pending', {'number': 2}))
        self.assertEqual(self.run_filled(module, action='poll', id='two', state=answer['state'])['status'], 'pending')
        self.assertEqual(self.run_filled(module, action='revoke', certificate='PEM', reason='superseded'), {'status': 'revoked'})

    def test_http_errors_have_their_class(self):
        module = self.filled_in()
        for code, headers, kind, again in ((401, {}, 'config', None), (404, {}, 'config', None), (400, {}, 'ca', None), (503, {}, 'temporary', None),
                                           (429, {'Retry-After': '90'}, 'temporary', 90),
                                           (503, {'Retry-After': 'Sun, 22 Nov 2020 08:00:00 GMT'}, 'temporary', 0),
                                           (503, {'Retry-After': 'soon'}, 'temporary', None)):
            with self.subTest(code=code, headers=headers):
                def opener(*_args, **_more):
                    raise module.urllib.error.HTTPError('https://ca.example', code, 'no', headers, io.BytesIO(b'the words'))
                saved, module.urllib.request.urlopen = module.urllib.request.urlopen, opener
                try:
                    answer = self.run_filled(module, action='poll', id='x', state={'number': 1})
                finally:
                    module.urllib.request.urlopen = saved
                self.assertEqual((answer['status'], answer['class'], answer.get('retry_after')), ('failed', kind, again))
                self.assertIn('the words', answer['text'])


if __name__ == '__main__':
    result = unittest.main(exit=False, argv=[sys.argv[0]] + sys.argv[1:]).result
    bad = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print('%d passed, %d failed, %d skipped' % (max(0, result.testsRun - bad - skipped), bad, skipped))
    sys.exit(1 if bad else 0)
