"""CAA against real name servers: decisions, DNSSEC, aliases, perspectives, and an enrollment that is
refused, tells what `enrollctl caa check` tells, and goes on by itself.

Names end in top-level domains of their own (example.org7), so that a record can stand at every height.
"""

import json
import os
import re
import time

from enrolling import Enrolling, address
from namespace import BASE
from product import Product, require
from stage import Stage, StageCase
import service
import stage_dns

STAGE = {'ca': True, 'users': 8}
TAKES, BUSY = 110, 7
INNER = '127.0.0.5'
PERSPECTIVES = ['system', 'recursion', INNER + '@53']
HERE = os.path.dirname(os.path.abspath(__file__))
OURS, OTHERS = 'https://ca.example/acct/1', 'https://ca.example/acct/2'     # in tables, for our account's URL and another

# Inside, split.outside.example has another record than outside.
INNER_CONF = """server:
  interface: {address}
  port: 53
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{dir}"
  pidfile: "{dir}/inner.pid"
  use-syslog: no
  logfile: ""
  do-ip6: no
  do-not-query-localhost: no
  access-control: 0.0.0.0/0 allow
  module-config: "iterator"
  cache-max-ttl: 1
  cache-max-negative-ttl: 1
  infra-host-ttl: 2
  local-zone: "split.outside.example." transparent
  local-data: 'split.outside.example. 1 IN CAA 0 issuemail "other.example"'
stub-zone:
  name: "."
  stub-addr: 127.0.0.2
"""

# name, address, records, identities, decision, what the text says
CASES = (
    ('nothing anywhere', 'u@leaf.a.tld', '', 'ca.example', 'allow', 'no CAA record at leaf.a.tld or above'),
    ('records that are silent about mail', 'u@a.tld', 'a.tld 0 issue ";" | a.tld 0 issuewild "x.example"', 'ca.example', 'allow',
     'no issuemail record'),
    ('named, whatever the case', 'u@A.tld', 'a.tld 0 ISSUEMAIL "cA.eXample"', 'ca.example', 'allow', 'authorizes our CA'),
    ('a name with a dot behind it', 'u@a.tld', 'a.tld 0 issuemail "ca.example."', 'ca.example', 'deny', 'no dot may stand'),
    ('another CA', 'u@a.tld', 'a.tld 0 issuemail "else.example"', 'ca.example', 'deny', 'names another CA'),
    ('one of several', 'u@a.tld', 'a.tld 0 issuemail "else.example" | a.tld 0 issuemail "ca.example" | a.tld 0 issuemail ";"',
     'ca.example', 'allow', 'authorizes our CA'),
    ('nobody', 'u@a.tld', 'a.tld 0 issuemail ";"', 'ca.example', 'deny', 'authorizes nobody'),
    ('an empty value', 'u@a.tld', 'a.tld 0 issuemail ""', 'ca.example', 'deny', 'authorizes nobody'),
    ('no semicolon before a parameter', 'u@a.tld', 'a.tld 0 issuemail "ca.example x=y"', 'ca.example', 'deny', 'malformed'),
    ('found two labels up', 'u@x.y.a.tld', 'a.tld 0 issuemail "else.example"', 'ca.example', 'deny', 'CAA of a.tld'),
    ('the closest set counts', 'u@y.a.tld', 'y.a.tld 0 issuemail "ca.example" | a.tld 128 unknown "x"', 'ca.example', 'allow', 'CAA of y.a.tld'),
    ('the closest set counts without issuemail', 'u@y.a.tld', 'y.a.tld 0 iodef "mailto:x@a.tld" | a.tld 0 issuemail ";"', 'ca.example',
     'allow', 'no issuemail record'),
    ('at the top', 'u@a.tld', 'tld 0 issuemail ";"', 'ca.example', 'deny', 'publish: a.tld. IN CAA'),
    ('critical and not understood', 'u@a.tld', 'a.tld 128 unknown "x" | a.tld 0 issuemail "ca.example"', 'ca.example', 'deny',
     'unknown and critical'),
    ('not understood and not critical', 'u@a.tld', 'a.tld 64 unknown "x"', 'ca.example', 'allow', 'no issuemail record'),
    ('our account', 'u@a.tld', 'a.tld 0 issuemail "ca.example; accounturi=%s"' % OURS, 'ca.example', 'allow', 'authorizes our CA'),
    ('another account', 'u@a.tld', 'a.tld 0 issuemail "ca.example; accounturi=%s"' % OTHERS, 'ca.example', 'deny', 'another account'),
    ('two accounts', 'u@a.tld', 'a.tld 0 issuemail "ca.example; accounturi=%s; accounturi=%s"' % (OURS, OURS), 'ca.example', 'deny',
     'several accounturi'),
    ('an account that is no URI', 'u@a.tld', 'a.tld 0 issuemail "ca.example; accounturi=17"', 'ca.example', 'deny', 'no URI'),
    ('our method', 'u@a.tld', 'a.tld 0 issuemail "ca.example; validationmethods=http-01,email-reply-00"', 'ca.example', 'allow',
     'authorizes our CA'),
    ('another method', 'u@a.tld', 'a.tld 0 issuemail "ca.example; validationmethods=http-01"', 'ca.example', 'deny',
     'not the validation method'),
    ('no method', 'u@a.tld', 'a.tld 0 issuemail "ca.example; validationmethods="', 'ca.example', 'deny', 'not the validation method'),
    ('methods twice', 'u@a.tld', 'a.tld 0 issuemail "ca.example; validationmethods=email-reply-00; validationmethods=email-reply-00"',
     'ca.example', 'deny', 'several accounturi or validationmethods'),
    ('other parameters', 'u@a.tld', 'a.tld 0 issuemail "ca.example; policy=ev; x="', 'ca.example', 'allow', 'authorizes our CA'),
    ("the CA's second name", 'u@a.tld', 'a.tld 0 issuemail "ca2.example"', 'ca.example,ca2.example', 'allow', 'authorizes our CA'),
    ('an address literal', 'u@[192.0.2.9]', '', 'ca.example', 'deny', 'no domain name'),
)

