"""A whole installation under the load of a Monday morning, on the stage of the end-to-end tests: Postfix, the three daemons, a directory, DNS and the test CA.

    tests/bench/run.sh --installation [--users 1000] [--newcomers 60] [--store postgresql] [--hour 60] [--json FILE] ...

USERS have certificates from the start.  NEWCOMERS have none: each sends a first mail at a moment of the scaled hour (`monday`, a cumulated logistic
curve: half of them have come after a third of it) and is enrolled by the challenge mail.  Meanwhile others' mails are signed.  Then RENEWALS
of them are renewed, and all are looked at again by rules and directory as once a day.  Printed is who needed how much of the processor for one mail and one
enrollment (CPU seconds, so that a busy machine shows less), what the database did for it, and how long people waited.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import threading
import time

import inside  # first: it says where the others are
import mailtools
import namespace
import several
import stage_postgresql
from enrolling import Enrolling, address
from namespace import GATEWAY, RELAY
from product import Product
from shares import Shares
from stage import Stage

OLD_USER = 'user%06d@corp.example'      # BENCH_USER of bench.h; newcomers have five digits
CHANNELS = ('enroll_credentials', 'enroll_work')
SEND = (GATEWAY, 2525)


def monday(n, hour):
    """When the n newcomers come, in seconds from the beginning."""
    steep, middle = 10.0, 0.33

    def logistic(x):
        return 1 / (1 + math.exp(-steep * (x - middle)))
    low, high = logistic(0), logistic(1)
    shares = [low + (high - low) * (i + 0.5) / n for i in range(n)]
    return [hour * (middle + math.log(s / (1 - s)) / steep) for s in shares]


class Work:
    """What a database did between two moments."""

    def __init__(self, stage):
        self.cluster = stage.postgresql.cluster if stage.postgresql else None
        self.session = None

    def _now(self):
        done, wal, size = self.cluster.rows("SELECT xact_commit + xact_rollback, pg_current_wal_insert_lsn() - '0/0', pg_database_size('enroll') "
                                            "FROM pg_stat_database WHERE datname = 'enroll'", 'enroll')[0]
        written = self.cluster.rows("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables", 'enroll')[0][0]
        tables = dict(self.cluster.rows("SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables", 'enroll'))
        return {'transactions': done, 'wal': wal, 'octets': size, 'rows': int(written), 'tables': tables}

    def begin(self):
        if self.cluster:
            self.session = stage_postgresql.Session(self.cluster)
            self.session.say(' '.join('LISTEN %s;' % c for c in CHANNELS))
            self.before = self._now()

    def end(self, number):
        """For each of so many."""
        if not self.cluster:
            return {}
        time.sleep(1.2)     # sessions tell their counts once a second
        after = self._now()
        found = {k: (after[k] - self.before[k]) / number for k in after if k != 'tables'}
        found['tables'] = {t: round((n - self.before['tables'].get(t, 0)) / number) for t, n in after['tables'].items() if n > self.before['tables'].get(t, 0)}
        said = self.session.say('SELECT 1;')
        for channel in CHANNELS:
            found['notify ' + channel] = sum('"%s"' % channel in line for line in said) / number
        self.session.close()
        return found


class Phase:
    """CPU and database of one part of the run, for each of so many things; printed as a line."""

    def __init__(self, installation, name, number):
        self.i, self.name, self.number = installation, name, number

    def __enter__(self):
        self.work = Work(self.i.stage)
        self.work.begin()
        self.before, self.began = Shares(), time.monotonic()
        return self

    def __exit__(self, kind, *_more):
        if kind:
            return
        self.seconds = time.monotonic() - self.began
        found = {'number': self.number, 'seconds': round(self.seconds, 2),
                 'cpu': {p: round(s, 6) for p, s in ((Shares() - self.before) / self.number).items()}}
        found.update({k: v if k == 'tables' else round(v, 3) for k, v in self.work.end(self.number).items()})
        self.i.result['phases'][self.name] = found
        print('%-11s %5d in %6.1f s   CPU each: %s' % (self.name, self.number, self.seconds, Shares(found['cpu']).table()))
        rest = ['%s %.1f' % (k, found[k]) for k in found if k not in ('number', 'seconds', 'cpu', 'tables')]
        if rest:
            print('%-11s database each: %s' % ('', ', '.join(rest)), flush=True)


class Installation:
    def __init__(self, options):
        self.o = options
        self.result = {'options': {k: v for k, v in vars(options).items() if k not in ('inside', 'json')}, 'phases': {}, 'date': time.strftime('%Y-%m-%d'),
                       'machine': machine()}

    # -- life --------------------------------------------------------------

    def start(self):
        o = self.o
        self.stage = Stage(users=o.newcomers, ca=True, ca_config={'smtp_tries': 1000}, postgresql={'fsync': o.fsync} if o.store == 'postgresql' else False)
        self.stage.start()
        self.p = Product(self.stage, certificate={'key-type': o.key}, departures={'interval': 0}, log={'level': 'info'},
                         ca={'connections': o.connections, 'trigger-grace': 60}, milter={'cache-size': 4000})
        self.p.init()
        self.fill()
        self.p.start('outbound', 'inbound')
        self.crowd = several.Crowd(self.p)
        self.crowd.start(o.enrollds)
        self.many = Enrolling(self.stage, self.p)
        self.many.behave(poll_retry_after=1, faults=self.faults())

    def faults(self):
        """The CA's latency, and its limit on orders."""
        found = {'*': {'count': -1, 'hang': self.o.ca_latency}} if self.o.ca_latency else {}
        if self.o.ca_limit:
            found['newOrder'] = [{'skip': self.o.ca_limit, 'count': 5, 'status': 429, 'type': 'rateLimited', 'detail': 'too many orders', 'retry_after': 10}]
        return found

    def fill(self):
        began = time.monotonic()
        namespace.run(os.environ['ENROLL_BUILD'] + '/tests/bench/bench_store', self.p.config_file, str(self.o.users), 'p256' if 'ec' in self.o.key else 'rsa2048')
        self.result['fill'] = {'seconds': round(time.monotonic() - began, 1), 'users': self.o.users}
        print('%d users with certificates are in the store after %.1f s' % (self.o.users, self.result['fill']['seconds']), flush=True)

    def stop(self):
        self.crowd.stop()
        self.p.stop()

    # -- mail ----------------------------------------------------------------

    @staticmethod
    def mail(sender):
        return mailtools.message(sender, 'x@outside.example', 'On a Monday', 'All work and no play makes Jack a dull boy, says the proverb.\n' * 60)

    def send(self, senders, sessions=4):
        """A mail from each, over so many sessions at one time."""
        trouble = []

        def work(mine):
            try:
                with mailtools.Session(SEND, source=RELAY) as session:
                    for sender in mine:
                        session.send(sender, ['x@outside.example'], self.mail(sender))
            except Exception as error:
                trouble.append(error)
        threads = [threading.Thread(target=work, args=(senders[n::sessions],)) for n in range(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if trouble:
            raise trouble[0]

    # -- phases --------------------------------------------------------------

    def mails(self):
        """Of users in the cache, and of users whose first mail it is."""
        o = self.o
        hot = min(100, o.users // 4)
        first = min(o.mails, o.users - hot)
        self.send([OLD_USER % n for n in range(hot)])
        with Phase(self, 'hot mail', o.mails):
            self.send([OLD_USER % (n % hot) for n in range(o.mails)])
        with Phase(self, 'first mail', first):
            self.send([OLD_USER % (hot + n) for n in range(first)])

    def others(self, ending):
        """Mails of those who have certificates, so many a second, until it is over; how many there were."""
        sent = 0
        with mailtools.Session(SEND, source=RELAY) as session:
            while not ending.wait(1 / self.o.rate):
                sender = OLD_USER % (sent % min(100, self.o.users))
                session.send(sender, ['x@outside.example'], self.mail(sender))
                sent += 1
        self.result['others'] = sent

    def morning(self):
        users = [self.many.user() for _n in range(self.o.newcomers)]
        ending = threading.Event()
        beside = threading.Thread(target=self.others, args=(ending,)) if self.o.rate else None
        with Phase(self, 'enrollment', len(users)):
            if beside:
                beside.start()
            self.arrive(users)
            self.many.wait_state(users, 'active', seconds=3600)
            ending.set()
            if beside:
                beside.join()
        self.waited(users)
        return users

    def arrive(self, users):
        began = time.time()
        self.began = began
        for user, at in zip(users, monday(len(users), self.o.hour)):
            time.sleep(max(0, began + at - time.time()))
            self.send([address(user)], 1)

    def waited(self, users):
        """How long from the first mail to a certificate in use, and when in the hour."""
        rows = self.p.sql("SELECT requested_at, state_since FROM enrollments WHERE state = 'active' AND requested_at >= ?", int(self.began) - 1)
        waits = sorted(b - a for a, b in rows)
        tenth = self.o.hour / 10
        table = []
        for n in range(10):
            came = sum(self.began + n * tenth <= a < self.began + (n + 1) * tenth for a, _b in rows)
            active = sum(b < self.began + (n + 1) * tenth for _a, b in rows)
            table.append((came, active))
        self.result['waits'] = {'median': statistics.median(waits), 'p90': waits[int(len(waits) * 0.9)], 'longest': waits[-1]}
        self.result['curve'] = table
        print('%-11s first mails in each tenth of the hour: %s' % ('', ' '.join('%d' % c for c, _a in table)))
        print('%-11s with a certificate at its end:         %s' % ('', ' '.join('%d' % a for _c, a in table)))
        print('%-11s from first mail to certificate: median %d s, 90 %% within %d s, the longest %d s' % ('', *self.result['waits'].values()), flush=True)

    def renew(self, users):
        def issued():
            return len(self.many.ca_log('issued'))
        wanted = issued() + len(users)
        with Phase(self, 'renewal', len(users)):
            for user in users:
                self.p.ctl('rotate', address(user))
            self.wait(lambda: issued() >= wanted, 'all are renewed')
            self.many.wait_state(users, 'active', seconds=900)

    def review(self, users):
        """What rules and directory say of each once a day."""
        mark = int(time.time())
        with Phase(self, 'daily look', len(users)):
            self.p.sql_changed("UPDATE enrollments SET next_at = 1 WHERE state = 'active' AND requested_at >= %d" % (int(self.began) - 1))
            self.wait(lambda: self.p.sql("SELECT COUNT(*) FROM enrollments WHERE state = 'active' AND next_at > 0 AND next_at < ?", mark)[0][0] == 0,
                      'all are looked at')

    def idle(self, seconds=10):
        """The quietest of three: in the others the database may have cleaned up."""
        found = []
        for _n in range(3):
            time.sleep(2)       # what was done before is told late
            with Phase(self, 'idle second', seconds):
                time.sleep(seconds)
            found.append(self.result['phases']['idle second'])
        self.result['phases']['idle second'] = min(found, key=lambda f: sum(f['cpu'].values()))
        if self.stage.postgresql:
            rows = self.stage.postgresql.cluster.rows("SELECT usename, count(*) FROM pg_stat_activity WHERE datname = 'enroll' AND usename <> 'enroll_super' GROUP BY 1")
            self.result['connections'] = {u.removeprefix('enroll_'): n for u, n in rows}
            print('%-11s connections: %s' % ('', ', '.join('%s %d' % item for item in self.result['connections'].items())))
        self.result['memory'] = {name: self.memory(name) for name in ('outbound', 'inbound')}
        self.result['memory']['enrolld'] = resident(self.crowd.daemons[0].pid)
        print('%-11s resident: %s' % ('', ', '.join('%s %.1f MiB' % (n, m) for n, m in self.result['memory'].items())), flush=True)

    def fan_out(self, listeners=40, number=300):
        """What it costs the database to tell one listener of one change."""
        if not self.stage.postgresql:
            return
        crowd = [stage_postgresql.Session(self.stage.postgresql.cluster) for _n in range(listeners)]
        for session in crowd:
            session.say('LISTEN bench_told;')
        one = stage_postgresql.Session(self.stage.postgresql.cluster)
        for name, channel in (('alone', 'bench_nobody'), ('told', 'bench_told')):
            with Phase(self, 'notify ' + name, number * (listeners if name == 'told' else 1)):
                for _n in range(number):
                    one.say('NOTIFY %s;' % channel)
        for session in crowd + [one]:
            session.close()

    def memory(self, name):
        return resident(self.p.daemons[name].pid)

    @staticmethod
    def wait(question, what):
        import service
        service.until(question, 900, what, every=0.3)

    def run(self):
        self.mails()
        users = self.morning()
        if self.o.renewals:
            self.renew(users[:self.o.renewals])
        self.review(users)
        self.idle()
        self.fan_out()
        self.complaints()

    def complaints(self):
        """What we did wrong, by the CA's word."""
        found = {}
        for record in self.many.violations():
            kind = '%s %s' % (record.get('kind', record['event']), record.get('endpoint', ''))
            found.setdefault(kind, []).append(record.get('early'))
        self.result['complaints'] = {kind: len(v) for kind, v in found.items()}
        for kind, early in found.items():
            print('the CA complains %d times: %s%s' % (len(early), kind, ', %s s early' % early[:8] if any(early) else ''), flush=True)


def resident(pid):
    """MiB."""
    with open('/proc/%d/status' % pid) as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith('VmRSS:'))


def machine():
    """Its kind, no name."""
    with open('/proc/cpuinfo') as file:
        model = next((line.partition(':')[2].strip() for line in file if line.startswith('model name')), platform.machine())
    return '%d x %s' % (os.cpu_count(), model)


def arguments(argv=None):
    parser = argparse.ArgumentParser(prog='tests/bench/run.sh --installation', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--users', type=int, default=1000, help='who have certificates from the start')
    parser.add_argument('--newcomers', type=int, default=60)
    parser.add_argument('--store', choices=('sqlite', 'postgresql'), default='sqlite')
    parser.add_argument('--fsync', action='store_true', help='PostgreSQL waits for its disk, as it has to in earnest')
    parser.add_argument('--hour', type=float, default=60, help='seconds that the hour after a Monday start lasts here')
    parser.add_argument('--mails', type=int, default=400, help='of those who have certificates, before the hour')
    parser.add_argument('--rate', type=float, default=2, help='their mails a second within it')
    parser.add_argument('--renewals', type=int, default=20)
    parser.add_argument('--enrollds', type=int, default=1, help='how many enrolld, on one host (more than one: PostgreSQL)')
    parser.add_argument('--key', default='ec:p256', help='key type of certificates')
    parser.add_argument('--connections', type=int, default=4, help='of one enrolld to the CA')
    parser.add_argument('--ca-latency', type=float, default=0.2, help='seconds before each answer of the CA')
    parser.add_argument('--ca-limit', type=int, default=0, help='orders after which the CA says "too many" for a while')
    parser.add_argument('--json', metavar='FILE', help='all figures')
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.enrollds > 1 and options.store == 'sqlite':
        parser.error('a file has one enrolld')
    if options.users < 100 or not 0 <= options.renewals <= options.newcomers:
        parser.error('at least 100 users; not more renewals than newcomers')
    return options


def main():
    options = arguments()
    if not options.inside:
        if options.json:
            options.json = os.path.abspath(options.json)
        return inside.run(__file__)
    installation = Installation(options)
    installation.start()
    try:
        installation.run()
    finally:
        installation.stop()
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(installation.result, file, indent=1)
            file.write('\n')
    return 0



if __name__ == '__main__':
    sys.exit(main())
