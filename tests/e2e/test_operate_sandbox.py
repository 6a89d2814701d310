"""What a daemon gave up: a call that its role has no use for is refused and logged, one that only an intruder makes ends the
process; the watcher that does this cannot be turned against it, and nothing hangs when it is gone.  (That normal work makes
no such call is seen in every other module: Product.reports.)"""

import os
import re
import signal
import subprocess
import unittest

import mailtools
import service
from mailtools import message, unique
from namespace import BASE
from product import Product, require, sanitized
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES, BUSY = 14, 4
BOX = 'box@outside.example'
ASKED, ANSWER, LIBRARY = BASE + '/sandbox-ask-%d', BASE + '/sandbox-answer-%d', BASE + '/sandbox-intruder.so'
# Loaded into the daemons by the test: on SIGURG it makes the call that a file names, on a new thread as an intruder might, and writes what came of it.
INTRUDER = r'''
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bell[2];

static void *make_call(void *unused)
{
	char octet, name[200], line[200];
	long n, a, b, c, rc;
	FILE *f;

	while (read(bell[0], &octet, 1) == 1) {
		snprintf(name, sizeof name, "BASE/sandbox-ask-%d", (int)getpid());
		f = fopen(name, "r");
		if (!f || fscanf(f, "%ld %ld %ld %ld", &n, &a, &b, &c) != 4)
			continue;
		fclose(f);
		errno = 0;
		rc = syscall(n, a, b, c, 0, 0, 0);
		snprintf(line, sizeof line, "%ld %d\n", rc, errno);
		snprintf(name, sizeof name, "BASE/sandbox-answer-%d", (int)getpid());
		f = fopen(name, "w");
		fputs(line, f);
		fclose(f);
	}
	return unused;
}

static void ring(int number)
{
	static int started;
	pthread_t thread;

	if (!started++)
		pthread_create(&thread, NULL, make_call, NULL);
	(void)!write(bell[1], "", 1);
}

__attribute__((constructor)) static void begin(void)
{
	if (pipe(bell) == 0)
		signal(SIGURG, ring);
}
'''
CALLS = {'x86_64': {'personality': 135, 'socket': 41, 'clone': 56, 'kill': 62, 'ptrace': 101, 'bpf': 321, 'mount': 165, 'execve': 59, 'unshare': 272, 'fork': 57}}
AF_PACKET, SOCK_RAW, ENOSYS, ENTRIES = 17, 3, 38, {}
NOTHING = 0xffffffff      # personality: tell, change nothing


def setUpModule():
    require()
    if sanitized():
        raise unittest.SkipTest('builds with sanitizers do without')
    if os.uname().machine not in CALLS:
        raise AssertionError('add the numbers of the calls on %s' % os.uname().machine)
    ENTRIES.update(CALLS[os.uname().machine])


