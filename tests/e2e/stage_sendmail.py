"""Sendmail in place of the stage's Postfix: MX, submission and reply listener, on the same addresses and ports.

It cannot be installed beside Postfix, so it runs from packages that tests/run.sh only unpacks ([unpack] in tests/packages.txt).

    sendmail = Sendmail(stage)      # SkipTest where it was not unpacked
    sendmail.start()                # Postfix ends; Dovecot's mailboxes and OpenDKIM stay as they are

The filters and listeners are those of examples/sendmail/sendmail.mc, with the stage's sockets and addresses.
"""

import os
import re
import shutil
import unittest

import service
import stage_mail
from namespace import BASE, GATEWAY, STRANGER, run

DIR = BASE + '/sendmail'
SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../examples/sendmail')
NEEDS = ('usr/libexec/sendmail/sendmail', 'usr/share/sendmail/cf/m4/cf.m4', 'usr/sbin/saslpasswd2')
SEVEN_BIT = 'seven.example'     # its mail server does not offer 8BITMIME

HEAD = """divert(-1)
define(`_USE_ETC_MAIL_')
define(`MAIL_SETTINGS_DIR', `{dir}/etc/')
divert(0)dnl
include(`{cf}debian/autoconf.m4')dnl
OSTYPE(`debian')dnl
define(`QUEUE_DIR', `{dir}/queue')dnl
define(`STATUS_FILE', `{dir}/statistics')dnl
define(`HELP_FILE', `')dnl
define(`ALIAS_FILE', `')dnl
define(`confPID_FILE', `{dir}/sendmail.pid')dnl
define(`confHOST_STATUS_DIRECTORY', `')dnl
define(`confDOMAIN_NAME', `mx.corp.example')dnl
define(`confCW_FILE', `-o {dir}/etc/none')dnl
define(`confCR_FILE', `-o {dir}/etc/none')dnl
define(`confCT_FILE', `-o {dir}/etc/none')dnl
define(`confTO_IDENT', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_QUEUERETURN', `1h')dnl
define(`confCONNECTION_RATE_THROTTLE', `0')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confCLIENT_OPTIONS', `Addr={gateway}')dnl
define(`confAUTH_MECHANISMS', `PLAIN LOGIN')dnl
TRUST_AUTH_MECH(`PLAIN LOGIN')dnl
RELAY_DOMAIN(`corp.example')dnl
FEATURE(`nocanonify')dnl
FEATURE(`mailertable', `text -k0 -v1 {dir}/etc/mailertable')dnl
LOCAL_CONFIG
ESASL_CONF_PATH={dir}/sasl
"""
TAIL = """MAILER(`local')dnl
MAILER(`smtp')dnl
MAILER_DEFINITIONS
Mdovecot, P=[IPC], F=lsDFMnqXzu8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, T=DNS/RFC822/SMTP, A=FILE {lmtp}
"""


def unpacked():
    """The folder tests/run.sh unpacks into."""
    return os.environ.get('ENROLL_UNPACKED') or os.environ.get('ENROLL_BUILD', '').rstrip('/') + '-unpacked'


def require():
    for name in NEEDS:
        if not os.path.exists(os.path.join(unpacked(), name)):
            raise unittest.SkipTest('Sendmail is not unpacked in %s: tests/run.sh does that' % unpacked())


def sample(name):
    with open(os.path.join(SAMPLES, name)) as file:
        return file.read()


