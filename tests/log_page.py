#!/usr/bin/python3
"""The lists of events in enroll-milter-log(7), as the table of events (ctl/log_table.c) has them.

    cd BUILD && /usr/bin/python3 SOURCE/tests/log_page.py [--write]

The program enrollctl of BUILD tells the table.  Without --write it says whether the page is as it should be; tests/names.py asks the same.
"""

import json
import os
import re
import subprocess
import sys
import textwrap

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get('ENROLL_BUILD', '.'))
PAGE = os.path.join(TOP, 'doc', 'enroll-milter-log.7')
BEGIN, END = '.\\" tests/log_page.py --write makes what follows from ctl/log_table.c\n', '.\\" up to here\n'
SECTIONS = (('outbound', 'EVENTS OF THE OUTBOUND INSTANCE'), ('inbound', 'EVENTS OF THE INBOUND INSTANCE'), ('enrolld', 'EVENTS OF ENROLLD'),
            (None, 'EVENTS OF SEVERAL PROGRAMS'), ('history', 'EVENTS OF THE HISTORY'))
ERROR_KEYS = 'class op subject status type text retry_at'.split()


def table():
    done = subprocess.run([BUILD + '/enrollctl', '--json', 'log', 'explain'], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def escaped(text):
    text = text.replace('\\', '\\e')
    return re.sub(r"(?m)^([.'])", r'\\&\1', text)


def marked(text):
    """`What is typed` as a macro, each sentence on a line of its own."""
    lines = []
    for sentence in re.split(r'(?<=[.:;?])  ', text.strip()):
        parts = sentence.split('`')
        for i, part in enumerate(parts):
            if i % 2:
                lines.append('.Cm ' + escaped(part).replace('"', '\\(dq'))
                continue
            follows = re.match(r'[.,:;?)]+(?= |$)', part) if i else None
            if follows:
                lines[-1] += ' ' + ' '.join(follows.group(0))
                part = part[follows.end():]
            if part.strip():
                lines += escaped(textwrap.fill(part.strip(), 140, break_on_hyphens=False, break_long_words=False)).split('\n')
    return '\n'.join(lines) + '\n'


def keys_of(row):
    own = [k['key'] for k in row['keys']]
    error = own[-len(ERROR_KEYS):] == ERROR_KEYS
    own = own[:-len(ERROR_KEYS)] if error else own
    told = []
    if own:
        told.append('.Cm ' + ' , '.join(own) + ('' if error else ' .'))
    if error:
        told.append(('and those of an error.' if own else 'those of an error.'))
    return 'Keys:\n%s\n' % '\n'.join(told) if told else ''


def item(row, history):
    text = '.It Sy %s\n' % row['event']
    if not history:
        by = '' if len(row['where']) == 1 else 'By %s.\n' % ', '.join(row['where'])
        text += by + 'Level: %s.\n' % ', '.join(row['levels'])
    text += marked(row['meaning'])
    if not history:
        text += keys_of(row)
        for key in row['keys']:
            if key['values'] and key['key'] == 'verdict':
                text += 'Verdicts:\n.Bl -tag -width not-a-challenge -compact\n'
                text += ''.join('.It Li %s\n%s' % (v['value'], marked(v['meaning'] + '.')) for v in key['values']) + '.El\n'
    if row['action']:
        text += 'What to do:\n' + marked(row['action'])
    return text


def general_keys(rows):
    """Every key with what it is; where an event means something else by it, that too."""
    known = {}
    for row in rows:
        for key in row['keys']:
            known.setdefault(key['key'], {}).setdefault(key['meaning'], []).append(row['event'])
    text = '.Sh KEYS\n.Bl -tag -width Ds\n'
    for key, meanings in sorted(known.items()):
        text += '.It Cm %s\n' % key
        by_use = sorted(meanings.items(), key=lambda m: -len(m[1]))
        text += marked(by_use[0][0] + '.')
        for meaning, events in by_use[1:]:
            text += 'In\n.Sy %s :\n' % ' , '.join(events) + marked(meaning + '.')
    return text + '.El\n'


def made(rows):
    text = ''
    for where, title in SECTIONS:
        chosen = [r for r in rows if r['where'] == [where] or (where is None and len(r['where']) > 1)]
        text += '.Sh %s\n' % title
        if where == 'history':
            text += 'Each has a time, an actor (enrolld, inbound, a login, admin:NAME, helpdesk:NAME) and a text.\n'
        text += '.Bl -tag -width Ds\n' + ''.join(item(r, where == 'history') for r in chosen) + '.El\n'
    return text + general_keys(rows)


def parts(page):
    """(before, what is made, after)."""
    before, rest = page.split(BEGIN)
    old, after = rest.split(END)
    return before, old, after


def main():
    with open(PAGE, encoding='utf-8') as file:
        page = file.read()
    before, old, after = parts(page)
    new = made(table())
    if '--write' in sys.argv[1:]:
        with open(PAGE, 'w', encoding='utf-8') as file:
            file.write(before + BEGIN + new + END + after)
    elif new != old:
        print('doc/enroll-milter-log.7 is not what ctl/log_table.c has: tests/log_page.py --write')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