# Reasons of the shared vectors, and the words for them.
REASONS = (
    ('trailing dot', 'no dot may stand'), ('another CA|found by climbing', 'names another CA'),
    ('nobody may issue|top-level domain|empty value', 'authorizes nobody'), ('malformed value', 'malformed'),
    ('unknown critical', 'unknown and critical'), ('another account', 'another account'),
    ('two accounturi|doubled validationmethods', 'several accounturi or validationmethods'), ('not our account URL', 'no URI'),
    ('method is (not )?listed', 'not the validation method'), ('no domain name', 'no domain name'),
)


def setUpModule():
    require()


def shared_vectors():
    """Rows as CASES has them, or None."""
    folder = os.environ.get('ENROLL_TESTDATA') or os.path.join(HERE, '..', '..', '..', 'shared', 'testdata')
    path = os.path.join(folder, 'caa', 'decisions.tsv')
    if not os.path.exists(path):
        return None
    rows = []
    with open(path, encoding='utf-8') as file:
        for line in file:
            if line.startswith('#') or not line.strip():
                continue
            name, who, records, identities, account, method, decision, reason = line.rstrip('\n').split('\t')
            assert (account, method) == (OURS, 'email-reply-00'), line
            words = [w for pattern, w in REASONS if re.search(pattern, reason)] if decision == 'deny' else ['']
            assert len(words) == 1, 'which words are meant by "%s"?' % reason
            rows.append((name, who, records, identities, decision, words[0]))
    return rows


def rdata(flags, tag, value):
    """NSD reads no tag with capitals, which CAs must accept: such a record is given as octets (RFC 3597)."""
    if tag == tag.lower():
        return '%s %s "%s"' % (flags, tag, value)
    octets = bytes([int(flags), len(tag)]) + tag.encode() + value.encode()
    return '\\# %d %s' % (len(octets), octets.hex())


