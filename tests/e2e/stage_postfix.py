"""Postfix of a stage: one private instance, its master run directly.

Listeners (the gateway is 192.0.2.10):
  25     MX; OpenDKIM verifies, then the product's inbound filter
  587    submission with login; the product's outbound filter, then OpenDKIM signs
  2525   the groupware behind the gateway (192.0.2.40), outbound filter, OpenDKIM
  2587   anybody, without login, but called ORIGINATING like 587
  127.0.0.1:10025   replies to the CA: a DKIM signer and nothing else
  127.0.0.1:10028   delivery reports about those replies: the inbound filter, and nothing behind it
"""

import os
import pwd
import struct
import re
import signal
import time

from namespace import BASE, GATEWAY, RELAY, environment, run
import service

DIR = BASE + '/postfix'
QUEUE = BASE + '/q'
LOG = BASE + '/log/mail.log'

# envelope senders of replies, to which delivery reports come; the tables are those of the samples
REPORT_ADDRESS = 'smime-reports@corp.example'
TABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../examples/postfix/reports')

MAIN = {
    'compatibility_level': '3.6',
    'queue_directory': QUEUE,
    'data_directory': BASE + '/pfdata',
    'maillog_file': LOG,
    'maillog_file_prefixes': '/run',
    'myhostname': 'mx.corp.example',
    'mydomain': 'corp.example',
    'myorigin': 'corp.example',
    'mydestination': 'localhost',
    'inet_interfaces': GATEWAY + ', 127.0.0.1',
    'inet_protocols': 'ipv4',
    'mynetworks': '127.0.0.0/8',
    'alias_maps': '',
    'alias_database': '',
    'local_transport': 'error:no local mail',
    'virtual_mailbox_domains': 'corp.example',
    'virtual_mailbox_maps': 'static:ok',
    'virtual_transport': 'lmtp:unix:private/lmtp-dovecot',
    # as in examples/postfix/main.cf
    'transport_maps': 'texthash:%s/transport, regexp:%s/enroll-milter/transport' % (DIR, DIR),
    'sender_dependent_default_transport_maps': 'regexp:%s/enroll-milter/sender' % DIR,
    'virtual_alias_maps': 'regexp:%s/enroll-milter/recipient' % DIR,
    'reports_destination_recipient_limit': '1',
    'smtp_bind_address': GATEWAY,
    'smtp_helo_name': 'mx.corp.example',
    'smtp_tls_security_level': 'none',
    'smtp_host_lookup': 'dns, native',
    'smtpd_tls_security_level': 'may',
    'smtpd_tls_session_cache_database': '',
    'smtpd_relay_restrictions': 'permit_mynetworks, permit_sasl_authenticated, '
                                'reject_unauth_destination',
    'smtpd_recipient_restrictions': '',
    'smtpd_sasl_type': 'dovecot',
    'smtpd_sasl_path': 'private/auth-dovecot',
    'smtpd_error_sleep_time': '0',
    'smtpd_soft_error_limit': '1000',
    'smtpd_hard_error_limit': '1000',
    'smtpd_client_connection_count_limit': '0',
    'in_flow_delay': '0',
    'queue_run_delay': '2s',
    'minimal_backoff_time': '2s',
    'maximal_backoff_time': '4s',
    'message_size_limit': '104857600',
    'mailbox_size_limit': '0',
    'virtual_mailbox_limit': '0',
    'milter_default_action': 'tempfail',
    'biff': 'no',
    'append_dot_mydomain': 'no',
    'always_add_missing_headers': 'no',
    'address_verify_map': '',
    'smtputf8_enable': 'yes',
}

# what a stock master.cf has, not chrooted
SERVICES = """postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 5 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 5 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
reports unix - - n - - smtp
  -o smtp_bind_address=127.0.0.1
  -o smtp_tls_security_level=none
nodsn unix - - n - - smtp
  -o smtp_discard_ehlo_keywords=dsn
exact unix - - n - - smtp
  -o smtp_line_length_limit=0
  -o disable_mime_output_conversion=yes
"""


