#!/usr/bin/python3
"""The tables of doc/scaling.md, computed from measured unit costs (units.json, by tests/bench/run.sh --units) and the assumptions below.

    /usr/bin/python3 tests/bench/scaling.py             compares the page with what is computed; the exit code says whether it fits
    /usr/bin/python3 tests/bench/scaling.py --write     writes the tables into the page
    /usr/bin/python3 tests/bench/scaling.py --users 40000 --gateways 4 --orders 5000      your installation
"""

import argparse
import json
import math
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'doc', 'scaling.md')

# ---- assumptions: each stands in the page ---------------------------------------------------------------------------------

MAILS = 30              # a user sends on a working day
BUSIEST = 0.15          # of them in the busiest hour
WORKDAYS = 220
COMMIT = 0.002          # seconds until a commit is on disk, with a standby that has it too
CA_SECONDS = 0.5        # an answer of the CA takes
CA_REQUESTS = 8         # to it for one certificate
CA_CONNECTIONS = 4      # ca.connections
EVENTS = 100000         # milter.mail-events
USERS = (1000, 100000, 1000000)
GATEWAYS = (1, 10, 50)
ORDERS = (1000, 10000, 100000)
DAYS = (90, 365, 825)
RENEWED_AT = 2 / 3
KEY = 'rsa:2048'


def load():
    with open(HERE + '/units.json') as file:
        return json.load(file)


class Model:
    def __init__(self, units):
        self.u = units
        self.pg = units['postgresql']

    # -- one of each -------------------------------------------------------

    def enrolld_seconds(self):
        """CPU of enrolld for one certificate, with a key of the usual kind; measured with P-256."""
        return self.pg['enrollment']['enrolld'] - self.u['key']['ec:p256'] + self.u['key'][KEY]

    def mail_seconds(self):
        """CPU of the outbound instance for one mail of somebody in its cache, signed with RSA-2048; measured with P-256."""
        return self.pg['hot']['outbound'] + self.pg['lookup']['signature']

    def gateway_seconds(self):
        """With Postfix and OpenDKIM."""
        return self.mail_seconds() + self.pg['hot']['postfix'] + self.pg['hot']['dkim']

    # -- many --------------------------------------------------------------

    @staticmethod
    def peak(users):
        """Mails a second in the busiest hour."""
        return users * MAILS * BUSIEST / 3600

    @staticmethod
    def renewals_a_day(users, days):
        return users / (days * RENEWED_AT)

    def looks_a_second(self, users):
        return users / 86400

    def enrollments_a_second(self, gateways):
        """{what: how many a second it allows} with that many gateways, each with an enrolld of two processors, and a database of eight."""
        serial = self.pg['enrollment']['told'] + self.pg['enrollment']['work'] + 2
        listeners = 2 * gateways
        told = self.pg['enrollment']['told'] * listeners * self.pg['listener'] + self.pg['enrollment']['work'] * gateways * self.pg['listener']
        return {
            'answers of the CA': gateways * CA_CONNECTIONS / (CA_REQUESTS * CA_SECONDS),
            'CPU of enrolld': gateways * 2 / self.enrolld_seconds(),
            'CPU of the database': 8 / (self.pg['enrollment']['database'] + told),
            'commits one after the other': 1 / (serial * COMMIT),
        }

    def first_wall(self, gateways):
        return min(self.enrollments_a_second(gateways).items(), key=lambda item: item[1])

    def database_cores(self, users, gateways):
        """At the busiest hour of a day with nothing special: mails look up once in a while, people are looked at, enrolld idles."""
        renewals = self.renewals_a_day(users, 365) / 86400
        asked = self.peak(users) * self.looked_up_again(users, gateways)
        return (self.peak(users) * self.pg['hot']['database'] + asked * self.pg['lookup']['find'] + self.looks_a_second(users) * self.pg['look']['database']
                + renewals * self.pg['renewal']['database'] + gateways * self.pg['idle']['database'])

    def looked_up_again(self, users, gateways):
        """The share of mails that ask the store: a change of any credential has each gateway look again at the next mail of everybody it knows."""
        changes = self.renewals_a_day(users, 365) / 86400 * self.pg['renewal']['told']
        a_user = self.peak(users) / users / gateways
        return changes / (changes + a_user) if changes else 0

    def octets(self, users):
        """Of a database a year after the roll-out: certificates of 365 days were renewed once and a half."""
        enrollment, renewal = self.pg['enrollment']['octets'], self.pg['renewal']['octets']
        return users * (enrollment + renewal * 365 / (365 * RENEWED_AT)) + EVENTS * self.pg['hot']['octets']


