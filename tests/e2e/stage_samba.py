"""An Active Directory beside the stage's OpenLDAP: Samba's domain controller, LDAP with TLS only.

    samba = Samba(stage.tls)
    samba.start()                       # provisioned anew, in its own folder
    dn = samba.add('uma', 'Uma Ünlü')   # mail uma@corp.example

ldaps 127.0.0.6:636; the domain is ad.example.  A service account may write the two certificate attributes and
nothing else.
"""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys

from namespace import BASE, environment, run
import service

DIR = BASE + '/samba'
ADDRESS = '127.0.0.6'
SUFFIX = 'DC=ad,DC=example'
USERS = 'CN=Users,' + SUFFIX
ADMIN, ADMIN_PASSWORD = 'CN=Administrator,' + USERS, 'Adm1n-secret!'
SERVICE, SERVICE_PASSWORD = 'CN=enroll,' + USERS, 'Enr0ll-secret!'
PASSWORD = 'Us3r-secret!'
NORMAL, DISABLED = '512', '514'

# By Samba's own library, while nobody serves it: the service account and its rights
# (the schema's ids of userCertificate and userSMIMECertificate).
SETUP = """
import sys
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB
from samba.sd_utils import SDUtils
conf, private, name, password, suffix = sys.argv[1:]
lp = LoadParm()
lp.load(conf)
db = SamDB(url=private + '/sam.ldb', session_info=system_session(), lp=lp)
db.newuser(name, password)
found = db.search(suffix, expression='(sAMAccountName=%s)' % name, attrs=['objectSid'])
sid = ndr_unpack(security.dom_sid, found[0]['objectSid'][0])
for attribute in ('bf967a7f-0de6-11d0-a285-00aa003049e2', 'e16a9db2-403c-11d1-a9c0-0000f80367c1'):
    SDUtils(db).dacl_add_ace(suffix, '(OA;CI;WP;%s;;%s)' % (attribute, sid))
"""


def available():
    return bool(shutil.which('samba-tool', path='/usr/bin') and os.path.exists('/usr/sbin/samba'))


class Samba:
    url = 'ldaps://' + ADDRESS
    base, service_dn, service_password = SUFFIX, SERVICE, SERVICE_PASSWORD

    def __init__(self, tls):
        self.tls = tls
        self.conf = DIR + '/etc/smb.conf'

    # -- life ------------------------------------------------------------

    def start(self):
        os.makedirs('/run/samba', exist_ok=True)
        done = subprocess.run(
            ['samba-tool', 'domain', 'provision', '--targetdir=' + DIR, '--realm=AD.EXAMPLE', '--domain=AD', '--host-name=dc1',
             '--host-ip=' + ADDRESS, '--server-role=dc', '--dns-backend=NONE', '--adminpass=' + ADMIN_PASSWORD,
             '--option=bind interfaces only=yes', '--option=interfaces=%s/8' % ADDRESS],
            capture_output=True, text=True, env=environment())
        if done.returncode != 0:
            raise RuntimeError('samba-tool domain provision:\n' + (done.stdout + done.stderr)[-3000:])
        self.write_conf()
        run(sys.executable, '-c', SETUP, self.conf, DIR + '/private', 'enroll', SERVICE_PASSWORD, SUFFIX)
        self.server = service.Service('samba', ['samba', '-s', self.conf, '-i', '--debug-stdout'])
        self.restart()

    def write_conf(self):
        certificate, key = self.tls.issue('samba', ['dc1.ad.example'], [ADDRESS])
        shutil.copyfile(key, DIR + '/private/ldap.key')
        os.chmod(DIR + '/private/ldap.key', 0o600)
        with open(self.conf) as file:
            lines = [line for line in file if 'server services' not in line and 'log file' not in line]
        at = lines.index('[global]\n') + 1
        lines[at:at] = ['\t%s = %s\n' % pair for pair in (
            ('server services', 'ldap'), ('disable netbios', 'yes'), ('pid directory', '/run/samba'), ('log level', '1'),
            ('tls keyfile', DIR + '/private/ldap.key'), ('tls certfile', certificate), ('tls cafile', self.tls.ca))]
        with open(self.conf, 'w') as file:
            file.writelines(lines)

    def restart(self):
        self.server.start()
        self.server.wait_port(ADDRESS, 636)

    def kill9(self):
        """All of it: its children would go on for a moment, and hold the port."""
        for pid in [p for p in os.listdir('/proc') if p.isdigit()]:
            with contextlib.suppress(OSError):
                if os.readlink('/proc/%s/exe' % pid) == '/usr/sbin/samba':
                    os.kill(int(pid), signal.SIGKILL)
        self.server.kill9()
        service.until(lambda: not service.listening(ADDRESS, 636), 60, 'samba is gone')
        shutil.rmtree('/run/samba')     # pids come again soon in a namespace
        os.makedirs('/run/samba')

    # -- access ----------------------------------------------------------

    def connect(self, dn=ADMIN, password=ADMIN_PASSWORD):
        import ldap3
        tls = ldap3.Tls(ca_certs_file=self.tls.ca, validate=ssl.CERT_REQUIRED)
        server = ldap3.Server(ADDRESS, port=636, use_ssl=True, tls=tls, get_info=ldap3.NONE)
        connection = ldap3.Connection(server, dn, password, raise_exceptions=True)
        connection.open()
        connection.bind()
        return connection

    def do(self, action):
        connection = self.connect()
        try:
            return action(connection)
        finally:
            connection.unbind()

    def add(self, login, name, mail=None, password=PASSWORD, **more):
        """A person; its DN."""
        dn = 'CN=%s,%s' % (name.replace('\\', '\\\\').replace(',', '\\,').replace('+', '\\+'), USERS)
        entry = {'sAMAccountName': login, 'userPrincipalName': login + '@ad.example', 'displayName': name, 'sn': name.split()[-1],
                 'givenName': name.split()[0], 'mail': mail or login + '@corp.example', 'userAccountControl': NORMAL,
                 'unicodePwd': ('"%s"' % password).encode('utf-16-le')}
        entry.update(more)
        self.do(lambda c: c.add(dn, ['top', 'person', 'organizationalPerson', 'user'], entry))
        return dn

    def modify(self, dn, **changes):
        import ldap3
        what = {n: [(ldap3.MODIFY_REPLACE, v if isinstance(v, list) else [v])] for n, v in changes.items()}
        self.do(lambda c: c.modify(dn, what))

    def move(self, dn, where):
        self.do(lambda c: c.modify_dn(dn, dn.split(',CN=Users')[0], new_superior=where))

    def values(self, login):
        """({attribute: [octets]}, DN) of a person, by login."""
        import ldap3

        def ask(c):
            c.search(SUFFIX, '(sAMAccountName=%s)' % login, ldap3.SUBTREE, attributes=['userCertificate', 'userSMIMECertificate', 'mail'])
            found = [r for r in c.response if r['type'] == 'searchResEntry']
            return ({n: [bytes(v) for v in vs] for n, vs in found[0]['raw_attributes'].items()}, found[0]['dn']) if found else ({}, None)
        return self.do(ask)
