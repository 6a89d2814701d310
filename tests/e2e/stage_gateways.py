"""Several gateways on one database: network namespaces within the stage's own, joined by two bridges that can be unplugged.

    lan = Lan(stage)                        # 198.51.100.0/24: what the stage has (DNS, directory, CA, the world) is at its .1
    lan.database()                          # db1, by TLS with client certificates, on a network of its own: 203.0.113.0/24
    gateways = Gateways(lan, 'abc')         # each with its Postfix, its two milters, its enrolld, its folders
    gateways.start()
    gateways.a.submit('alice', ...)
    gateways.b.host.unplug('data')          # cut off from the database;  .plug()
    lan.db1.kill9()

Logs of gateway a are a-enrolld.log, a-milter-outbound.log, a-postfix.log.  What goes by Unix sockets (login, mailboxes, the reply's DKIM signer) are the
stage's own, which no unplugged cable keeps from anybody.
"""

import os
import re
import shutil

import dns.exception

import mailtools
import namespace
import product
import service
import stage_dns
import stage_postfix
import stage_postgresql
from namespace import BASE, run
from stage_postgresql import postgresql

HUB = '198.51.100.1'
LAN, DATA = '198.51.100.%d', '203.0.113.%d'
DATABASE = stage_postgresql.DATABASE
CERTIFICATES = BASE + '/db-tls'
# who opens the store as what, with its client certificate
OWNERS = {'outbound': 'enroll-out', 'inbound': 'enroll-in', 'enrolld': 'enrolld', 'admin': 'root', 'owner': 'root'}
HBA = 'hostssl %s all 203.0.113.0/24 cert\nhostssl replication all 203.0.113.0/24 scram-sha-256' % DATABASE


class Host:
    """A network of its own; legs: {bridge: address}."""

    def __init__(self, name, legs):
        self.name, self.legs = name, legs
        self.prefix = ['nsenter', '--net=/run/netns/' + name, '--']
        run('ip', 'netns', 'add', name)
        self._ip('link', 'set', 'lo', 'up')
        for bridge, address in legs.items():
            run('ip', 'link', 'add', self.leg(bridge), 'type', 'veth', 'peer', 'name', bridge, 'netns', name)
            run('ip', 'link', 'set', self.leg(bridge), 'master', bridge, 'up')
            self._ip('addr', 'add', address + '/24', 'dev', bridge)
            self._ip('link', 'set', bridge, 'up')
        self._ip('route', 'add', 'default', 'via', HUB if 'lan' in legs else DATA % 1)

    def _ip(self, *args):
        run('ip', '-n', self.name, *args)

    def leg(self, bridge):
        return '%s-%s' % (self.name, bridge)

    def unplug(self, *bridges):
        """Nothing passes any more, and nobody is told: a cable that was pulled."""
        for bridge in bridges or self.legs:
            run('ip', 'link', 'set', self.leg(bridge), 'down')

    def plug(self, *bridges):
        for bridge in bridges or self.legs:
            run('ip', 'link', 'set', self.leg(bridge), 'up')


