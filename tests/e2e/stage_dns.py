"""DNS of a stage: NSD with the whole tree on 127.0.0.2, Unbound on 127.0.0.1.

The root and `example` are signed, corp.example and ca.example too;
outside.example is insecure, bogus.example has a DS that fits no key.
Records are kept as data (`zones`) and can be changed while all runs.
"""

import os

from namespace import BASE, HOSTS, GATEWAY, CA, OUTSIDE, run
import service

DIR = BASE + '/dns'
ANCHOR = DIR + '/root.anchor'
AUTHORITY = '127.0.0.2'
RESOLVER = '127.0.0.1'

SECURE, INSECURE, BOGUS = 'secure', 'insecure', 'bogus'

NSD_CONF = """server:
  ip-address: 127.0.0.2
  port: 53
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{dir}"
  database: ""
  pidfile: "{dir}/nsd.pid"
  xfrdfile: "{dir}/xfrd.state"
  xfrdir: "{dir}"
  zonelistfile: "{dir}/zone.list"
  hide-version: yes
  zonefiles-check: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: yes
  control-interface: {dir}/nsd.ctl
"""

# Nothing is cached for long: a test changes a record and goes on.
UNBOUND_CONF = """server:
  interface: 127.0.0.1
  port: 53
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{dir}"
  pidfile: "{dir}/unbound.pid"
  use-syslog: no
  logfile: ""
  verbosity: 1
  do-ip6: no
  do-not-query-localhost: no
  access-control: 0.0.0.0/0 allow
  module-config: "validator iterator"
  trust-anchor-file: "{anchor}"
  local-zone: "2.0.192.in-addr.arpa." nodefault
  local-zone: "127.in-addr.arpa." nodefault
  infra-host-ttl: 2
  infra-keep-probing: yes
  cache-max-ttl: 2
  cache-max-negative-ttl: 1
  val-bogus-ttl: 1
  val-log-level: 2
  key-cache-size: 64k
  trust-anchor-signaling: no
  root-key-sentinel: no
remote-control:
  control-enable: yes
  control-interface: {dir}/unbound.ctl
  control-use-cert: no
stub-zone:
  name: "."
  stub-addr: 127.0.0.2
"""

PARENT = {'example': '.'}


def txt(text):
    """TXT rdata, in strings of at most 255 octets."""
    pieces = [text[i:i + 250] for i in range(0, len(text), 250)] or ['']
    return ' '.join('"%s"' % p.replace('\\', '\\\\').replace('"', '\\"') for p in pieces)


def _key(zone):
    return zone if zone == '.' else zone.rstrip('.')


