"""Postfix with every milter that is compared, each on a listener of its own, in one private namespace.

    192.0.2.10:2501  none                 no milter
              :2502  noop-unix            noop_milter, and so on: see LISTENERS

All run from the beginning to the end, so that a measurement can go from one to the next without a reload; who is not
asked costs nothing.  As on a gateway the queue is on a disk, and mail leaves by SMTP: to a server that takes all and keeps nothing.
"""

import os
import re
import shutil
import smtplib
import subprocess
import threading
import time

import namespace
import product
import service
import stage_mail
import stage_postfix
from namespace import BASE, GATEWAY, OUTSIDE, run
from tls import Tls

DIR = BASE + '/bench'
BIN = DIR + '/bin'
USER = 'user%06d@corp.example'
SENDER = USER % 0
PROGRAMS = ('enroll-milter', 'enrollctl') + tuple(
    'tests/bench/' + n for n in ('bench_sign', 'bench_store', 'bench_lookup', 'bench_questions', 'noop_milter', 'reference_milter'))
MIB = 1 << 20
TCP = {'noop': 8901, 'product': 8902, 'reference': 8903}

# name: (port, milter, {daemon_name}, login)
LISTENERS = {
    'none': (2501, None, 'ORIGINATING', False),
    'noop-unix': (2502, 'noop-unix', 'ORIGINATING', False),
    'noop-tcp': (2503, 'noop-tcp', 'ORIGINATING', False),
    'product-unix': (2504, 'product-unix', 'ORIGINATING', False),
    'product-tcp': (2505, 'product-tcp', 'ORIGINATING', False),
    'reference-unix': (2506, 'reference-unix', 'ORIGINATING', False),
    'reference-tcp': (2507, 'reference-tcp', 'ORIGINATING', False),
    'opendkim': (2508, 'opendkim', 'ORIGINATING', False),
    'product-stranger': (2509, 'product-unix', 'STRANGERS', False),
    'product-login': (2510, 'product-unix', 'LOGIN', True),
    'noop-login': (2511, 'noop-unix', 'LOGIN', True),
}

OPENDKIM = """Mode s
Syslog no
Domain corp.example
Selector bench
KeyFile {folder}/dkim.key
Canonicalization relaxed/simple
InternalHosts {folder}/internal
PidFile {folder}/opendkim.pid
Socket local:{queue}/enroll-milter/opendkim.sock
UMask 0000
RequireSafeKeys no
"""


class BenchPostfix(stage_postfix.Postfix):
    def __init__(self, tls):
        super().__init__(tls)
        self.main.update(relayhost='[%s]' % OUTSIDE, virtual_transport='smtp', virtual_alias_maps='',
                         transport_maps='', sender_dependent_default_transport_maps='', message_size_limit='0', mailbox_size_limit='0',
                         virtual_mailbox_limit='0', queue_minfree='0', milter_content_timeout='600s', default_process_limit='60',
                         queue_run_delay='300s')

    def listeners(self):
        found = {}
        for port, milter, daemon, login in LISTENERS.values():
            options = ['smtpd_sasl_auth_enable=%s' % ('yes' if login else 'no'), 'milter_macro_daemon_name=%s' % daemon,
                       'mynetworks=0.0.0.0/0', 'smtpd_tls_security_level=none', 'smtpd_milters=%s' % self.where(milter)]
            found['%s:%d' % (GATEWAY, port)] = (options, ())
        return found

    @staticmethod
    def where(milter):
        if milter and milter.endswith('-tcp'):
            return 'inet:127.0.0.1:%d' % TCP[milter.removesuffix('-tcp')]
        return 'unix:enroll-milter/%s.sock' % milter if milter else ''