class Lan:
    """The bridges, and the stage's servers for those who come by them."""

    def __init__(self, stage):
        self.stage = stage
        self.databases = {}
        for bridge in ('lan', 'data'):
            run('ip', 'link', 'add', bridge, 'type', 'bridge', 'forward_delay', '0')
            run('ip', 'link', 'set', bridge, 'up')
        for bridge, address in (('lan', HUB), ('data', DATA % 1)):
            run('ip', 'addr', 'add', address + '/24', 'dev', bridge)
        self._dns()
        self._directory()

    def _dns(self):
        conf = stage_dns.DIR + '/unbound.conf'
        with open(conf) as file:
            text = file.read()
        with open(conf, 'w') as file:
            file.write(text.replace('interface: 127.0.0.1', 'interface: 127.0.0.1\n  interface: ' + HUB))
        with open(BASE + '/etc/resolv.conf', 'w') as file:      # the file that is mounted there
            file.write('nameserver %s\noptions timeout:5 attempts:2\n' % HUB)
        self.stage.dns.unbound.stop()
        self.stage.dns.unbound.start()
        zone = [r for r in self.stage.dns.zones['corp.example'] if r[:2] != ('ldap.corp.example', 'A')]
        zone.append(('ldap.corp.example', 'A', HUB))
        zone += [('db%d.corp.example' % n, 'A', DATA % (20 + n)) for n in (1, 2)]
        zone += [('mx-%s.corp.example' % c, 'A', LAN % (11 + n)) for n, c in enumerate('abcd')]
        self.stage.dns.zones['corp.example'] = zone
        service.until(self._answers, 60, 'DNS answers')
        self.stage.dns.reload('corp.example')

    def _answers(self):
        try:
            return self.stage.dns.lookup('corp.example', 'MX', HUB, timeout=0.5)[0] == 'secure'
        except dns.exception.DNSException:
            return False

    def _directory(self):
        slapd = self.stage.ldap.server
        slapd.stop()
        slapd.argv[-1] += ' ldap://%s:389' % HUB
        slapd.start()
        self.stage.ldap.wait_ready()

    def mx(self, *letters):
        """Whose turn it is to take the world's mail; the others come after."""
        self.stage.dns.set('corp.example', 'MX', ['%d mx-%s.corp.example.' % (10 * n, c) for n, c in enumerate(letters, 1)])

    # -- databases -------------------------------------------------------

    def database(self, **options):
        """db1; options: of Cluster."""
        host = Host('db1', {'data': DATA % 21})
        there = stage_postgresql.Postgresql(listen=[DATA % 21], names=['db1.corp.example'], prefix=host.prefix, name='db1', **options)
        there.start()
        there.wait_ready()
        there.cluster.hba(HBA)
        self.stage.postgresql, self.db1 = there, there.cluster
        self.databases['db1'] = host
        self._certificates(there.cluster.ca)
        return there

    def standby(self, synchronous=True):
        host = self.databases['db2'] = Host('db2', {'data': DATA % 22})
        self.db2 = self.db1.replica('db2', folder=BASE + '/postgresql2', listen=[DATA % 22], names=['db2.corp.example'], synchronous=synchronous,
                                    prefix=host.prefix)
        self.db2.hba(HBA)
        return self.db2

    def _certificates(self, ca):
        os.makedirs(CERTIFICATES)
        shutil.copyfile(ca.root, CERTIFICATES + '/ca.pem')
        for role, owner in OWNERS.items():
            for source, kind in zip(ca.issue('client-' + role, 'enroll_' + role, owner=owner), ('pem', 'key')):
                shutil.copy2(source, '%s/%s.%s' % (CERTIFICATES, role, kind))
            shutil.chown('%s/%s.key' % (CERTIFICATES, role), owner)

    def connection(self, *hosts):
        """store.connection as in doc/howto-several-gateways.md."""
        return ('postgresql://enroll_%%r@%s/%s?sslmode=verify-full&sslrootcert=%s/ca.pem&sslcert=%s/%%r.pem&sslkey=%s/%%r.key'
                % (','.join('%s.corp.example:%d' % (h, postgresql.PORT) for h in hosts), DATABASE, CERTIFICATES, CERTIFICATES, CERTIFICATES))


class Postfix(stage_postfix.Postfix):
    """One gateway's: the world's mail on 25, users' on 587."""

    def __init__(self, gateway):
        letter, folder = gateway.letter, gateway.dir + '-postfix'
        self.directory, self.queue, self.data = folder, folder + '-q', folder + '-data'
        self.log = '%s/log/%s-mail.log' % (BASE, letter)
        self.name, self.address, self.prefix = letter + '-postfix', gateway.address, gateway.prefix
        super().__init__(gateway.stage.tls, True)
        name = 'mx-%s.corp.example' % letter
        shared = stage_postfix.QUEUE + '/private/'
        self.main.update({k: v.replace(stage_postfix.DIR + '/', folder + '/') for k, v in self.main.items()})
        self.main.update(
            queue_directory=self.queue, data_directory=self.data, maillog_file=self.log, myhostname=name, smtp_helo_name=name,
            smtp_bind_address=self.address, inet_interfaces=self.address + ', 127.0.0.1', virtual_transport='lmtp:unix:%slmtp-dovecot' % shared,
            smtpd_sasl_path=shared + 'auth-dovecot', smtpd_client_event_limit_exceptions='static:all', smtp_connect_timeout='5s')

    def milters(self, *names):
        own = [n for n in names if n != 'sv']
        paths = {'reply': stage_postfix.QUEUE + '/dkim/reply.sock'}
        return '{smtpd_milters=%s}' % ', '.join('unix:' + paths.get(n, 'enroll-milter/%s.sock' % n) for n in own)

    def listeners(self):
        wanted = (self.address + ':25', self.address + ':587', '127.0.0.1:10025', '127.0.0.1:10028')
        return {k: v for k, v in super().listeners().items() if k in wanted}


