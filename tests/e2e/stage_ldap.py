"""The directory of a stage: OpenLDAP, dc=corp,dc=example, with people and a service account.

ldap 127.0.0.3:389 (StartTLS), ldaps 127.0.0.3:636 (both as ldap.corp.example),
ldapi (SASL EXTERNAL: root is the administrator).
"""

import os
import ssl

from namespace import BASE, run
import service

DIR = BASE + '/ldap'
ADDRESS = '127.0.0.3'
HOST = 'ldap.corp.example'
SUFFIX = 'dc=corp,dc=example'
PEOPLE = 'ou=people,' + SUFFIX
GROUPS = 'ou=groups,' + SUFFIX
ADMIN = 'cn=admin,' + SUFFIX
ADMIN_PASSWORD = 'admin-secret'
SERVICE = 'cn=enroll,' + SUFFIX
SERVICE_PASSWORD = 'enroll-secret'
LDAPI = DIR + '/ldapi'

CONF = """{schema}
pidfile {dir}/slapd.pid
argsfile {dir}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
sizelimit unlimited
tool-threads 1
threads 4
TLSCACertificateFile {tls}/ca.pem
TLSCertificateFile {tls}/ldap.pem
TLSCertificateKeyFile {dir}/ldap.key
TLSVerifyClient never
authz-regexp gidNumber=0[+]uidNumber=0,cn=peercred,cn=external,cn=auth {admin}
authz-regexp gidNumber=[0-9]+[+]uidNumber=(7101|7102|7103),cn=peercred,cn=external,cn=auth {service}
database mdb
suffix {suffix}
rootdn {admin}
rootpw {admin_password}
directory {dir}/db
maxsize 1073741824
dbnosync
index objectClass,uid,cn,mail,member eq
access to attrs=userPassword
    by anonymous auth
    by * none
access to dn.subtree={people} attrs=userCertificate,userSMIMECertificate
    by dn.exact={service} write
    by * read
access to *
    by dn.exact={service} read
    by anonymous auth
    by users read
"""

PERSONS = {
    'alice': ('Alice', 'Archer'),
    'bob': ('Bob', 'Baker'),
    'carol': ('Carol', 'Cooper'),
    'dave': ('Dave', 'Dyer'),
}


def password_of(uid):
    return 'pw-' + uid


def person(uid, given, surname, mail=None, **more):
    entry = {'objectClass': ['inetOrgPerson'], 'uid': uid, 'cn': '%s %s' % (given, surname),
             'sn': surname, 'givenName': given, 'mail': mail or uid + '@corp.example',
             'userPassword': password_of(uid)}
    entry.update(more)
    return dn_of(uid), entry


def dn_of(uid):
    return 'uid=%s,%s' % (uid, PEOPLE)


def ldif(entries):
    lines = []
    for dn, entry in entries:
        lines.append('dn: ' + dn)
        for name, values in entry.items():
            for value in values if isinstance(values, list) else [values]:
                lines.append('%s: %s' % (name, value))
        lines.append('')
    return '\n'.join(lines)


def standard_entries():
    top = [
        (SUFFIX, {'objectClass': ['dcObject', 'organization'], 'dc': 'corp', 'o': 'Corp Example'}),
        (PEOPLE, {'objectClass': 'organizationalUnit', 'ou': 'people'}),
        (GROUPS, {'objectClass': 'organizationalUnit', 'ou': 'groups'}),
        (SERVICE, {'objectClass': ['organizationalRole', 'simpleSecurityObject'],
                   'cn': 'enroll', 'userPassword': SERVICE_PASSWORD}),
    ]
    people = [person(uid, *names) for uid, names in PERSONS.items()]
    # one address that is the own mail of two entries: owned by nobody
    people.append(person('shared1', 'Shared', 'One', 'shared@corp.example'))
    people.append(person('shared2', 'Shared', 'Two', 'shared@corp.example'))
    # a shared mailbox with two named owners
    people.append(person('team', 'Team', 'Mailbox', manager=[dn_of('alice'), dn_of('bob')]))
    pilot = [('cn=pilot,' + GROUPS, {'objectClass': 'groupOfNames', 'cn': 'pilot',
                                     'member': [dn_of('alice'), dn_of('bob')]})]
    return top + people + pilot