class Gateway:
    """disk: a folder on a real disk.  users: credentials in the store."""

    def __init__(self, build, disk, users=100, key='rsa2048'):
        self.build, self.disk, self.users, self.key = build, disk, users, key
        self.spool = disk + '/spool'
        self.milters = {}

    # -- life --------------------------------------------------------------

    def start(self):
        namespace.prepare()
        os.makedirs(BIN)
        os.makedirs(self.spool)
        os.chmod(self.spool, 0o1777)
        for name in PROGRAMS:       # the build may lie where only its owner may enter
            shutil.copy2(os.path.join(self.build, name), BIN)
        self.mails()
        os.makedirs(stage_postfix.QUEUE)
        os.makedirs(self.disk + '/queue')
        run('mount', '--bind', self.disk + '/queue', stage_postfix.QUEUE)
        self.sink = service.Service('smtp-sink', ['smtp-sink', '-u', 'postfix', OUTSIDE + ':25', '1000'])
        self.sink.start()
        self.postfix = BenchPostfix(Tls())
        self.postfix.start()
        self.socket_folder = self.postfix.queue + '/enroll-milter'
        self.dovecot = stage_mail.Dovecot(self.postfix.queue)
        self.dovecot.start({'somebody': 'pw-somebody'})
        self.make_store(self.config_path('unix'), self.config('unix', 'unix:%s/product-unix.sock' % self.socket_folder), self.users, DIR)
        with open(self.config_path('tcp'), 'w') as file:
            file.write(product.document(self.config('unix', 'inet:%d@127.0.0.1' % TCP['product'])))
        self.start_milters()
        self.dovecot.wait_ready()
        self.postfix.wait_ready()

    def stop(self):
        for milter in self.milters.values():
            milter.stop()
        self.postfix.stop()
        self.sink.stop()
        self.dovecot.server.stop()

    def start_milters(self):
        for kind in ('unix', 'tcp'):
            self.product(kind)
            self.milters['noop-' + kind] = service.Service('noop-' + kind, [BIN + '/noop_milter', self.socket('noop', kind)])
            self.milters['reference-' + kind] = service.Service(
                'reference-' + kind, [BIN + '/reference_milter', self.socket('reference', kind)] +
                [DIR + '/' + n for n in ('user.key', 'user.pem', 'chain.pem')])
        self.milters['opendkim'] = self.opendkim()
        for milter in self.milters.values():
            milter.start()
        for name in self.milters:
            self.wait_listening(name)

    def socket(self, name, kind):
        return 'unix:%s/%s-unix.sock' % (self.socket_folder, name) if kind == 'unix' else 'inet:%d@127.0.0.1' % TCP[name]

    def wait_listening(self, name):
        milter = self.milters[name]
        if name.endswith('-tcp'):
            milter.wait_port('127.0.0.1', TCP[name.removesuffix('-tcp')])
            return
        path = '%s/%s.sock' % (self.socket_folder, name)
        service.until(lambda: milter.check() and listening(path), 120, '%s listens' % name, say=milter.tail)

    def opendkim(self):
        run('openssl', 'genrsa', '-out', DIR + '/dkim.key', '2048')
        with open(DIR + '/internal', 'w') as file:
            file.write(GATEWAY + '\n')
        with open(DIR + '/opendkim.conf', 'w') as file:
            file.write(OPENDKIM.format(folder=DIR, queue=self.postfix.queue))
        return service.Service('opendkim', ['opendkim', '-f', '-x', DIR + '/opendkim.conf'])

    # -- the product -------------------------------------------------------

    def config_path(self, name):
        return '%s/%s.conf' % (DIR, name)

    def config(self, name, socket):
        """One whose mails are vouched for by the client's address; `name` is that of its store."""
        home = '%s/%s' % (DIR, name)
        return {
            'mode': 'sign',
            'domains': ['corp.example'],
            'submission': [
                {'name': 'relay', 'daemons': ['ORIGINATING'], 'networks': [GATEWAY + '/32'], 'require-login': False, 'vouch': 'relay',
                 'own-mx': ['mx.corp.example'], 'mta-clients': True},
                {'name': 'login', 'daemons': ['LOGIN'], 'networks': [], 'require-login': True, 'vouch': 'map', 'map-file': DIR + '/senders'},
            ],
            'ca': {'directory-url': 'https://acme.ca.example/directory', 'anchor-file': '/etc/ssl/certs/ca-certificates.crt',
                   'contact': 'mailto:postmaster@corp.example', 'accept-terms': True, 'account-key': home + '/account.key'},
            'dns': {'servers': ['127.0.0.1@53'], 'dnssec': False},
            'store': {'type': 'sqlite', 'path': home + '/store/store.db'},
            'master': {'certificate': home + '/master.pem', 'key': home + '/master.key'},
            'milter': {'outbound-socket': socket, 'inbound-socket': 'unix:%s/inbound.sock' % home, 'socket-group': 'postfix',
                       'tcp-peers': ['127.0.0.1'] if socket.startswith('inet:') else None, 'spool-directory': self.spool},
            'control': {'socket': home + '/control.sock'},
            'users': {'outbound': 'enroll-out', 'inbound': 'enroll-in', 'enrolld': 'enrolld', 'group': 'enroll-milter'},
            'log': {'target': 'stderr'},
        }

    def make_store(self, path, config, users, folder=None):
        """The store of that configuration, with so many users; with a folder, the first one's key and certificate are put there."""
        home = os.path.dirname(config['master']['key'])
        os.makedirs(home + '/store')
        run('chown', 'enrolld:enroll-milter', home + '/store')
        os.chmod(home + '/store', 0o2770)
        with open(DIR + '/senders', 'w') as file:
            file.write('somebody: somebody@corp.example\n')
        with open(path, 'w') as file:
            file.write(product.document(config))
        run(BIN + '/enrollctl', '--config', path, '--no-account', 'init')
        run(BIN + '/bench_store', path, str(users), self.key, *([folder] if folder else []))

    def product(self, kind):
        self.milters['product-' + kind] = service.Service(
            'product-' + kind, [BIN + '/enroll-milter', '--instance', 'outbound', '--config', self.config_path(kind)], user='enroll-out')

    def restart(self, name):
        self.milters[name].stop()
        self.milters[name].start()
        self.wait_listening(name)

    def idle_memory(self, name, users):
        """Of an outbound instance that has just started, with a store of so many users; the store and its configuration stay."""
        path = '%s/%s-few.sock' % (self.socket_folder, name)
        self.make_store(self.config_path(name), self.config(name, 'unix:' + path), users)
        self.product(name)
        milter = self.milters['product-' + name]
        milter.start()
        service.until(lambda: milter.check() and listening(path), 120, 'the milter listens', say=milter.tail)
        found = self.memory('product-' + name, 'VmRSS')
        milter.stop()
        return found

    # -- mail --------------------------------------------------------------

    def mails(self):
        """DIR/small.eml: 4 KiB of it; another one from somebody else."""
        self.small, self.foreign = DIR + '/small.eml', DIR + '/foreign.eml'
        for path, sender in ((self.small, SENDER), (self.foreign, 'else@corp.example')):
            with open(path, 'w') as file:
                file.write(header(sender) + 'All work and no play makes Jack a dull boy, says the proverb.\n' * 66)

    def source(self, listener, mails, sessions=8, mail=None, sender=SENDER):
        """So many mails through that listener; seconds."""
        began = time.monotonic()
        run('smtp-source', '-s', str(sessions), '-m', str(mails), '-f', sender, '-t', 'x@outside.example', '-F', mail or self.small,
            '%s:%d' % (GATEWAY, LISTENERS[listener][0]))
        return time.monotonic() - began

    def drain(self):
        service.until(lambda: not self.postfix.queued(), 120, 'the queue is empty', every=0.01, say=lambda: service.tail(self.postfix.log, 20))

    def log_in(self, listener, mails, connections=4):
        """So many mails by a login, in the name of another address that the login does not own."""
        with open(self.foreign, 'rb') as file:
            raw = file.read().replace(b'\n', b'\r\n')
        self.in_parallel(connections, lambda _n: self.session(listener, mails // connections, raw))

    @staticmethod
    def session(listener, mails, raw):
        with smtplib.SMTP(GATEWAY, LISTENERS[listener][0], local_hostname='client.corp.example') as smtp:
            smtp.login('somebody', 'pw-somebody')
            for _n in range(mails):
                smtp.sendmail('else@corp.example', ['x@outside.example'], raw)

    @staticmethod
    def in_parallel(n, work):
        trouble = []

        def guarded(number):
            try:
                work(number)
            except Exception as error:
                trouble.append(error)
        threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if trouble:
            raise trouble[0]

    def large(self, listener, mails, octets):
        """So many mails of that size, which all end their DATA together."""
        body = attachment(octets)
        meet = threading.Barrier(mails)
        self.in_parallel(mails, lambda _n: self.send_large(listener, body, meet))

    def send_large(self, listener, body, meet):
        with smtplib.SMTP(GATEWAY, LISTENERS[listener][0], local_hostname='client.corp.example', timeout=600) as smtp:
            smtp.ehlo()
            for command, wanted in (('MAIL FROM:<%s>' % SENDER, 250), ('RCPT TO:<x@outside.example>', 250), ('DATA', 354)):
                code, text = smtp.docmd(command)
                if code != wanted:
                    raise RuntimeError('%s: %d %r' % (command, code, text))
            try:
                smtp.sock.sendall(header(SENDER, 'application/octet-stream', 'base64').replace('\n', '\r\n').encode())
                smtp.sock.sendall(body)
                meet.wait(600)
            except Exception:
                meet.abort()
                raise
            smtp.sock.sendall(b'.\r\n')
            code, text = smtp.getreply()
            if code != 250:
                raise RuntimeError('%d %r' % (code, text))

    # -- what came out -----------------------------------------------------

    def sizes(self, mark, mails):
        """Of the mails that were queued since then; so many are waited for, as the log is written a moment later."""
        def look():
            found = re.findall(r'qmgr\[\d+\]: \w+: from=<[^>]*>, size=(\d+),', self.postfix.log_since(mark))
            return [int(n) for n in found] if len(found) >= mails else None
        return service.until(look, 60, '%d mails are queued' % mails, say=lambda: service.tail(self.postfix.log, 20))

    # -- processes ---------------------------------------------------------

    def cpu(self, milter):
        """Seconds of CPU of that process, threads that have ended included."""
        return time.clock_gettime((~self.milters[milter].pid << 3) | 2)

    def memory(self, milter, field):
        with open('/proc/%d/status' % self.milters[milter].pid) as file:
            return int(re.search(r'^%s:\s*(\d+) kB' % field, file.read(), re.M).group(1)) * 1024

    def forget_peak(self, milter):
        with open('/proc/%d/clear_refs' % self.milters[milter].pid, 'w') as file:
            file.write('5')

    def program(self, name, *args, user=None):
        argv = [BIN + '/' + name, *args]
        return run(*(service.as_user(user, argv) if user else argv)).stdout


def header(sender, kind='text/plain; charset=us-ascii', encoding='7bit'):
    return ('From: %s\nTo: x@outside.example\nSubject: A mail of the bench\nDate: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <bench@corp.example>\n'
            'MIME-Version: 1.0\nContent-Type: %s\nContent-Transfer-Encoding: %s\n\n' % (sender, kind, encoding))


def attachment(octets):
    line = b'QWxsIHdvcmsgYW5kIG5vIHBsYXkgbWFrZXMgSmFjayBhIGR1bGwgYm95LCBzYXlzIHRoZSBwcm92\r\n'
    return line * (octets // len(line))


def listening(path):
    """The milters' sockets have the name at which they were made: the process id behind it."""
    names = re.compile(re.escape(path) + r'(\.\d+)?')
    with open('/proc/net/unix') as file:
        return any(names.fullmatch(l.split()[-1]) and l.split()[3] == '00010000' for l in file)


def disk_folder():
    """Where to make a folder on a file system that is not in memory."""
    for base in (os.environ.get('TMPDIR'), '/var/tmp', '/tmp', os.path.dirname(os.path.abspath(__file__))):
        if base and os.path.isdir(base):
            kind = subprocess.run(['stat', '-f', '-c', '%T', base], capture_output=True, text=True).stdout.strip()
            if kind not in ('tmpfs', 'ramfs', ''):
                return base
    return '/var/tmp'