class Row:
    """One case, moved below a top-level domain of its own; one with octets below a zone that no tool signs, as that would write them out."""

    def __init__(self, case, tld):
        self.name, who, records, identities, self.decision, self.words = case
        self.identities = identities.split(',')
        if re.search(r' [0-9]+ [a-z]*[A-Z]', records):
            tld += '.outside.example'

        def move(text):
            return re.sub(r'\b(org|tld)(?=$|[\s.@])', tld, text)
        self.words = move(self.words)
        self.address = who if '[' in who else move(who)
        self.records, self.texts = [], []
        for record in filter(None, (r.strip() for r in records.split(' | '))):
            name, flags, tag, value = re.fullmatch(r'(\S+) (\d+) (\S+) "(.*)"', record).groups()
            self.records.append((move(name), 'CAA', rdata(flags, tag, value)))
            self.texts.append((move(name), '%s %s "%s"' % (flags, tag, value)))


class CaaCase(StageCase):
    """A product with three perspectives; the CA holds every address for validated."""

    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        path = stage_dns.DIR + '/inner.conf'
        if not hasattr(stage, 'inner'):
            with open(path, 'w') as file:
                file.write(INNER_CONF.format(address=INNER, dir=stage_dns.DIR))
            stage.inner = service.Service('unbound-inner', ['unbound', '-d', '-p', '-c', path])
            stage.inner.start()
            service.until(lambda: service.listening(INNER, 53), 60, 'the inner resolver listens', say=stage.inner.tail)
        stage.ca.admin('/reset-behaviour', {'authz_valid': True})
        cls.p = Product(stage, milters=False, certificate={'key-type': 'ec:p256'},
                        dns={'perspectives': PERSPECTIVES, 'stubs': ['.=127.0.0.2']})
        cls.p.start('enrolld')
        cls.many = Enrolling(stage, cls.p)
        cls.account = cls.p.json('account', 'show')['url']

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    @classmethod
    def configure(cls, **changes):
        cls.p.configure(**changes)
        cls.p.restart('enrolld')

    def publish(self, records):
        """(name, type, data) beside what is there, all at once."""
        dns = self.stage.dns
        zones = set()
        for name, kind, data in records:
            zone = dns.zone_of(name)
            dns.zones[zone].append((name, kind, data.replace(OURS, self.account)))
            zones.add(zone)
        dns.reload(*zones)

    def check(self, about, **more):
        done = self.p.ctl_run('caa', 'check', about, '--json', **more)
        found = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if found.get('decision') == 'allow' else 1, done.stdout)
        return found

    def decided(self, about, decision, seconds=60):
        """Until that is the decision from everywhere: caches live for two seconds."""
        return self.seen(about, lambda f: f['decision'] == decision and not f['differ'], decision, seconds)

    def seen(self, about, question, what, seconds=60):
        def there():
            found = self.check(about)
            return found if question(found) else None
        return service.until(there, seconds, '%s: %s' % (about, what), every=0.5, say=lambda: str(self.check(about)))


class Decisions(CaaCase):
    """All alike from three perspectives: a validating resolver, own recursion, a resolver that does not validate."""

    def run_rows(self, rows):
        self.publish([r for row in rows for r in row.records])
        for identities in sorted({tuple(r.identities) for r in rows}):
            self.configure(ca={'caa-identities': list(identities)})
            for row in rows:
                if tuple(row.identities) != identities:
                    continue
                with self.subTest(row.name):
                    found = self.check(row.address)
                    self.assertEqual(found['decision'], row.decision, found)
                    self.assertIn(row.words, found['text'])
                    self.assertFalse(found['differ'], found)
                    if 'found_at' in found:
                        self.assertEqual([p['name'] for p in found['perspectives']], PERSPECTIVES)
                        wanted = sorted(d.replace(OURS, self.account) for n, d in row.texts if n == found['found_at'])
                        self.assertEqual(sorted(found['records']), wanted)
                    if row.decision == 'deny' and 'found_at' in found:
                        self.assertIn('To allow it, publish: ' + found['publish'], found['text'])

    def test_own_cases(self):
        self.run_rows([Row(case, 'own%d' % n) for n, case in enumerate(CASES)])

    def test_shared_vectors(self):
        rows = shared_vectors()
        if rows is None:
            self.skipTest('the shared CAA vectors are not there (set ENROLL_TESTDATA)')
        self.assertGreater(len(rows), 30)
        self.run_rows([Row(row, 'org%d' % n) for n, row in enumerate(rows)])


