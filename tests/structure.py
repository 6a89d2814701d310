#!/usr/bin/python3
"""The house keeps its shape: who may include whom, names, sizes.

    structure.py [--tree FOLDER]   checks the tree, then that each rule can fail

One line a rule; the last line is "N passed, N failed, N skipped".
"""

import argparse
import os
import re
import sys
import tempfile

# Includes point one way: a room may use those on its right, and of them the public header only.
ROOMS = {
    'base': (),
    'sandbox': ('base',),
    'metrics': ('base',),
    'dns': ('base', 'metrics'),
    'store': ('base', 'metrics'),
    'ldap': ('base', 'metrics'),
    'policy': ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap'),
    'milter': ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap', 'policy'),
    'enroll': ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap', 'policy'),
    'ctl': ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap', 'policy', 'milter', 'enroll'),
}
PUBLIC = {'base/base.h', 'sandbox/sandbox.h', 'metrics/metrics.h', 'dns/dns.h', 'store/store.h', 'ldap/directory.h', 'policy/policy.h', 'enroll/enroll.h'}

# A library with a room of its own is used nowhere else: the mail path must not meet HTTP, nor the CA client libmilter.
LIBRARIES = {
    'libmilter/': ('milter',),
    'opendkim/': ('milter',),
    'gmime/': ('milter',),
    'curl/': ('enroll',),
    'jose/': ('enroll',),
    'libesmtp.h': ('enroll',),
    'auth-client.h': ('enroll',),
    'sqlite3.h': ('store',),
    'libpq-fe.h': ('store',),
    'ldap.h': ('ldap',),
    'lber.h': ('ldap',),
    'unbound.h': ('dns',),
    'libconfig.h': ('policy',),
    'microhttpd.h': ('metrics',),
    'seccomp.h': ('sandbox',),
}
LONG = 800
REASON = 'over 800 lines because'
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def files(tree, folders, suffixes):
    """Paths relative to the tree, in order."""
    for folder in folders:
        for at, below, names in os.walk(os.path.join(tree, folder)):
            below[:] = sorted(n for n in below if not n.startswith(('.', '__')))
            for name in sorted(names):
                if name.endswith(suffixes):
                    yield os.path.relpath(os.path.join(at, name), tree)


def read(tree, path):
    with open(os.path.join(tree, path), encoding='utf-8', errors='replace') as f:
        return f.read()


def includes(tree):
    """(path, room, '<' or '"', what) for each include of a room's file; tests may include what they test."""
    for path in files(tree, ROOMS, ('.c', '.h')):
        for kind, what in INCLUDE.findall(read(tree, path)):
            yield path, path.split('/')[0], kind, what


def direction(tree):
    """includes go one way: base < sandbox, metrics < dns, store, ldap < policy < milter, enroll < ctl"""
    for path, room, kind, what in includes(tree):
        if kind == '<' or what == 'config.h':
            continue
        other = what.split('/')[0]
        if '/' not in what:
            yield '%s includes "%s": write it with its room, "%s/%s"' % (path, what, room, what)
        elif other != room and other not in ROOMS[room]:
            yield '%s includes "%s": %s/ may use %s' % (path, what, room, ', '.join(ROOMS[room]) or 'nothing')


def private_headers(tree):
    """no room includes another room's private header"""
    for path, room, kind, what in includes(tree):
        other = what.split('/')[0]
        if other in ROOMS and other != room and what not in PUBLIC:
            yield '%s includes %s, which is private to %s/' % (path, what, other)


def libraries(tree):
    """each library stays in its room: no HTTP in milter/, no libmilter in enroll/"""
    for path, room, _kind, what in includes(tree):
        for prefix, allowed in LIBRARIES.items():
            if what.startswith(prefix) and room not in allowed:
                yield '%s includes %s, which belongs to %s/' % (path, what, ', '.join(allowed))


def config_first(tree):
    """every source includes config.h before anything else"""
    for path in files(tree, (*ROOMS, 'tests'), ('.c',)):
        found = INCLUDE.findall(read(tree, path))
        if not found or found[0][1] != 'config.h':
            yield '%s does not include config.h first: large files and feature macros depend on it' % path


def guards(tree):
    """header guards are named after the path"""
    for path in files(tree, (*ROOMS, 'tests'), ('.h',)):
        guard = 'ENROLL_' + re.sub(r'[^A-Za-z0-9]', '_', path).upper()
        if not re.search(r'^#ifndef %s\n#define %s$' % (guard, guard), read(tree, path), re.M):
            yield '%s has no guard %s' % (path, guard)


def sizes(tree):
    """a file over 800 lines has its reason in its head comment"""
    for path in files(tree, (*ROOMS, 'tests', 'examples', 'doc', 'systemd'), ('.c', '.h', '.py', '.sh')):
        lines = read(tree, path).splitlines()
        if len(lines) > LONG and REASON not in '\n'.join(lines[:40]):
            yield '%s has %d lines: split it, or say in its head comment "%s ..."' % (path, len(lines), REASON)


def listed(tree):
    """every C file is listed in a local.mk, or make dist would lose it"""
    text = ''.join(read(tree, path) for path in files(tree, (*ROOMS, 'tests'), ('.mk',)))
    words = set(text.split())
    for path in files(tree, (*ROOMS, 'tests'), ('.c', '.h')):
        if path not in words:
            yield '%s is in no local.mk' % path