def number(value):
    """Three digits, as people write them."""
    if value == 0:
        return '0'
    digits = 2 - math.floor(math.log10(abs(value)))
    value = round(value, digits)
    return '{:,}'.format(int(value)) if digits <= 0 or value == int(value) else '%.*f' % (digits, value)


def size(octets):
    for unit in ('B', 'KB', 'MB', 'GB', 'TB'):
        if octets < 1000 or unit == 'TB':
            return '%s %s' % (number(octets), unit)
        octets /= 1000


def ms(seconds):
    return '%s ms' % number(seconds * 1000)


def days(value):
    for unit, factor in (('days', 1), ('hours', 24), ('minutes', 24 * 60), ('seconds', 86400)):
        if value * factor >= 2 or unit == 'seconds':
            return '%s %s' % (number(value * factor), unit)


def table(head, rows):
    lines = ['| %s |' % ' | '.join(head), '|%s' % (' --- |' + ' ---: |' * (len(head) - 1))]
    return '\n'.join(lines + ['| %s |' % ' | '.join(str(c) for c in row) for row in rows])


# ---- the tables -----------------------------------------------------------------------------------------------------------

def table_units(m):
    rows = []
    for name, key in (('mail of somebody in the cache', 'hot'), ('first mail since the start', 'first'), ('enrollment', 'enrollment'), ('renewal', 'renewal'),
                      ('daily look at rules and directory', 'look'), ('a second of rest', 'idle')):
        pg, lite = m.pg[key], m.u['sqlite'][key]
        rows.append([name] + [ms(pg[p]) for p in ('outbound', 'inbound', 'enrolld', 'database', 'postfix')] + [number(pg['transactions']), size(pg['wal'])]
                    + [ms(lite['outbound'] if key in ('hot', 'first') else lite['enrolld'])])
    head = ['one', 'outbound', 'inbound', 'enrolld', 'PostgreSQL', 'Postfix', 'transactions', 'WAL', 'SQLite: outbound or enrolld']
    return table(head, rows)


def table_machine(m):
    key = m.u['key']
    return ('Measured %s on %s, certificates with P-256 keys. A key of another kind adds to an enrollment: %s for `rsa:2048`, %s for `rsa:3072` '
            '(P-256: %s); an RSA-2048 signature adds %s to a mail. Look-up of a user in the cache: %s; what the store answers: %s with PostgreSQL, %s with '
            'SQLite; memory of a cached user: %s.' % (
                m.u['date'], m.u['machine'], ms(key['rsa:2048']), ms(key['rsa:3072']), ms(key['ec:p256']), ms(m.pg['lookup']['signature']),
                '%s µs' % number(m.pg['lookup']['hot'] * 1e6), '%s µs' % number(m.pg['lookup']['find'] * 1e6),
                '%s µs' % number(m.u['sqlite']['lookup']['find'] * 1e6), size(m.pg['lookup']['cached'] * 1024)))


def table_mail(m):
    rows = []
    for users in USERS:
        for gateways in GATEWAYS:
            peak = m.peak(users)
            rows.append(['%s' % number(users), gateways, number(peak), number(peak * m.mail_seconds() / gateways), number(peak * m.gateway_seconds() / gateways),
                         '%d %%' % round(100 * m.looked_up_again(users, gateways)), number(m.database_cores(users, gateways))])
    return table(['users', 'gateways', 'mails a second', 'cores a gateway, outbound instance', 'with Postfix and OpenDKIM', 'mails that ask the database',
                  'cores of the database'], rows)


def table_connections(m):
    c = m.pg['connections']
    one = sum(c.values())
    rows = [[g] + [c.get(n, 0) * g for n in ('outbound', 'inbound', 'enrolld')] + [one * g] for g in GATEWAYS]
    return table(['gateways', 'outbound', 'inbound', 'enrolld', 'at most'], rows)


def table_size(m):
    rows = []
    for users in USERS:
        wal = users * m.pg['enrollment']['wal']
        rows.append([number(users), size(users * m.pg['enrollment']['octets']), size(m.octets(users)),
                     size(m.renewals_a_day(users, 365) * m.pg['renewal']['octets'] * 365), size(wal),
                     size(m.renewals_a_day(users, 365) * m.pg['renewal']['wal'] + users * m.pg['look']['wal'] + users * MAILS * m.pg['hot']['wal'])])
    return table(['users', 'after the roll-out', 'a year later', 'growth a year', 'WAL of the roll-out', 'WAL of a working day'], rows)


