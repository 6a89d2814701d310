"""Unit costs for doc/scaling.md, measured on this machine: tests/bench/units.json.

    tests/bench/run.sh --units [--quick] [--output FILE]

runs the installation and the stores of many users once with each store, and keeps of them what tests/bench/scaling.py computes with.  All is CPU time,
octets and counts; on the clock nothing is measured, so that a busy machine is no great matter.  Takes a quarter of an hour; --quick is for trying it.
Then: /usr/bin/python3 tests/bench/scaling.py --write
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = HERE + '/units.json'
PARTS = {'outbound': 'outbound', 'inbound': 'inbound', 'enrolld': 'enrolld', 'database': 'PostgreSQL', 'postfix': 'Postfix', 'dkim': 'OpenDKIM',
         'ca': 'test CA'}
PHASES = {'hot mail': 'hot', 'first mail': 'first', 'enrollment': 'enrollment', 'renewal': 'renewal', 'daily look': 'look', 'idle second': 'idle'}


def bench(program, *args):
    """What one of our programs prints."""
    print('# %s %s' % (program, ' '.join(args)), flush=True)
    done = subprocess.run([sys.executable, '-B', '%s/%s' % (HERE, program), *args], stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return done.stdout


def phase(found):
    """CPU seconds by part, and what the database did, for each."""
    unit = {name: round(found['cpu'].get(part, 0), 6) for name, part in PARTS.items()}
    unit.update({k: found[k] for k in ('transactions', 'wal', 'octets', 'rows', 'tables') if k in found})
    unit.update({'told': found['notify enroll_credentials'], 'work': found['notify enroll_work']} if 'notify enroll_work' in found else {})
    return unit


def installation(engine, quick):
    with tempfile.NamedTemporaryFile('r', suffix='.json') as file:
        size = ('1000', '20', '20', '200', '5') if quick else ('20000', '200', '60', '1500', '60')
        options = [o for pair in zip(('--users', '--newcomers', '--hour', '--mails', '--renewals'), size) for o in pair]
        bench('installation.py', '--store', engine, '--rate', '0', '--ca-latency', '0', '--json', file.name, *options)
        return json.load(file)


def lookups(engine, quick):
    import stores       # of this folder, which is in the path by now
    lines = bench('stores.py', '--users', '2000' if quick else '20000', '--store', engine, '--quick').splitlines()
    found = stores.figures(lines)
    return {'hot': found['lookup-hot'][0] / 1e6, 'first': found['lookup-first'][0] / 1e6, 'find': found['lookup-find'][0] / 1e6,
            'cached': found['lookup-cached'][0], 'octets': found['octets-a-user'][0], 'signature': found['lookup-miss'][1] / 1e6,
            'figures': found['figures'][0] / 1e3 / (2000 if quick else 20000)}


def key_seconds():
    """To make a key of each kind, the mean of some."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    found = {}
    for name, make, n in (('rsa:2048', lambda: rsa.generate_private_key(65537, 2048), 40), ('rsa:3072', lambda: rsa.generate_private_key(65537, 3072), 20),
                          ('ec:p256', lambda: ec.generate_private_key(ec.SECP256R1()), 200)):
        began = time.process_time()
        for _n in range(n):
            make()
        found[name] = round((time.process_time() - began) / n, 6)
    return found


def measured(quick):
    sys.path.insert(0, HERE)
    import inside
    units = {'key': key_seconds()}
    assert inside
    for engine in ('postgresql', 'sqlite'):
        run = installation(engine, quick)
        units.update(date=run['date'], machine=run['machine'])
        unit = units[engine] = {name: phase(run['phases'][p]) for p, name in PHASES.items()}
        unit.update(memory=run['memory'], lookup=lookups(engine, quick))
        if engine == 'postgresql':
            unit['connections'] = run['connections']
            alone, told = (run['phases']['notify ' + n]['cpu'].get('PostgreSQL', 0) for n in ('alone', 'told'))
            unit['listener'] = round(max(0, told - alone / 40), 7)
    return units


def main():
    parser = argparse.ArgumentParser(prog='tests/bench/run.sh --units', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--output', default=FILE)
    options = parser.parse_args()
    units = measured(options.quick)
    with open(options.output, 'w') as file:
        json.dump(units, file, indent=1)
        file.write('\n')
    print('written: ' + os.path.relpath(options.output))
    return 0


if __name__ == '__main__':
    sys.exit(main())