class Gateway(product.Product):
    """founder: it makes the store and the keys; the others have copies of these."""

    def __init__(self, lan, letter, founder=None, hosts=('db1',), **overrides):
        self.lan, self.letter, self.label = lan, letter, letter + '-'
        number = 11 + 'abcd'.index(letter)
        self.address = LAN % number
        self.host = Host('gw-' + letter, {'lan': self.address, 'data': DATA % number})
        self.prefix = self.host.prefix
        self.dir = BASE + '/gateway-' + letter
        self.etc = self.dir + '/etc'
        self.stage, self.founder, self.hosts = lan.stage, founder, hosts
        self.postfix = Postfix(self)
        super().__init__(lan.stage, milters=False, **overrides)

    def standard_config(self):
        queue = self.postfix.queue
        return product.merge(super().standard_config(), {
            'dns': {'servers': [HUB + '@53']},
            'milter': {'outbound-socket': 'unix:%s/enroll-milter/outbound.sock' % queue, 'inbound-socket': 'unix:%s/enroll-milter/inbound.sock' % queue},
            'store': {'connection': self.lan.connection(*self.hosts)},
            'submission': [dict(super().standard_config()['submission'][0])],
        })

    def prepare(self):
        if self._prepared:
            return
        super().prepare()
        for name in ('master.pem', 'master.key', 'account.key') if self.founder else ():
            source, target = '%s/%s' % (self.founder.etc, name), '%s/%s' % (self.etc, name)
            shutil.copy2(source, target)
            there = os.stat(source)
            os.chown(target, there.st_uid, there.st_gid)

    # -- mail ------------------------------------------------------------

    def submit(self, user, sender, recipients, raw, timeout=120):
        """As Stage.submit, at this gateway."""
        return mailtools.send((self.address, 587), sender, recipients, raw, user=user, password=self.stage.password(user), timeout=timeout)

    def verdicts(self):
        """{queue id: closing line} of the mail that went through."""
        return {line['qid']: line for line in self.log(name='outbound', event='mail_done')}


class Gateways:
    """All of them; gateways.a is one, and also the whole stage's product (run.py asks it for reports and ends it)."""

    def __init__(self, lan, letters='abc', hosts=('db1',), **overrides):
        self.lan, self.each = lan, []
        for letter in letters:
            gateway = Gateway(lan, letter, self.each[0] if self.each else None, hosts, **overrides)
            self.each.append(gateway)
            setattr(self, letter, gateway)
        lan.stage.product = self

    def __iter__(self):
        return iter(self.each)

    def start(self, *daemons):
        """Their Postfix and these daemons (default: all)."""
        for gateway in self:
            gateway.postfix.start()
            gateway.start(*daemons)
        for gateway in self:
            gateway.postfix.wait_ready()

    def stop(self):
        for gateway in self:
            gateway.stop()

    def end(self):
        return '\n'.join(filter(None, (g.end() for g in self)))

    def reports(self, mark=None):
        return '\n'.join(filter(None, (g.reports(mark) for g in self)))

    def sql(self, *args):
        return self.each[0].sql(*args)

    def states(self):
        """{user: state}, without any enrolld."""
        return {a.split('@')[0]: s for a, s in self.sql('SELECT address, state FROM enrollments')}


def through(raw):
    """(letter, queue id) of the gateway that a mail came through last."""
    found = re.search(r'by mx-(\w)\.corp\.example \(Postfix\) with \w+ id (\w+)', ' '.join(mailtools.headers(raw, 'Received')))
    return found.groups() if found else (None, None)


__all__ = ['DATA', 'Gateways', 'Host', 'Lan', 'through', 'namespace']
