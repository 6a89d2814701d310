"""A small TLS authority for the stage's own servers (openssl, EC P-256)."""

import os

from namespace import BASE, run

DIR = BASE + '/tls'


class Tls:
    """stage.tls: .ca is the root's PEM file, issue() gives (certificate, key)."""

    def __init__(self):
        os.makedirs(DIR)
        self.ca = DIR + '/ca.pem'
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
            '-nodes', '-keyout', DIR + '/ca.key', '-out', self.ca, '-days', '3650',
            '-subj', '/O=Stage/CN=Stage TLS root',
            '-addext', 'keyUsage=critical,keyCertSign,cRLSign')

    def issue(self, name, hosts, addresses=(), days=3650):
        certificate, key = '%s/%s.pem' % (DIR, name), '%s/%s.key' % (DIR, name)
        names = ','.join(['DNS:' + h for h in hosts] + ['IP:' + a for a in addresses])
        request = run('openssl', 'req', '-new', '-newkey', 'ec', '-pkeyopt',
                      'ec_paramgen_curve:P-256', '-nodes', '-keyout', key,
                      '-subj', '/CN=' + hosts[0]).stdout
        extensions = DIR + '/%s.ext' % name
        with open(extensions, 'w') as file:
            file.write('basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
                       'extendedKeyUsage=serverAuth\nsubjectAltName=%s\n' % names)
        run('openssl', 'x509', '-req', '-CA', self.ca, '-CAkey', DIR + '/ca.key',
            '-days', str(days), '-extfile', extensions, '-out', certificate, input=request)
        return certificate, key
