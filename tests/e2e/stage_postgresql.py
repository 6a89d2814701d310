"""PostgreSQL as the product's store: tests/postgresql.py in the stage's namespace, with the accounts of the stage.

By its Unix socket, which the product's group alone may come to, each account is the role that it has in the product.
"""

import contextlib
import os
import subprocess
import sys
import time

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import postgresql  # noqa: E402
from namespace import BASE  # noqa: E402

DIR = BASE + '/postgresql'
DATABASE = 'enroll'
# Who opens the store as what: the account for keys exports and imports them, enrolld's makes the store and brings it forward.
ACCOUNTS = {'enroll-out': ('outbound', 'admin'), 'enroll-in': ('inbound',), 'enrolld': ('enrolld', 'admin', 'owner', 'outbound'),
            'helpdesk1': ('helpdesk',)}


def wanted():
    """Whether this run's stores are in PostgreSQL."""
    return os.environ.get('ENROLL_TEST_STORE') == 'postgresql'


class Postgresql:
    """stage.postgresql; .cluster is what can be stopped, killed, frozen, given a replica.  options: of Cluster."""

    def __init__(self, **options):
        self.cluster = postgresql.Cluster(DIR, accounts=ACCOUNTS, group='enroll-milter', **options)

    def start(self):
        self.cluster.start(wait=False)

    def wait_ready(self):
        self.cluster.wait()

    def fresh(self):
        """An empty database; nobody is left in the one before."""
        self.cluster.psql('DROP DATABASE IF EXISTS %s WITH (FORCE)' % DATABASE)
        self.cluster.database(DATABASE)

    def connection(self, **more):
        return self.cluster.connection(database=DATABASE, **more)

    def there(self):
        """Whether a store has been made in it."""
        return self.cluster.psql("SELECT to_regclass('enroll.meta') IS NOT NULL", DATABASE) == 't'

    # -- behind the programs' back -----------------------------------------

    def sql(self, text, values):
        text = postgresql.filled(text, values) if values else text
        if text.lstrip().upper().startswith('SELECT'):
            return self.cluster.rows(text, DATABASE, 'SET search_path = enroll;')
        self.run(text)
        return []

    def run(self, *texts):
        """All of it or nothing."""
        self.cluster.psql('\n'.join(['SET search_path = enroll;', 'BEGIN;'] + [t.rstrip(' ;') + ';' for t in texts] +
                                    ([COUNTERS] if any('INSERT' in t for t in texts) else []) + ['COMMIT;']), DATABASE)

    def changed(self, text):
        """How many rows the last statement changed, while nobody claims one."""
        said = self.cluster.psql('SET search_path = enroll; BEGIN; LOCK TABLE enrollments IN EXCLUSIVE MODE; %s; COMMIT;' % text, DATABASE, quiet=False)
        return int([line for line in said.splitlines() if line.startswith(('UPDATE ', 'INSERT ', 'DELETE '))][-1].split()[-1])

    @contextlib.contextmanager
    def locked(self):
        """Nobody else can write; readers go on.  All tables at once or none, so that nobody waits in a circle."""
        tables = [r[0] for r in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'enroll'", ())]
        session = Session(self.cluster)
        try:
            session.until('BEGIN; LOCK TABLE %s IN EXCLUSIVE MODE NOWAIT;' % ', '.join('enroll.' + t for t in tables), 'ROLLBACK;')
            yield
        finally:
            session.close()

    @contextlib.contextmanager
    def away(self):
        """The server is gone."""
        self.cluster.stop('immediate')
        try:
            yield
        finally:
            self.cluster.start()


# Rows put in with ids of their own do not move the counters of ids along.
COUNTERS = """DO $$ DECLARE c record; BEGIN
 FOR c IN SELECT table_name AS t, column_name AS n FROM information_schema.columns WHERE table_schema = 'enroll'
  AND pg_get_serial_sequence(quote_ident(table_schema) || '.' || quote_ident(table_name), column_name) IS NOT NULL LOOP
  EXECUTE format('SELECT setval(s, m) FROM (SELECT pg_get_serial_sequence(%L, %L) AS s, max(%I) AS m FROM enroll.%I) AS q
   WHERE m > coalesce(pg_sequence_last_value(s::regclass), 0)', 'enroll.' || c.t, c.n, c.n, c.t);
 END LOOP; END $$;"""


class Session:
    """A psql that stays connected."""

    def __init__(self, cluster):
        self.process = subprocess.Popen([postgresql.BIN + '/psql', *cluster._where(), '-XAtq', '-d', DATABASE], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=postgresql.environment())

    def say(self, text):
        """What it answers, line by line."""
        self.process.stdin.write(text + "\n\\echo over\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == 'over\n':
                return lines
            lines.append(line)
        raise postgresql.Trouble('psql has ended: ' + ''.join(lines))

    def until(self, text, otherwise):
        """Again and again, until it is no error."""
        end = time.monotonic() + 60
        while True:
            said = self.say(text)
            if not any('ERROR' in line for line in said):
                return
            if time.monotonic() > end:
                raise postgresql.Trouble(''.join(said))
            self.say(otherwise)
            time.sleep(0.01)

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