def socket_folder_acl(path):
    """The access list of tmpfiles.d: the milter users make sockets, group postfix passes through,
    enrolld may look; neither milter user is in group postfix."""
    users = [(pwd.getpwnam(u).pw_uid, p) for u, p in
             (('enroll-out', 7), ('enroll-in', 7), ('enrolld', 1))]
    anybody = 0xffffffff
    entries = [(0x01, 7, anybody)] + [(0x02, p, uid) for uid, p in sorted(users)] + \
        [(0x04, 1, anybody), (0x10, 7, anybody), (0x20, 0, anybody)]
    os.setxattr(path, 'system.posix_acl_access',
                struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in entries))


class Postfix:
    """stage.postfix.  Another one has folders, an address and a log of its own; prefix: what it is run by."""

    directory, queue, data, log = DIR, QUEUE, BASE + '/pfdata', LOG
    name, address, prefix = 'postfix', GATEWAY, ()

    def __init__(self, tls, product_milters=False):
        self.tls = tls
        self.main = dict(MAIN)
        self.product_milters = product_milters
        self.transport = {}
        self.listener_options = {}

    # -- configuration ---------------------------------------------------

    def milters(self, *names):
        """smtpd_milters from short names; the product's are left out when it is not wanted."""
        paths = {'sv': 'dkim/sv.sock', 'reply': 'dkim/reply.sock',
                 'outbound': 'enroll-milter/outbound.sock',
                 'inbound': 'enroll-milter/inbound.sock'}
        wanted = [n for n in names if self.product_milters or n not in ('outbound', 'inbound')]
        return '{smtpd_milters=%s}' % ', '.join('unix:%s' % paths[n] for n in wanted)

    def listeners(self):
        """(service, {option: value}, milters) as written to master.cf."""
        return {
            self.address + ':25': (['smtpd_sasl_auth_enable=no'], ('sv', 'inbound')),
            self.address + ':587': (['smtpd_sasl_auth_enable=yes', 'smtpd_tls_auth_only=no',
                                'smtpd_client_restrictions=permit_sasl_authenticated,reject',
                                'milter_macro_daemon_name=ORIGINATING'], ('outbound', 'sv')),
            self.address + ':2525': (['mynetworks=%s' % RELAY,
                                 'smtpd_client_restrictions=permit_mynetworks,reject',
                                 'milter_macro_daemon_name=RELAY'], ('outbound', 'sv')),
            self.address + ':2587': (['mynetworks=0.0.0.0/0',
                                 'milter_macro_daemon_name=ORIGINATING'], ('outbound', 'sv')),
            '127.0.0.1:10025': (['smtpd_client_restrictions=permit_mynetworks,reject',
                                 'smtpd_tls_security_level=none',
                                 'always_bcc='], ('reply',)),
            '127.0.0.1:10028': (['smtpd_client_restrictions=permit_mynetworks,reject',
                                 'smtpd_tls_security_level=none',
                                 'content_filter=discard:'], ('inbound',)),
        }

    def _write(self):
        with open(self.directory + '/main.cf', 'w') as file:
            for name, value in self.main.items():
                file.write('%s = %s\n' % (name, value))
        # Postfix waits until main.cf has not been touched for two seconds.
        os.utime(self.directory + '/main.cf', (time.time() - 60,) * 2)
        with open(self.directory + '/master.cf', 'w') as file:
            for name, (options, milters) in self.listeners().items():
                file.write('%s inet n - n - - smtpd\n' % name)
                options = options + self.listener_options.get(name, [])
                for option in options:
                    file.write('  -o {%s}\n' % option.replace('=', ' = ', 1))
                if not any(o.startswith('smtpd_milters=') for o in options):
                    file.write('  -o %s\n' % self.milters(*milters))
            file.write(SERVICES)
        with open(self.directory + '/transport', 'w') as file:
            for pattern, where in self.transport.items():
                file.write('%s %s\n' % (pattern, where))

    def set(self, **params):
        """Change main.cf and reload; None puts Postfix' default back."""
        for name, value in params.items():
            if value is None:
                self.main.pop(name, None)
            else:
                self.main[name] = str(value)
        self.reload()

    def set_transport(self, pattern, where):
        """A transport_maps line, e.g. ('bounce.corp.example', 'reports:[127.0.0.1]:10028')."""
        self.transport[pattern] = where
        self.reload()

    def set_listener(self, name, *options):
        """More '-o' options for one listener, e.g. ('192.0.2.10:25', 'smtpd_milters=')."""
        self.listener_options[name] = list(options)
        self.reload()

    def set_product_milters(self, wanted):
        if wanted != self.product_milters:
            self.product_milters = wanted
            self.reload()

    def start(self):
        os.makedirs(self.directory)
        certificate, key = self.tls.issue(self.name, ['mx.corp.example'], [self.address])
        self.main.update(smtpd_tls_cert_file=certificate, smtpd_tls_key_file=key)
        self._directories()
        self._report_tables()
        self._write()
        self.master = service.Service(
            self.name, [run('postconf', '-dh', 'daemon_directory').stdout.strip() + '/master',
                        '-d', '-c', self.directory], prefix=self.prefix)
        self.master.start()

    def _report_tables(self):
        os.makedirs(self.directory + '/enroll-milter')
        for name in ('transport', 'sender', 'recipient'):
            with open('%s/%s' % (TABLES, name)) as sample, open('%s/enroll-milter/%s' % (self.directory, name), 'w') as file:
                file.write(sample.read().replace(r'example\.org', r'corp\.example'))

    def _directories(self):
        for name in ('incoming', 'active', 'bounce', 'corrupt', 'defer', 'deferred', 'flush',
                     'hold', 'saved', 'trace', 'private'):
            os.makedirs('%s/%s' % (self.queue, name), mode=0o700)
        for name in ('pid', 'public', 'maildrop'):
            os.makedirs('%s/%s' % (self.queue, name))
        run('chown', '-R', 'postfix', *['%s/%s' % (self.queue, n) for n in os.listdir(self.queue)
                                        if n not in ('pid', 'dkim', 'enroll-milter')])
        run('chgrp', 'postdrop', self.queue + '/public', self.queue + '/maildrop')
        os.chmod(self.queue + '/public', 0o2710)
        os.chmod(self.queue + '/maildrop', 0o1730)
        os.makedirs(self.data)
        run('chown', 'postfix', self.data)
        # sockets of the product: its users make them, postfix may open them
        os.makedirs(self.queue + '/enroll-milter')
        run('chown', 'root:postfix', self.queue + '/enroll-milter')
        os.chmod(self.queue + '/enroll-milter', 0o3770)
        socket_folder_acl(self.queue + '/enroll-milter')

    def wait_ready(self):
        for name in self.listeners():
            address, port = name.split(':')
            self.master.wait_port(address, int(port))

    def reload(self):
        """New configuration for everything that starts from now on."""
        self._write()
        if not getattr(self, 'master', None):
            return
        mark = self.log_size()
        before = self._smtpds()
        self.master.signal(signal.SIGHUP)
        service.until(lambda: 'reload -- version' in self.log_since(mark), 60,
                      'Postfix is reloaded', say=self.master.tail)
        # An idle smtpd may take one more client with the old configuration.
        for pid in before:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        service.until(lambda: not before & self._smtpds(), 60, 'old smtpds are gone')
        self.wait_ready()

    @staticmethod
    def _smtpds():
        found = set()
        for pid in os.listdir('/proc'):
            try:
                with open('/proc/%s/comm' % pid) as file:
                    if pid.isdigit() and file.read().strip() == 'smtpd':
                        found.add(int(pid))
            except OSError:
                pass
        return found

    def stop(self):
        self.master.stop()

    def restart(self):
        self.master.start()
        self.wait_ready()

    # -- looking into it -------------------------------------------------

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def log_since(self, mark=0, pattern=None):
        """The mail log from an offset on; with a pattern, the lines that match."""
        if not os.path.exists(self.log):
            return [] if pattern else ''
        with open(self.log, 'rb') as file:
            file.seek(mark)
            text = file.read().decode('utf-8', 'replace')
        if pattern is None:
            return text
        return [l for l in text.splitlines() if re.search(pattern, l)]

    def wait_log(self, pattern, seconds=120, mark=0):
        return service.until(lambda: self.log_since(mark, pattern), seconds,
                             'mail log: ' + pattern, say=lambda: service.tail(self.log, 30))

    def queued(self):
        """{queue id: queue name} of what is still there."""
        found = {}
        for name in ('incoming', 'active', 'deferred', 'hold', 'corrupt'):
            for _top, _dirs, files in os.walk('%s/%s' % (self.queue, name)):
                found.update((f, name) for f in files)
        return found

    def wait_empty(self, seconds=120):
        service.until(lambda: not self.queued(), seconds, 'the queue is empty',
                      say=lambda: repr(self.queued()) + '\n' + service.tail(self.log, 20))

    def flush(self):
        run(*self.prefix, 'postqueue', '-c', self.directory, '-f')

    def command(self, program, *args, **more):
        """postsuper, postcat, postqueue, sendmail with this instance's configuration."""
        if program == 'sendmail':
            return run(*self.prefix, '/usr/sbin/sendmail', '-C', self.directory, *args, **more)
        return run(*self.prefix, program, '-c', self.directory, *args, **more)