class Dns(CaaCase):
    def records(self, *rows):
        self.publish(rows)

    def test_dnssec_states(self):
        self.records(('outside.example', 'CAA', '0 issuemail "ca.example"'))
        self.assertEqual(self.decided('corp.example', 'allow')['dnssec'], 'secure')
        self.assertEqual(self.decided('outside.example', 'allow')['dnssec'], 'insecure')
        found = self.check('bogus.example')
        self.assertEqual((found['decision'], found['dnssec']), ('deny', 'bogus'), found)
        self.assertIn('repair the zone', found['text'])
        self.assertFalse(found['differ'], found)
        self.assertNotIn('publish:', found['text'], 'no record would help')
        # Its records are right, and a record of the top-level domain would allow as well: neither counts.
        self.stage.dns.set_state('bogus.example', stage_dns.SECURE)
        self.addCleanup(self.stage.dns.set_state, 'bogus.example', stage_dns.BOGUS)
        self.assertEqual(self.decided('bogus.example', 'allow', 300)['dnssec'], 'secure', 'mended, and believed')

    def test_aliases(self):
        self.records(('direct.corp.example', 'CNAME', 'target.outside.example.'),
                     ('target.outside.example', 'CAA', '0 issuemail "else.example"'),
                     ('bare.corp.example', 'CNAME', 'nothing.outside.example.'),
                     ('nothing.outside.example', 'TXT', '"no CAA here"'),
                     ('outside.example', 'CAA', '0 issuemail "else.example"'),
                     ('tree.corp.example', 'DNAME', 'wood.outside.example.'),
                     ('leaf.wood.outside.example', 'CAA', '0 issuemail "else.example"'))
        found = self.decided('direct.corp.example', 'deny')
        self.assertEqual((found['found_at'], found['owner']), ('direct.corp.example', 'target.outside.example'))
        self.assertEqual(found['dnssec'], 'insecure', 'the weakest link')
        self.assertTrue(found['publish'].startswith('target.outside.example. IN CAA'), found['publish'])
        found = self.decided('leaf.tree.corp.example', 'deny')
        self.assertEqual((found['found_at'], found['owner']), ('leaf.tree.corp.example', 'leaf.wood.outside.example'))
        found = self.decided('bare.corp.example', 'allow')
        self.assertEqual(found['found_at'], 'corp.example', 'it climbs by the name that was asked for')

    def test_a_set_that_only_fits_tcp(self):
        import dns.flags
        import dns.message
        import dns.query
        self.records(*[('many.corp.example', 'CAA', '0 issuemail "ca%d.example; note=%s"' % (n, 'x' * 150)) for n in range(20)],
                     ('many.corp.example', 'CAA', '0 issuemail "ca.example"'))
        udp = dns.query.udp(dns.message.make_query('many.corp.example', 'CAA', want_dnssec=True, payload=1232), self.stage.dns.authority, timeout=10)
        self.assertTrue(udp.flags & dns.flags.TC, 'or this would show nothing')
        found = self.decided('many.corp.example', 'allow')
        self.assertEqual((len(found['records']), found['dnssec'], found['differ']), (21, 'secure', False))

    def test_servfail_is_neither_yes_nor_no(self):
        self.records(('lame.example', 'NS', 'ns.lame.example.'), ('ns.lame.example', 'A', '127.0.0.9'))
        found = self.seen('lame.example', lambda f: f['decision'] == 'unknown', 'unknown')
        self.assertFalse(found['differ'])
        self.assertIn('could not be looked up', found['text'])
        self.assertIn('neither yes nor no', found['text'])

    def test_iodef_is_shown(self):
        self.records(('report.corp.example', 'CAA', '0 issuemail ";"'), ('report.corp.example', 'CAA', '0 iodef "mailto:caa@corp.example"'),
                     ('report.corp.example', 'CAA', '0 iodef "https://corp.example/caa"'))
        found = self.decided('report.corp.example', 'deny')
        self.assertEqual(sorted(found['iodef']), ['https://corp.example/caa', 'mailto:caa@corp.example'])
        self.assertIn('takes reports at', found['text'])