class Ldap:
    """stage.ldap"""

    uri = 'ldap://%s' % HOST
    uris = 'ldaps://%s' % HOST
    service_dn, service_password = SERVICE, SERVICE_PASSWORD
    people, groups, suffix = PEOPLE, GROUPS, SUFFIX

    def __init__(self, tls, users=0):
        self.tls = tls
        self.ca = tls.ca
        self.ldapi = 'ldapi://' + LDAPI.replace('/', '%2F')
        self.users = users

    def start(self):
        os.makedirs(DIR + '/db')
        certificate, key = self.tls.issue('ldap', [HOST], [ADDRESS])
        schemas = [n for n in ('core', 'cosine', 'inetorgperson', 'misc')
                   if os.path.exists('/etc/ldap/schema/%s.schema' % n)]
        with open(key) as source, open(DIR + '/ldap.key', 'w') as copy:
            copy.write(source.read())
        with open(DIR + '/slapd.conf', 'w') as file:
            file.write(CONF.format(
                schema='\n'.join('include /etc/ldap/schema/%s.schema' % n for n in schemas),
                dir=DIR, tls=os.path.dirname(certificate), suffix=SUFFIX, admin=ADMIN,
                admin_password=ADMIN_PASSWORD, service=SERVICE, people=PEOPLE))
        entries = standard_entries()
        entries += [self.generated(n) for n in range(self.users)]
        with open(DIR + '/start.ldif', 'w') as file:
            file.write(ldif(entries))
        run('slapadd', '-q', '-f', DIR + '/slapd.conf', '-l', DIR + '/start.ldif')
        run('chown', '-R', 'openldap:openldap', DIR)
        self.server = service.Service('slapd', [
            'slapd', '-d', 'stats', '-u', 'openldap', '-g', 'openldap', '-f',
            DIR + '/slapd.conf', '-h', 'ldap://%s:389 ldaps://%s:636 %s'
            % (ADDRESS, ADDRESS, self.ldapi)])
        self.server.start()

    def wait_ready(self):
        self.server.wait_port(ADDRESS, 389)
        self.server.wait_port(ADDRESS, 636)
        service.until(lambda: os.path.exists(LDAPI), 60, 'ldapi')

    def stop(self):
        self.server.stop()

    def restart(self):
        self.server.start()
        self.wait_ready()

    @staticmethod
    def generated(number):
        uid = 'user%05d' % number
        return person(uid, 'User', 'Number%05d' % number)

    # -- access ----------------------------------------------------------

    def connect(self, dn=ADMIN, password=ADMIN_PASSWORD, starttls=True, ldaps=False):
        """A bound ldap3 connection, over StartTLS with the stage's TLS root by default."""
        import ldap3
        tls = ldap3.Tls(ca_certs_file=self.ca, validate=ssl.CERT_REQUIRED)
        server = ldap3.Server(HOST, port=636 if ldaps else 389, use_ssl=ldaps, tls=tls,
                              get_info=ldap3.NONE)
        connection = ldap3.Connection(server, dn, password, raise_exceptions=True)
        connection.open()
        if starttls and not ldaps:
            connection.start_tls()
        connection.bind()
        return connection

    def connect_as(self, uid):
        return self.connect(dn_of(uid), password_of(uid))

    def get(self, uid, attributes=('*',)):
        """{attribute: [bytes, ...]} of a person, or None. Names as the server writes them."""
        import ldap3
        connection = self.connect()
        try:
            connection.search(PEOPLE, '(uid=%s)' % uid, ldap3.SUBTREE,
                              attributes=list(attributes))
            return dict(connection.response[0]['raw_attributes']) if connection.response else None
        finally:
            connection.unbind()

    def certificates(self, uid):
        """The DER certificates published for a person."""
        entry = self.get(uid) or {}
        return [bytes(v) for v in entry.get('userCertificate;binary', [])]

    def add(self, uid, given='Given', surname='Surname', mail=None, **more):
        return self.add_entry(*person(uid, given, surname, mail, **more))

    def add_entry(self, dn, attributes):
        attributes = dict(attributes)
        classes = attributes.pop('objectClass')
        self._do(lambda c: c.add(dn, classes, attributes))

    def add_users(self, number, first=0):
        """N more people, user00000 and on, in one go."""
        entries = [self.generated(n) for n in range(first, first + number)]
        run('ldapadd', '-Q', '-Y', 'EXTERNAL', '-H', self.ldapi, input=ldif(entries))
        return [dn.split(',')[0][4:] for dn, _entry in entries]

    def delete(self, uid):
        self._do(lambda c: c.delete(dn_of(uid)))

    def modify(self, uid, **changes):
        """Replace attributes: modify('bob', mail=['b@corp.example'], givenName=[])."""
        self.modify_dn(dn_of(uid), changes)

    def modify_dn(self, dn, changes):
        import ldap3
        what = {name: [(ldap3.MODIFY_REPLACE, values if isinstance(values, list) else [values])]
                for name, values in changes.items()}
        self._do(lambda c: c.modify(dn, what))

    def _do(self, action):
        connection = self.connect()
        try:
            action(connection)
        finally:
            connection.unbind()