class Hop:
    """A second Postfix behind the gateway's, as an old relay on the way: on port 25 it says neither 8BITMIME nor SMTPUTF8 (whoever says the
    latter is taken to know the former), so that whoever comes to it has to convert; on port 26 it says both.  What it takes goes on to
    (address, port)."""

    directory, queue, log = BASE + '/hop', BASE + '/hop-q', BASE + '/log/hop-mail.log'
    address = '192.0.2.60'

    def __init__(self, to, **main):
        self.main = {k: MAIN[k] for k in (
            'compatibility_level', 'maillog_file_prefixes', 'inet_protocols', 'alias_maps', 'alias_database', 'local_transport',
            'smtp_tls_security_level', 'smtpd_recipient_restrictions', 'smtpd_client_connection_count_limit', 'in_flow_delay',
            'message_size_limit', 'biff', 'always_add_missing_headers', 'address_verify_map', 'smtputf8_enable')}
        self.main.update(
            queue_directory=self.queue, data_directory=BASE + '/hop-data', maillog_file=self.log, myhostname='hop.far.example',
            mydestination='', inet_interfaces=self.address, mynetworks='127.0.0.0/8, %s' % GATEWAY, relay_domains='',
            default_transport='smtp:[%s]:%d' % to, smtpd_tls_security_level='none', smtpd_relay_restrictions='permit_mynetworks, reject',
            smtpd_discard_ehlo_keywords='8bitmime, smtputf8, chunking, dsn', disable_mime_output_conversion='no', local_header_rewrite_clients='',
            header_size_limit='1048576', smtp_destination_concurrency_limit='8', smtpd_client_event_limit_exceptions='static:all')
        self.main.update(main)

    def start(self):
        run('ip', 'addr', 'replace', self.address + '/32', 'dev', 'lo')
        os.makedirs(self.directory)
        for name in ('incoming', 'active', 'bounce', 'corrupt', 'defer', 'deferred', 'flush', 'hold', 'saved', 'trace', 'private'):
            os.makedirs('%s/%s' % (self.queue, name), mode=0o700)
        for name in ('pid', 'public', 'maildrop'):
            os.makedirs('%s/%s' % (self.queue, name))
        run('chown', '-R', 'postfix', *['%s/%s' % (self.queue, n) for n in os.listdir(self.queue) if n != 'pid'])
        run('chgrp', 'postdrop', self.queue + '/public', self.queue + '/maildrop')
        os.chmod(self.queue + '/public', 0o2710)
        os.chmod(self.queue + '/maildrop', 0o1730)
        os.makedirs(BASE + '/hop-data')
        run('chown', 'postfix', BASE + '/hop-data')
        with open(self.directory + '/main.cf', 'w') as file:
            file.writelines('%s = %s\n' % item for item in self.main.items())
        os.utime(self.directory + '/main.cf', (time.time() - 60,) * 2)
        with open(self.directory + '/master.cf', 'w') as file:
            file.write('%s:25 inet n - n - - smtpd\n' % self.address)
            file.write('%s:26 inet n - n - - smtpd\n  -o smtpd_discard_ehlo_keywords=dsn\n' % self.address)
            file.write(SERVICES)
        self.master = service.Service('hop', [run('postconf', '-dh', 'daemon_directory').stdout.strip() + '/master',
                                              '-d', '-c', self.directory])
        self.master.start()
        for port in (25, 26):
            self.master.wait_port(self.address, port)

    def stop(self):
        self.master.stop()