RULES = (direction, private_headers, libraries, config_first, guards, sizes, listed)


# ---- each rule can fail: a small tree that is in order, and one change to it at a time

CLEAN = {
    'base/base.h': '#ifndef ENROLL_BASE_BASE_H\n#define ENROLL_BASE_BASE_H\n#endif\n',
    'base/log.c': '#include "config.h"\n#include "base/base.h"\n',
    'enroll/enroll.h': '#ifndef ENROLL_ENROLL_ENROLL_H\n#define ENROLL_ENROLL_ENROLL_H\n#include "base/base.h"\n#endif\n',
    'enroll/http.h': '#ifndef ENROLL_ENROLL_HTTP_H\n#define ENROLL_ENROLL_HTTP_H\n#endif\n',
    'enroll/http.c': '#include "config.h"\n#include <curl/curl.h>\n#include "enroll/http.h"\n',
    'milter/main.c': '#include "config.h"\n#include <libmilter/mfapi.h>\n#include "base/base.h"\n',
    'ctl/main.c': '#include "config.h"\n#include "enroll/enroll.h"\n',
    'tests/unit/test_http.c': '#include "config.h"\n#include "enroll/http.h"\n#include "milter/main.h"\n',
    'tests/local.mk': 'X = base/base.h base/log.c enroll/enroll.h enroll/http.h enroll/http.c milter/main.c ctl/main.c '
                      'tests/unit/test_http.c new.c base/new.c base/new.h milter/new.c enroll/new.c ctl/new.c dns/new.c\n',
}
C = '#include "config.h"\n'
BREAKS = (
    ('a tree in order', None, None, None),
    ('the mail path includes HTTP', 'milter/new.c', C + '#include <curl/curl.h>\n', libraries),
    ('the mail path serves HTTP', 'milter/new.c', C + '#include <microhttpd.h>\n', libraries),
    ('the CA client includes libmilter', 'enroll/new.c', C + '# include <libmilter/mfapi.h>\n', libraries),
    ('a second room speaks SQL', 'ctl/new.c', C + '#include <sqlite3.h>\n', libraries),
    ('milter/ includes enroll/', 'milter/new.c', C + '#include "enroll/enroll.h"\n', direction),
    ('enroll/ includes milter/', 'enroll/new.c', C + '#include "milter/mime.h"\n', direction),
    ('base/ includes a room above it', 'base/new.c', C + '#include "dns/dns.h"\n', direction),
    ('dns/ includes its neighbour', 'dns/new.c', C + '#include "store/store.h"\n', direction),
    ('a room includes from tests/', 'dns/new.c', C + '#include "tests/x.h"\n', direction),
    ('an include without its room', 'dns/new.c', C + '#include "dns.h"\n', direction),
    ("another room's private header", 'ctl/new.c', C + '#include "enroll/http.h"\n', private_headers),
    ("another room's private header in angle brackets", 'ctl/new.c', C + '#include <enroll/http.h>\n', private_headers),
    ('config.h is missing', 'base/new.c', '#include "base/base.h"\n', config_first),
    ('config.h comes late', 'base/new.c', '#include <stdio.h>\n' + C, config_first),
    ('a guard of another file', 'base/new.h', CLEAN['base/base.h'], guards),
    ('801 lines', 'base/new.c', C + '\n' * 800, sizes),
    ('801 lines of Python', 'tests/new.py', '"""x"""' + '\n' * 801, sizes),
    ('801 lines with a reason', 'base/new.c', '/* over 800 lines because it is one table */\n' + C + '\n' * 800, None),
    ('a reason too late to be a head comment', 'base/new.c', C + '\n' * 800 + '/* over 800 lines because */\n', sizes),
    ('a file that no local.mk lists', 'base/lost.c', C, listed),
)


def build(folder, path, text):
    for name, content in [*CLEAN.items(), (path, text)]:
        if name:
            target = os.path.join(folder, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, 'w', encoding='utf-8') as f:
                f.write(content)


def can_fail(path, text, expected):
    """What is wrong with the rules for this broken tree."""
    with tempfile.TemporaryDirectory(prefix='structure-') as folder:
        build(folder, path, text)
        for rule in RULES:
            found = list(rule(folder))
            # An include of milter/ from enroll/ breaks two rules; what counts is that the expected one sees it.
            if rule is expected and not found:
                yield '%s() did not see it' % rule.__name__
            if expected is None and found:
                yield '%s() complains: %s' % (rule.__name__, found[0])


def report(counts, name, problems):
    counts[bool(problems)] += 1
    print('%-90s %s' % (name, 'FAILED' if problems else 'ok'))
    for problem in problems:
        print('    ' + problem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tree', default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    tree = parser.parse_args().tree
    counts = [0, 0]
    for rule in RULES:
        report(counts, rule.__doc__, list(rule(tree)))
    for name, path, text, expected in BREAKS:
        sees = ' is seen by ' + expected.__name__ if expected else ' is fine'
        report(counts, name + sees, list(can_fail(path, text, expected)))
    print('%d passed, %d failed, 0 skipped' % tuple(counts))
    return 1 if counts[1] else 0


if __name__ == '__main__':
    sys.exit(main())
