"""OpenDKIM of a stage, and dkimpy for mail crafted by tests.

sv.sock signs authenticated submissions (and the relay's) of corp.example and
verifies everything else; reply.sock only signs, with the fields RFC 8823 names.
"""

import os

from namespace import BASE, RELAY, run
import service

DIR = BASE + '/dkim'
SELECTOR = 'stage'
DOMAINS = ('corp.example', 'ca.example', 'outside.example')

# RFC 8823, section 3.2: present or not
REPLY_FIELDS = ('From', 'Sender', 'Reply-To', 'To', 'CC', 'Subject', 'Date', 'In-Reply-To',
                'References', 'Message-ID', 'Content-Type', 'Content-Transfer-Encoding')
# and those of a challenge, section 3.1
CHALLENGE_FIELDS = REPLY_FIELDS + ('Auto-Submitted',)

COMMON = """Syslog yes
LogWhy yes
SyslogSuccess yes
Domain corp.example
Selector {selector}
KeyFile {dir}/corp.example.key
Canonicalization relaxed/simple
RequireSafeKeys no
AlwaysAddARHeader yes
MaximumHeaders 0
AuthservID mx.corp.example
Nameservers 127.0.0.1
DNSTimeout 5
PidFile {dir}/{name}.pid
Socket local:{socket}
UMask 0007
UserID opendkim:postfix
"""
SV = COMMON + """Mode sv
InternalHosts {dir}/internal
MacroList daemon_name|ORIGINATING,daemon_name|RELAY
TrustAnchorFile {anchor}
RemoveOldSignatures no
"""
REPLY = COMMON + """Mode s
InternalHosts 127.0.0.1
SignHeaders {fields}
OversignHeaders {fields}
"""


class Dkim:
    """stage.dkim"""

    def __init__(self, dns, queue):
        self.dns = dns
        self.selector = SELECTOR
        self.sockets = queue + '/dkim'
        self.keys = {}

    def make_keys(self):
        """Called before DNS starts: the public halves become records."""
        os.makedirs(DIR)
        jobs = [(d, service.popen(['openssl', 'genrsa', '-out', '%s/%s.key' % (DIR, d), '2048'],
                                  stdout=-3, stderr=-3)) for d in DOMAINS]
        for domain, job in jobs:
            if job.wait() != 0:
                raise RuntimeError('openssl genrsa failed')
            path = '%s/%s.key' % (DIR, domain)
            self.keys[domain] = path
            self.dns.zones[domain].append((
                '%s._domainkey.%s' % (SELECTOR, domain), 'TXT', self.txt_record(path)))

    @staticmethod
    def public(path):
        pem = run('openssl', 'rsa', '-in', path, '-pubout').stdout
        return 'v=DKIM1; k=rsa; p=' + ''.join(l for l in pem.splitlines() if '--' not in l)

    def txt_record(self, path):
        import stage_dns
        return stage_dns.txt(self.public(path))

    def start(self):
        os.makedirs(self.sockets, exist_ok=True)
        run('chown', 'opendkim:postfix', self.sockets)
        os.chmod(self.sockets, 0o2770)
        os.chmod(DIR, 0o755)
        for key in self.keys.values():
            os.chmod(key, 0o600)
        run('chown', 'opendkim', self.keys['corp.example'])
        with open(DIR + '/internal', 'w') as file:
            file.write(RELAY + '\n')
        self.servers = {}
        for name, text in (('sv', SV), ('reply', REPLY)):
            path = '%s/%s.conf' % (DIR, name)
            with open(path, 'w') as file:
                file.write(text.format(dir=DIR, name=name, selector=SELECTOR,
                                       anchor=self.dns.anchor, fields=','.join(REPLY_FIELDS),
                                       socket='%s/%s.sock' % (self.sockets, name)))
            server = service.Service('opendkim-' + name, ['opendkim', '-f', '-x', path])
            server.start()
            self.servers[name] = server

    def wait_ready(self):
        for name, server in self.servers.items():
            path = '%s/%s.sock' % (self.sockets, name)
            service.until(lambda: server.check() and os.path.exists(path), 60,
                          'OpenDKIM has its socket', say=server.tail)

    # -- mail made by tests ----------------------------------------------

    def sign(self, raw, domain, selector=SELECTOR, fields=None, key=None, oversign=True,
             **options):
        """raw with a DKIM-Signature on top. fields: names for h= (default: RFC 8823's for a
        challenge); oversign=False names only what is there, once."""
        import dkim
        fields = [f.lower().encode() for f in (fields or CHALLENGE_FIELDS)]
        with open(key or self.keys[domain], 'rb') as file:
            signer = dkim.DKIM(raw)
            present = [name.lower() for name, _value in signer.headers]
            if oversign:
                include = [f for f in fields for _i in range(present.count(f) + 1)]
            else:
                include = [f for f in fields if f in present]
            options.setdefault('canonicalize', (b'relaxed', b'simple'))
            header = signer.sign(selector.encode(), domain.encode(), file.read(),
                                 include_headers=include, **options)
        return header + raw

    def verify(self, raw, index=0):
        """(passed, {tag: value}) for one DKIM-Signature, with the stage's DNS."""
        import dkim
        checker = dkim.DKIM(raw)
        try:
            passed = checker.verify(idx=index, dnsfunc=self.dns.txt_for_dkim)
        except dkim.DKIMException as trouble:
            return False, {'error': str(trouble)}
        return passed, {k.decode(): v.decode() for k, v in checker.signature_fields.items()}