def table_tables(m):
    found = {name: (m.pg['enrollment']['tables'].get(name, 0), m.pg['renewal']['tables'].get(name, 0)) for name in m.pg['enrollment']['tables']}
    rows = sorted(found.items(), key=lambda item: -item[1][0])
    return table(['table, with its indexes', 'an enrollment adds', 'a renewal adds'], [[n, size(e) if e else '0', size(r) if r else '0'] for n, (e, r) in rows[:7]])


def table_quota(m):
    rows = []
    for users in USERS:
        row = [number(users)]
        row += [days(users / orders) for orders in ORDERS]
        row += [number(m.renewals_a_day(users, d)) for d in DAYS]
        rows.append(row)
    return table(['users'] + ['roll-out at %s orders a day' % number(o) for o in ORDERS] + ['renewals a day, %d days' % d for d in DAYS], rows)


def table_quota_users(m):
    rows = [[number(o)] + [number(o * d * RENEWED_AT) for d in DAYS] for o in ORDERS]
    return table(['orders a day'] + ['users, %d days' % d for d in DAYS], rows)


def table_walls(m):
    rows = []
    for gateways in GATEWAYS:
        walls = m.enrollments_a_second(gateways)
        name, least = m.first_wall(gateways)
        rows.append([gateways] + [number(walls[w]) for w in walls] + [name] + [days(users / least / 86400) for users in USERS])
    walls = list(m.enrollments_a_second(1))
    return table(['gateways'] + walls + ['the first wall'] + ['%s users take' % number(u) for u in USERS], rows)


def table_notify(m):
    rows = []
    for gateways in GATEWAYS:
        _wall, rate = m.first_wall(gateways)
        told, work = m.pg['enrollment']['told'] * rate, m.pg['enrollment']['work'] * rate
        wakes = told * 2 * gateways + (told + work) * gateways      # enrolld listens to both
        rows.append([gateways, number(rate), number(told), number(work), number(wakes), number(wakes * m.pg['listener'])])
    return table(['gateways', 'enrollments a second', 'changes of credentials told', 'of work', 'processes woken', 'cores of the database'], rows)


def tables(m):
    return {name.removeprefix('table_'): make(m) for name, make in globals().items() if name.startswith('table_')}


# ---- the page -------------------------------------------------------------------------------------------------------------

def computed(text, found):
    """The page with these tables; every mark has one and every table a mark."""
    marks = re.findall(r'<!-- ([a-z_]+): by tests/bench/scaling.py -->', text)
    if sorted(marks) != sorted(found):
        raise SystemExit('doc/scaling.md has marks %s, computed are %s' % (sorted(marks), sorted(found)))
    for name, content in found.items():
        text = re.sub(r'(<!-- %s: by tests/bench/scaling.py -->\n).*?(<!-- end -->)' % name, lambda m, c=content: m.group(1) + c + '\n' + m.group(2), text, flags=re.S)
    return text


def yours(m, options):
    users, gateways = options.users, options.gateways
    wall, rate = m.first_wall(gateways)
    print('mails a second in the busiest hour: %s; cores a gateway %s, of the database %s' % (
        number(m.peak(users)), number(m.peak(users) * m.gateway_seconds() / gateways), number(m.database_cores(users, gateways))))
    print('connections: %d; database: %s after the roll-out, %s a year later' % (
        gateways * sum(m.pg['connections'].values()), size(users * m.pg['enrollment']['octets']), size(m.octets(users))))
    print('roll-out: %s by the CA\'s %s orders a day; else %s (%s)' % (
        days(users / options.orders), number(options.orders), days(users / rate / 86400), wall))
    print('renewals a day: ' + ', '.join('%s (%d days)' % (number(m.renewals_a_day(users, d)), d) for d in DAYS))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--users', type=int)
    parser.add_argument('--gateways', type=int, default=1)
    parser.add_argument('--orders', type=int, default=1000, help='that the CA takes a day')
    options = parser.parse_args()
    m = Model(load())
    if options.users:
        yours(m, options)
        return 0
    with open(PAGE, encoding='utf-8') as file:
        before = file.read()
    after = computed(before, tables(m))
    if options.write:
        with open(PAGE, 'w', encoding='utf-8') as file:
            file.write(after)
    elif before != after:
        print('the tables of doc/scaling.md are others than computed: /usr/bin/python3 tests/bench/scaling.py --write')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