class Sendmail:
    def __init__(self, stage):
        require()
        self.stage = stage
        self.tree = unpacked()
        self.config = DIR + '/etc/sendmail.cf'
        self.server = None

    # -- configuration ---------------------------------------------------

    def lines(self):
        """The lines of the sample, moved onto the stage."""
        text = sample('sendmail.mc')
        queue = self.stage.postfix.queue
        for old, new in (('/run/opendkim/opendkim.sock', queue + '/dkim/sv.sock'),
                         ('/run/opendkim/reply.sock', queue + '/dkim/reply.sock'),
                         ('Port=smtp,', 'Port=smtp, Addr=%s,' % GATEWAY),
                         ('Port=submission,', 'Port=submission, Addr=%s,' % GATEWAY)):
            if old not in text:
                raise RuntimeError('the sample has no ' + old)
            text = text.replace(old, new)
        return text

    def write(self):
        cf = self.tree + '/usr/share/sendmail/cf/'
        with open(DIR + '/etc/sendmail.mc', 'w') as file:
            file.write(HEAD.format(cf=cf, dir=DIR, gateway=GATEWAY) + self.lines() +
                       TAIL.format(lmtp=self.stage.postfix.queue + '/private/lmtp-dovecot'))
        made = run('m4', '-D_CF_DIR_=' + cf, cf + 'm4/cf.m4', DIR + '/etc/sendmail.mc')
        with open(self.config, 'w') as file:
            file.write(made.stdout)
        with open(DIR + '/etc/mailertable', 'w') as file:
            file.write('corp.example dovecot:mx.corp.example\n%s esmtp:[%s]\n' % (SEVEN_BIT, STRANGER))

    def logins(self):
        """The stage's logins, as a SASL database of its own."""
        for user, password in self.stage.logins().items():
            run(self.tree + '/usr/sbin/saslpasswd2', '-f', DIR + '/sasl/sasldb2', '-c', '-p', '-u', 'mx.corp.example', user, input=password)
        with open(DIR + '/sasl/Sendmail.conf', 'w') as file:
            file.write('pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/sasl/sasldb2\nmech_list: PLAIN LOGIN\n' % DIR)

    # -- life ------------------------------------------------------------

    def start(self):
        for name in ('etc', 'sasl', 'queue', 'sbin'):
            os.makedirs('%s/%s' % (DIR, name), mode=0o700 if name == 'queue' else 0o755)
        self.write()
        self.logins()
        for path, mode, user, group in re.findall(r'^d (\S+) (\d+) (\S+) (\S+) -$', sample('tmpfiles.conf'), re.M):
            os.makedirs(path)
            run('chown', '%s:%s' % (user, group), path)
            os.chmod(path, int(mode, 8))
        os.chmod(self.stage.dkim.sockets, os.stat(self.stage.dkim.sockets).st_mode & ~0o020)
        # Sendmail trusts no program and no file under a folder that somebody else than root may write to.
        shutil.copy(self.tree + '/usr/libexec/sendmail/sendmail', DIR + '/sbin/sendmail')
        self.stage.postfix.stop()
        self.server = service.Service('sendmail', [DIR + '/sbin/sendmail', '-C' + self.config, '-bD', '-q1s', '-X/dev/null'])
        self.server.start()
        self.wait_ready()

    def wait_ready(self):
        for address, port in ((GATEWAY, 25), (GATEWAY, 587), ('127.0.0.1', 10025)):
            self.server.wait_port(address, port)

    def log(self):
        return [l for l in self.stage.syslog.lines if 'sendmail[' in l or 'sm-mta[' in l]

    def queue(self, *options):
        """What mailq says; -qQ: of quarantined mail."""
        return run(DIR + '/sbin/sendmail', '-C' + self.config, '-bp', *options).stdout
    def release(self, qid):
        """Out of the quarantine; the daemon's next queue run takes it."""
        run(DIR + '/sbin/sendmail', '-C' + self.config, '-qI' + qid, '-qQ', '-Q')

    @staticmethod
    def product_options():
        """What the sample configuration says of sockets, for Product; there are no delivery reports."""
        text = sample('enroll-milter.conf')
        return {'milter': {key: re.search(r'^  %s = "(.*)";' % key, text, re.M).group(1)
                           for key in ('outbound-socket', 'inbound-socket', 'socket-group')},
                'reply': {'report-address': None}}


class SevenBit(stage_mail.Outside):
    """The mail server of seven.example: an old one that knows nothing of 8BITMIME, so Sendmail converts what is not 7-bit clean."""

    def __init__(self):
        super().__init__(STRANGER, hostname='mx.' + SEVEN_BIT)

    async def handle_EHLO(self, _server, session, _envelope, hostname, answers):
        session.host_name = hostname
        return [a for a in answers if not re.search('8BITMIME|SMTPUTF8', a)]