class Dns:
    """stage.dns"""

    def __init__(self):
        os.makedirs(DIR)
        self.anchor = ANCHOR
        self.authority = AUTHORITY
        self.resolver = RESOLVER
        self._serial = 1
        self._keys = {}
        self.state = {'.': SECURE, 'example': SECURE, 'corp.example': SECURE,
                      'ca.example': SECURE, 'outside.example': INSECURE,
                      'bogus.example': BOGUS}
        self.zones = {zone: [] for zone in self.state}
        self._defaults()

    def _defaults(self):
        self.zones['.'] += [('ns.', 'A', AUTHORITY)]
        for host, address in HOSTS.items():
            zone = '.'.join(host.split('.')[-2:])
            self.zones[zone].append((host, 'A', address))
            back = '.'.join(reversed(address.split('.'))) + '.in-addr.arpa.'
            self.zones['.'].append((back, 'PTR', host + '.'))
        for zone, address in (('corp.example', GATEWAY), ('ca.example', CA),
                              ('outside.example', OUTSIDE)):
            mx = 'mx.' + zone
            if (mx, 'A', address) not in self.zones[zone]:
                self.zones[zone].append((mx, 'A', address))
            self.zones[zone] += [(zone, 'MX', '10 %s.' % mx),
                                 (zone, 'TXT', txt('v=spf1 ip4:%s -all' % address)),
                                 ('_dmarc.' + zone, 'TXT', txt('v=DMARC1; p=reject; adkim=r'))]
        self.zones['corp.example'].append(('corp.example', 'CAA', '0 issuemail "ca.example"'))
        self.zones['bogus.example'] += [('bogus.example', 'A', OUTSIDE),
                                        ('bogus.example', 'MX', '10 mx.outside.example.'),
                                        ('bogus.example', 'CAA', '0 issuemail "ca.example"')]

    # -- zone files ------------------------------------------------------

    def _make_keys(self, zones):
        """One key a zone; the tool is slow to start, so all at once."""
        jobs = [(z, service.popen(['ldns-keygen', '-a', 'ECDSAP256SHA256', '-k', z],
                                  cwd=DIR, stdout=-1)) for z in zones]
        for zone, job in jobs:
            name = job.communicate()[0].decode().strip()
            if job.returncode != 0:
                raise RuntimeError('ldns-keygen failed for ' + zone)
            self._keys[zone] = DIR + '/' + name

    def _ds(self, zone):
        """The DS line for the parent, spoiled for a bogus zone."""
        with open(self._keys[zone] + '.ds') as file:
            line = file.read().split()
        if self.state[zone] == BOGUS:
            digest = line[-1]
            line[-1] = ('0' if digest[0] != '0' else '1') + digest[1:]
        return ' '.join(line)

    def _children(self, zone):
        if zone == '.':
            return ['example']
        return [z for z in self.zones if z.endswith('.' + zone)]

    def _text(self, zone):
        dotted = '.' if zone == '.' else zone + '.'
        lines = ['$TTL 2', '%s 2 IN SOA ns. hostmaster.example. %d 3600 600 86400 1'
                 % (dotted, self._serial), '%s 2 IN NS ns.' % dotted]
        for child in self._children(zone):
            lines.append('%s. 2 IN NS ns.' % child)
            if self.state[child] != INSECURE:
                lines.append(self._ds(child))
        for name, kind, data in self.zones[zone]:
            lines.append('%s. 2 IN %s %s' % (name.rstrip('.'), kind, data))
        return '\n'.join(lines) + '\n'

    def _write(self, zones):
        """Write and sign. Signatures are valid from 2020 to 2040, so that time may be moved."""
        jobs = []
        for zone in zones:
            path = '%s/zone.%s' % (DIR, 'root' if zone == '.' else zone)
            with open(path + '.plain', 'w') as file:
                file.write(self._text(zone))
            if self.state[zone] == INSECURE:
                os.replace(path + '.plain', path)
                continue
            argv = ['ldns-signzone', '-i', '20200101', '-e', '20400101', '-o',
                    _key(zone), '-f', path + '.new', path + '.plain', self._keys[zone]]
            jobs.append((zone, path, service.popen(argv, cwd=DIR, stderr=-1)))
        for zone, path, job in jobs:
            trouble = job.communicate()[1]
            if job.returncode != 0:
                raise RuntimeError('ldns-signzone %s: %s' % (zone, trouble.decode()))
            os.replace(path + '.new', path)

    # -- the servers -----------------------------------------------------

    def start(self):
        self._make_keys(list(self.zones))
        self._write(self.zones)
        with open(self._keys['.'] + '.ds') as file:
            anchor = file.read()
        with open(ANCHOR, 'w') as file:
            file.write(anchor)
        with open(DIR + '/nsd.conf', 'w') as file:
            file.write(NSD_CONF.format(dir=DIR))
            for zone in self.zones:
                file.write('zone:\n  name: "%s"\n  zonefile: "zone.%s"\n'
                           % (_key(zone), 'root' if zone == '.' else zone))
        with open(DIR + '/unbound.conf', 'w') as file:
            file.write(UNBOUND_CONF.format(dir=DIR, anchor=ANCHOR))
        self.nsd = service.Service('nsd', ['nsd', '-d', '-c', DIR + '/nsd.conf'])
        self.unbound = service.Service('unbound', ['unbound', '-d', '-p', '-c',
                                                   DIR + '/unbound.conf'])
        self.nsd.start()
        self.unbound.start()

    def wait_ready(self):
        service.until(self._answers, 60, 'DNS answers', say=self.nsd.tail)

    def _answers(self):
        try:
            return self.lookup('corp.example', 'MX')[0] == 'secure'
        except Exception:
            return False

    # -- changes ---------------------------------------------------------

    def set(self, name, kind, data):
        """Replace all records of one name and type; data is a list of rdata texts."""
        zone = self.zone_of(name)
        kept = [r for r in self.zones[zone] if (r[0].rstrip('.'), r[1]) != (name, kind)]
        self.zones[zone] = kept + [(name, kind, d) for d in data]
        self.reload(zone)

    def get(self, name, kind):
        return [d for n, k, d in self.zones[self.zone_of(name)]
                if n.rstrip('.') == name and k == kind]

    def set_caa(self, records, name='corp.example'):
        """records: (flags, tag, value) or (tag, value); an empty list removes CAA."""
        full = [r if len(r) == 3 else (0,) + tuple(r) for r in records]
        self.set(name, 'CAA', ['%d %s "%s"' % r for r in full])

    def set_dkim(self, domain, selector, public):
        self.set('%s._domainkey.%s' % (selector, domain), 'TXT',
                 [txt(public)] if public else [])

    def set_state(self, zone, state):
        """SECURE, INSECURE (no DS) or BOGUS (a DS that fits no key)."""
        self.state[zone] = state
        self.reload(zone, '.'.join(zone.split('.')[1:]) or '.')

    def zone_of(self, name):
        name = name.rstrip('.')
        fits = [z for z in self.zones if z != '.' and (name == z or name.endswith('.' + z))]
        return max(fits, key=len) if fits else '.'

    def reload(self, *zones):
        """Publish what was changed, and forget what was cached."""
        self._serial += 1
        self._write(zones)
        run('nsd-control', '-c', DIR + '/nsd.conf', 'reload')
        for zone in zones:
            service.until(lambda: self._serial_of(zone) == self._serial, 60,
                          'zone %s is reloaded' % zone, say=self.nsd.tail)
        self.flush()

    def flush(self):
        run('unbound-control', '-c', DIR + '/unbound.conf', 'flush_zone', '.')

    def _serial_of(self, zone):
        import dns.message
        import dns.query
        query = dns.message.make_query(_key(zone), 'SOA')
        try:
            answer = dns.query.udp(query, AUTHORITY, timeout=2)
            return answer.answer[0][0].serial
        except Exception:
            return None

    # -- questions -------------------------------------------------------

    def lookup(self, name, kind, server=RESOLVER, timeout=10):
        """('secure'|'insecure'|'bogus'|'nxdomain'|rcode text, [rdata texts]) as Unbound says."""
        import dns.flags
        import dns.message
        import dns.query
        import dns.rcode
        import dns.rdatatype
        query = dns.message.make_query(name, kind, want_dnssec=True)
        answer = dns.query.udp(query, server, timeout=timeout)
        if answer.flags & dns.flags.TC:
            answer = dns.query.tcp(query, server, timeout=timeout)
        if answer.rcode() == dns.rcode.SERVFAIL:
            query.flags |= dns.flags.CD
            again = dns.query.udp(query, server, timeout=timeout)
            return ('bogus' if again.rcode() == dns.rcode.NOERROR else 'servfail'), []
        if answer.rcode() == dns.rcode.NXDOMAIN:
            return 'nxdomain', []
        if answer.rcode() != dns.rcode.NOERROR:
            return dns.rcode.to_text(answer.rcode()).lower(), []
        kind = dns.rdatatype.from_text(kind)
        data = [str(rr) for rrset in answer.answer if rrset.rdtype == kind for rr in rrset]
        return ('secure' if answer.flags & dns.flags.AD else 'insecure'), data

    def txt_for_dkim(self, name, timeout=10):
        """dnsfunc for dkimpy: the stage's own DNS, by way of Unbound."""
        if isinstance(name, bytes):
            name = name.decode()
        import dns.message
        import dns.query
        answer = dns.query.udp(dns.message.make_query(name, 'TXT'), RESOLVER, timeout=timeout,
                               raise_on_truncation=False)
        for rrset in answer.answer:
            for record in rrset:
                if hasattr(record, 'strings'):
                    return b''.join(record.strings)
        return None

    def stop(self):
        """Refuse: nobody listens on 127.0.0.2 any more."""
        self.nsd.stop()

    def restart(self):
        self.nsd.start()
        self.wait_ready()
