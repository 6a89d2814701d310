"""Stores of many users, in either engine, and what they cost who opens and asks them.  No mail, no CA.

    tests/bench/run.sh --stores [--users 100000] [--own 20000] [--store postgresql] [--write] [--quick]

prints, one line a figure, start and memory of the outbound instance, look-ups (bench_lookup), and what enrolld asks in the background
(bench_questions; --write: also what changes everybody's rows), each against a store of 100 users in the same run.
"""

import argparse
import os
import re
import shutil
import statistics
import time

import inside  # first: it says where the others are
import gateway
import namespace
import service
from gateway import BIN, DIR, MIB, Gateway, listening
from namespace import run
from stage_postgresql import ACCOUNTS, postgresql

FEW, HOT = 100, 1000
ROLE_OF = {'few': 'enroll_few', 'many': 'enroll_many'}
SERVER = {'shared_buffers': '256MB', 'max_wal_size': '4GB'}


class Stores(Gateway):
    """`engine`: 'sqlite' or 'postgresql'.  Stores of a name: make(name, users)."""

    def __init__(self, build, disk, engine):
        super().__init__(build, disk)
        self.engine, self.cluster = engine, None
        self.socket_folder = DIR + '/sockets'

    def start(self):
        shutil.rmtree(DIR, ignore_errors=True)      # another engine's
        os.makedirs(BIN)
        os.makedirs(self.spool)
        os.chmod(self.spool, 0o1777)
        os.makedirs(self.socket_folder)
        run('chown', 'enroll-out:postfix', self.socket_folder)
        os.chmod(self.socket_folder, 0o2710)
        for name in gateway.PROGRAMS:
            shutil.copy2(os.path.join(self.build, name), BIN)
        if self.engine == 'postgresql':
            self.cluster = postgresql.Cluster(self.disk + '/postgresql', accounts=ACCOUNTS, group='enroll-milter', settings=SERVER).start()

    def stop(self):
        if self.cluster:
            self.cluster.destroy()

    def config(self, name, socket):
        found = super().config(name, socket)
        found['milter']['cache-size'] = 4 * HOT
        if self.cluster:
            found['store'] = {'type': 'postgresql', 'connection': self.cluster.connection(database=ROLE_OF[name])}
        else:
            found['store']['path'] = '%s/%s.db' % (self.file_folder(name), name)
        return found

    def file_folder(self, name):
        return '%s/%s-store' % (self.disk, name)

    def make(self, name, users, own=0):
        """Seconds to fill it; own: so many have certificates of their own (0 = all)."""
        os.makedirs(self.file_folder(name))
        run('chown', 'enrolld:enroll-milter', self.file_folder(name))
        os.chmod(self.file_folder(name), 0o2770)
        if self.cluster:
            self.cluster.database(ROLE_OF[name])
        began = time.monotonic()
        self.make_store(self.config_path(name), self.config(name, 'unix:%s/product-%s.sock' % (self.socket_folder, name)),
                        '%d:%d' % (users, own) if own else users)
        self.product(name)
        return time.monotonic() - began

    def octets(self, name):
        """Of the store where it lies."""
        if self.cluster:
            return int(self.cluster.psql("SELECT pg_database_size('%s')" % ROLE_OF[name]))
        return sum(os.path.getsize('%s/%s' % (self.file_folder(name), n)) for n in os.listdir(self.file_folder(name)))

    def begin(self, name):
        """(CPU seconds, seconds, resident octets) of an outbound instance until it listens."""
        milter, began = self.milters['product-' + name], time.monotonic()
        milter.start()
        service.until(lambda: milter.check() and listening('%s/product-%s.sock' % (self.socket_folder, name)), 120, 'the milter listens', every=0.005,
                      say=milter.tail)
        found = self.cpu('product-' + name), time.monotonic() - began, self.memory('product-' + name, 'VmRSS')
        milter.stop()
        return found


def line(name, value, unit, baseline):
    return 'bench=%s value=%.3f unit=%s baseline=%.3f ratio=%.3f' % (name, value, unit, baseline, value / baseline if baseline else 0)


def starts(stores, rounds=5):
    """Lines: what it costs the outbound instance to begin."""
    found = {'few': [], 'many': []}
    for n in range(rounds):
        for name in sorted(found, reverse=n % 2 == 1):
            found[name].append(stores.begin(name))
    for at, (what, unit, factor) in enumerate((('start-cpu', 'ms', 1e3), ('start-time', 'ms', 1e3), ('start-memory', 'MiB', 1 / MIB))):
        few, many = (factor * statistics.median(f[at] for f in found[name]) for name in ('few', 'many'))
        yield line(what, many, unit, few)


def lookups(stores, users, quick=False):
    return stores.program('bench_lookup', *(['--quick'] if quick else []), stores.config_path('few'), stores.config_path('many'), str(users),
                          user='enroll-out').splitlines()


def questions(stores, write=False):
    return stores.program('bench_questions', *(['--write'] if write else []), stores.config_path('few'), stores.config_path('many'), user='enrolld').splitlines()


def figures(lines):
    """{name: (value, baseline, ratio)}"""
    found = {}
    for text in lines:
        m = re.fullmatch(r'bench=(\S+) value=(\S+) unit=\S+ baseline=(\S+) ratio=(\S+)', text)
        found[m.group(1)] = tuple(float(m.group(n)) for n in (2, 3, 4))
    return found


def main():
    parser = argparse.ArgumentParser(prog='tests/bench/run.sh --stores', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--users', type=int, default=100000)
    parser.add_argument('--own', type=int, default=0, help='only so many have a certificate of their own: a million is there sooner')
    parser.add_argument('--store', choices=('sqlite', 'postgresql'), default='sqlite')
    parser.add_argument('--write', action='store_true', help='also what changes the rows of everybody')
    parser.add_argument('--quick', action='store_true', help='fewer rounds')
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        return inside.run(__file__)
    namespace.prepare()
    stores = Stores(os.environ['ENROLL_BUILD'], options.inside, options.store)
    stores.start()
    stores.make('few', FEW)
    seconds = stores.make('many', options.users, options.own)
    few, many = stores.octets('few'), stores.octets('many')
    print('bench=fill value=%.3f unit=s baseline=0.000 ratio=0.000' % seconds, flush=True)
    print(line('octets-a-user', (many - few) / (options.users - FEW), 'B', few / FEW), flush=True)
    for text in starts(stores):
        print(text, flush=True)
    for text in lookups(stores, options.own or options.users, options.quick) + questions(stores, options.write):
        print(text, flush=True)
    stores.stop()
    return 0


__all__ = ['Stores', 'starts', 'lookups', 'questions', 'figures']

if __name__ == '__main__':
    raise SystemExit(main())