class Perspectives(CaaCase):
    def test_two_that_disagree(self):
        self.publish([('split.outside.example', 'CAA', '0 issuemail "ca.example"')])
        found = self.seen('split.outside.example', lambda f: [p['decision'] for p in f['perspectives']] == ['allow', 'allow', 'deny'],
                          'inside another record than outside')
        self.assertEqual((found['decision'], found['differ']), ('deny', True), 'one that forbids is enough')
        self.assertIn('Seen from %s@53: CAA of split.outside.example' % INNER, found['text'])
        self.assertIn('Seen from system, recursion: CAA of split.outside.example', found['text'])
        said = self.p.ctl_run('caa', 'check', 'split.outside.example').stdout
        self.assertRegex(said, r'(?m)^  recursion +allow, one record at split.outside.example, DNSSEC insecure$')
        self.assertRegex(said, r'(?m)^  127.0.0.5@53 +deny, one record at split.outside.example, DNSSEC insecure$')

    def test_a_silent_one_is_named_and_waited_for(self):
        user = self.many.user()
        self.stage.dns.set_caa([('issuemail', 'ca.example')])
        self.decided('corp.example', 'allow')
        with self.stage.faults.silent(self.stage.inner):
            time.sleep(2.5)     # what it answered before is forgotten
            found = self.check('corp.example')
            self.assertEqual(found['decision'], 'unknown', found)
            self.assertTrue(found['differ'])
            self.assertIn('Seen from %s@53: CAA of corp.example could not be looked up' % INNER, found['text'])
            self.assertEqual([p['decision'] for p in found['perspectives']], ['allow', 'allow', 'unknown'])
            self.many.enroll(user)
            shown = self.many.wait_state([user], 'waiting')[user]['enrollment']
            self.assertEqual(shown['why'], found['text'])
        self.many.wait_state([user], 'active')


class Command(CaaCase):
    def test_for_people(self):
        self.stage.dns.set_caa([('issuemail', 'else.example')])
        self.addCleanup(self.stage.dns.set_caa, [('issuemail', 'ca.example')])
        found = self.decided('corp.example', 'deny')
        done = self.p.ctl_run('caa', 'check', 'alice@corp.example', user='helpdesk1')
        self.assertEqual(done.returncode, 1)
        self.assertIn('alice@corp.example: forbidden (CA example-ca, ca.caa = "enforce")', done.stdout)
        for line in found['text'].split('\n'):
            self.assertIn(line, done.stdout)
        self.assertIn('to publish     ' + found['publish'], done.stdout)
        self.assertIn('accounturi=' + self.account, found['publish'])
        self.assertEqual(self.p.ctl_run('caa', 'check', 'corp.example', user='mallory').returncode, 1)
        for wrong in (['caa'], ['caa', 'check'], ['caa', 'show', 'x'], ['caa', 'check', 'a', 'b']):
            self.assertEqual(self.p.ctl_run(*wrong).returncode, 2, wrong)

    def test_without_enrolld(self):
        there = self.check('corp.example')
        self.p.stop('enrolld')
        try:
            self.assertEqual(self.check('corp.example', user='root')['text'], there['text'])
            refused = self.p.ctl_run('caa', 'check', 'corp.example', user='helpdesk1')
            self.assertIn('is it running', refused.stderr)
        finally:
            self.p.start('enrolld')

    def test_observing(self):
        """Before anything is ordered: there is no CA client in enrolld, and this is what an admin looks at first."""
        self.configure(mode='observe')
        self.addCleanup(self.configure, mode='sign')
        self.assertEqual(self.decided('corp.example', 'allow')['account'], self.account)