class Sandbox(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        with open(BASE + '/sandbox-intruder.c', 'w') as file:
            file.write(INTRUDER.replace('BASE', BASE))
        subprocess.run(['gcc', '-shared', '-fPIC', '-pthread', '-o', LIBRARY, file.name], check=True)
        os.chmod(BASE, 0o1777)
        cls.p = Product(Stage.current, certificate={'key-type': 'ec:p256'})
        cls.p.denied_expected = True
        cls.p.env['LD_PRELOAD'] = LIBRARY
        cls.p.start()
        cls.p.ctl('enroll', 'alice@corp.example')
        cls.p.wait_state('alice@corp.example', 'active')

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def setUp(self):
        self.p.start()

    def pid(self, name):
        return self.p.daemons[name].pid

    def ring(self, name, call, *arguments):
        pid = self.pid(name)
        for path in (ASKED % pid, ANSWER % pid):
            if os.path.exists(path):
                os.unlink(path)
        with open(ASKED % pid, 'w') as file:
            file.write('%d %d %d %d\n' % (ENTRIES[call], *(arguments + (0, 0, 0))[:3]))
        self.p.signal(name, signal.SIGURG)
        return ANSWER % pid

    def make(self, name, call, *arguments):
        """(result, errno) of that call, made inside the daemon."""
        answer = self.ring(name, call, *arguments)

        def there():
            if os.path.exists(answer):
                with open(answer) as file:
                    return file.read().endswith('\n')
        service.until(there, 30, 'the call %s comes back' % call, say=self.p.daemons[name].tail)
        with open(answer) as file:
            return tuple(int(n) for n in file.read().split())

    def ended_by(self, name, call, *arguments):
        """The signal that ended the daemon when it made that call."""
        self.ring(name, call, *arguments)
        process = self.p.daemons[name].process
        service.until(lambda: process.poll() is not None, 30, '%s ends' % name)
        return -process.returncode

    def status(self, pid, *keys):
        with open('/proc/%d/status' % pid) as file:
            found = dict(line.split(':\t') for line in file.read().splitlines() if ':\t' in line)
        return [found[k].strip() for k in keys]

    def watcher(self, name):
        """The daemon's only child."""
        with open('/proc/%d/task/%d/children' % ((self.pid(name),) * 2)) as file:
            children = file.read().split()
        self.assertEqual(len(children), 1, name)
        return int(children[0])

    def signs(self):
        subject = unique()
        self.stage.submit('alice', 'alice@corp.example', [BOX], message('alice@corp.example', BOX, subject))
        return mailtools.is_signed(self.stage.outside.wait_subject(subject).content)

    # -- what is given up -----------------------------------------------------------

    def test_every_daemon_is_in_it(self):
        for name in ('outbound', 'inbound', 'enrolld'):
            with self.subTest(name):
                pid = self.pid(name)
                self.assertEqual(self.status(pid, 'Seccomp', 'NoNewPrivs'), ['2', '1'])
                with open('/proc/%d/limits' % pid) as file:
                    self.assertRegex(file.read(), r'Max core file size +0 +0 ')
                self.assertEqual(os.stat('/proc/%d/mem' % pid).st_uid, 0, 'not dumpable')
                threads = [self.status(int(t), 'Seccomp') for t in os.listdir('/proc/%d/task' % pid)]
                self.assertEqual({t[0] for t in threads}, {'2'}, 'every thread')

    def test_a_call_without_use_is_refused_and_logged(self):
        self.p.restart()        # nothing was said yet
        for name in ('outbound', 'inbound', 'enrolld'):
            for call, arguments in (('personality', (NOTHING,)), ('socket', (AF_PACKET, SOCK_RAW)), ('clone', (signal.SIGCHLD,)), ('fork', ())):
                with self.subTest(name, call=call):
                    mark = self.p.log_mark()
                    self.assertEqual(self.make(name, call, *arguments), (-1, ENOSYS))
                    line = self.p.wait_log(mark=mark, name=name, event='sandbox_denied', call=call)[0]
                    self.assertEqual(line['number'], str(ENTRIES[call]))
                    self.assertTrue(self.p.running(name))
        self.assertTrue(self.signs())

    def test_many_of_them_are_one_line(self):
        self.make('inbound', 'personality', NOTHING)
        mark = self.p.log_mark()
        for _n in range(20):
            self.assertEqual(self.make('inbound', 'personality', NOTHING), (-1, ENOSYS))
        self.assertLessEqual(len(self.p.log(mark, 'inbound', event='sandbox_denied')), 1)

    def test_an_intruders_call_ends_the_process(self):
        for name, call in (('outbound', 'ptrace'), ('inbound', 'execve'), ('enrolld', 'execve'), ('enrolld', 'bpf'), ('outbound', 'mount'),
                           ('inbound', 'unshare')):
            with self.subTest(name, call=call):
                self.p.start()
                mark = self.p.log_mark()
                self.assertEqual(self.ended_by(name, call), signal.SIGSYS)
                self.p.daemons[name].process = None
                self.assertEqual([l['call'] for l in self.p.log(mark, name, event='sandbox_ended')], [call])
                self.p.start(name)      # as the unit does: Restart=on-failure
        self.assertTrue(self.signs())

    # -- the watcher ----------------------------------------------------------------

    def test_the_daemon_cannot_reach_its_watcher(self):
        for name in ('outbound', 'inbound', 'enrolld'):
            watcher = self.watcher(name)
            self.assertEqual(self.make(name, 'kill', watcher, signal.SIGKILL), (-1, ENOSYS))
            self.assertEqual(self.status(watcher, 'State')[0][0], 'S')
            links = [os.readlink('/proc/%d/fd/%s' % (self.pid(name), fd)) for fd in os.listdir('/proc/%d/fd' % self.pid(name))]
            self.assertEqual([l for l in links if 'seccomp' in l], [], 'the listener could let calls pass')

    def test_without_the_watcher_calls_are_refused_all_the_same(self):
        self.addCleanup(self.p.restart, 'outbound')
        os.kill(self.watcher('outbound'), signal.SIGKILL)
        self.assertEqual(self.make('outbound', 'personality', NOTHING), (-1, ENOSYS))
        self.assertEqual(self.make('outbound', 'ptrace'), (-1, ENOSYS))
        self.assertTrue(self.signs())

    def test_the_watcher_ends_with_the_daemon(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.p.start()
            watcher = self.watcher('inbound')
            os.kill(self.pid('inbound'), number)
            service.until(lambda: not os.path.exists('/proc/%d' % watcher) or self.status(watcher, 'State')[0][0] == 'Z', 30, 'the watcher ends')
            self.p.daemons['inbound'].process.wait()
            self.p.daemons['inbound'].process = None

    # -- the ways out ---------------------------------------------------------------

    def test_log_and_off(self):
        def back():
            self.p.configure(sandbox='on')
            self.p.restart('inbound')
        self.addCleanup(back)
        mark = self.p.log_mark()
        self.p.configure(sandbox='log')
        self.p.restart('inbound')
        self.assertEqual(self.make('inbound', 'personality', NOTHING), (0, 0))
        self.assertEqual(self.p.wait_log(mark=mark, name='inbound', event='sandbox_allowed', call='personality')[0]['would'], 'deny')
        self.assertEqual(self.make('inbound', 'unshare', 0), (0, 0))
        self.assertEqual(self.p.wait_log(mark=mark, name='inbound', event='sandbox_allowed', call='unshare')[0]['would'], 'end')
        self.p.configure(sandbox='off')
        self.p.restart('inbound')
        self.assertEqual(self.make('inbound', 'unshare', 0), (0, 0))
        self.assertEqual(self.status(self.pid('inbound'), 'Seccomp', 'NoNewPrivs'), ['0', '1'])

    def test_a_program_for_the_ca_that_is_named_later_needs_a_restart(self):
        """enrolld gave up starting programs: it says so, and goes on as it was."""
        def back():
            self.p.config = before
            self.p.write_config()
            self.p.restart('enrolld')
        before = self.p.config
        self.addCleanup(back)
        mark = self.p.log_mark()
        self.p.configure(ca={'driver': 'exec', 'exec': {'program': '/bin/true'}, 'directory-url': None, 'account-key': None})
        self.p.signal('enrolld', signal.SIGUSR1)
        line = self.p.wait_log(mark=mark, name='enrolld', event='start_failed')[0]
        self.assertIn('restart it', line['text'])
        self.p.wait_log(mark=mark, name='enrolld', event='started')
        self.assertTrue(self.p.json('status'))

    def test_what_the_units_allow(self):
        """systemd's own filter comes before ours: it has to let ours be set, and keys be locked; and what ends is started again."""
        folder = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'systemd')
        for name in ('enroll-milter@.service.in', 'enrolld.service.in'):
            with open(os.path.join(folder, name)) as file:
                unit = file.read()
            allowed = ' '.join(re.findall(r'^SystemCallFilter=([^~].*)$', unit, re.M)).split()
            self.assertLessEqual({'seccomp', 'mlock', 'mlock2'}, set(allowed))
            self.assertIn('Restart=on-failure', unit)
