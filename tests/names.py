#!/usr/bin/python3
"""What the programs have by name, the pages have too, and nothing else: options, commands, events of log and history with their keys and levels,
metrics; and what README and doc/*.md name is there: links, commands with their options, configuration keys, files, tests.

    cd BUILD && /usr/bin/python3 SOURCE/tests/names.py [--tree FOLDER]

Names come from the source itself, not from a list in here.  After the rules, trees with one thing wrong each, to see that every rule can fail.
"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import log_page

TOP = log_page.TOP
BUILD = log_page.BUILD
ROOMS = ('base', 'sandbox', 'metrics', 'dns', 'store', 'ldap', 'policy', 'milter', 'enroll', 'ctl')
PROGRAMS = {'enroll-milter': ('milter/main.c', 'doc/enroll-milter.8'), 'enrolld': ('enroll/main.c', 'doc/enrolld.8'), 'enrollctl': ('ctl/main.c', 'doc/enrollctl.8')}
METRICS_PAGE = 'doc/enroll-milter-metrics.7'


class Tree:
    """The files by name; `changed` replaces some of them."""

    def __init__(self, top, changed=None):
        self.top, self.changed = top, changed or {}

    def read(self, path):
        if path in self.changed:
            return self.changed[path]
        try:
            with open(os.path.join(self.top, path), encoding='utf-8') as file:
                return file.read()
        except FileNotFoundError:
            return ''

    def has(self, path):
        return path in self.changed or os.path.exists(os.path.join(self.top, path))

    def files(self, folder, suffix):
        there = os.listdir(os.path.join(self.top, folder)) if os.path.isdir(os.path.join(self.top, folder)) else []
        ours = [os.path.basename(p) for p in self.changed if os.path.dirname(p) == folder]
        return sorted(os.path.normpath(os.path.join(folder, n)) for n in {*there, *ours} if n.endswith(suffix))

    def sources(self):
        return [p for room in ROOMS for p in self.files(room, '.c')]


# ---- C, as far as calls and string literals go

FUNCTION = re.compile(r'^(?:static )?[a-z][\w *]*?\b(\w+)\(([^;{]*?)\)\n\{', re.M)
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')


def without_comments(text):
    return re.sub(r'/\*.*?\*/|("(?:[^"\\\n]|\\.)*")', lambda m: m.group(1) or ' ', text, flags=re.S)


def arguments(text, at):
    """The arguments of the call whose ( is at text[at]."""
    found, depth, begin, i = [], 0, at + 1, at
    while i < len(text):
        c = text[i]
        if c == '"':
            i = STRING.match(text, i).end()
            continue
        if c == "'":
            i += 4 if text[i + 1] == '\\' else 3
            continue
        if c in '([{':
            depth += 1
        elif c in ')]}':
            depth -= 1
        if (c == ',' and depth == 1) or depth == 0:
            found.append(' '.join(text[begin:i].split()))
            begin = i + 1
        if depth == 0:
            return found
        i += 1
    return found


def calls(text, name):
    """(the function it stands in, its arguments) for each call of one of these names."""
    for m in re.finditer(r'(?<![\w"])(?:%s)\(' % name, text):
        begin = [f for f in FUNCTION.finditer(text, 0, m.start())]
        if begin and '\n}' not in text[begin[-1].end():m.start()]:  # else a declaration, or the definition itself
            yield begin[-1], arguments(text, m.end() - 1)


def literals(argument):
    """What a "x", or a ? "x" : "y", may be; NULL is nothing."""
    found = STRING.findall(argument.split('?', 1)[1]) if '?' in argument else STRING.findall(argument)
    return set(found)


def handed_over(text, function, argument):
    """(caller, what it hands over) for a parameter of this function."""
    parameters = [re.findall(r'\w+', p)[-1:] for p in function.group(2).split(',')]
    if not re.fullmatch(r'\w+', argument) or [argument] not in parameters:
        return
    place = parameters.index([argument])
    for inside, handed in calls(text, function.group(1)):
        if len(handed) > place:
            yield inside, handed[place]


def values_of(text, function, argument):
    """What an argument may be: literals; a variable's, by what is assigned to it here or handed over by callers in this file."""
    if STRING.search(argument):
        return literals(argument)
    if argument.startswith('enrollment_state_name('):
        return {s.lower() for s in re.findall(r'move_aside\(s, ENROLLMENT_(\w+)', text)}
    array = re.match(r'(\w+)\[', argument)
    if array:
        list_ = re.search(r'\b%s\[\w*\] = \{(.*?)\};' % array.group(1), text[function.end():], re.S)
        return set(STRING.findall(list_.group(1))) if list_ else set()
    return set().union(*(values_of(text, inside, value) for inside, value in handed_over(text, function, argument)))


LEVEL = re.compile(r'LOG_LEVEL_(\w+)')


def levels_of(text, function, argument):
    if LEVEL.search(argument):
        return {l.lower() for l in LEVEL.findall(argument)}
    helper = re.match(r'(\w+)\(', argument)
    if helper:
        whole = re.search(r'\b%s\([^;{]*?\)\n\{(.*?)\n\}' % helper.group(1), text, re.S)
        return {l.lower() for l in LEVEL.findall(whole.group(1))} if whole else set()
    body = text[function.end():].split('\n}', 1)[0]
    found = {l.lower() for value in re.findall(r'\b%s = ([^;]*);' % re.escape(argument), body) for l in LEVEL.findall(value)}
    return found.union(*(levels_of(text, inside, value) for inside, value in handed_over(text, function, argument)))


def logged(tree):
    """{event: {'levels', 'keys', 'rooms'}} as the code has them."""
    events = {}
    for path in tree.sources():
        text = without_comments(tree.read(path))
        for kind in ('event', 'error'):
            for function, a in calls(text, 'log_%s(?:_limited)?' % kind):
                if path == 'base/log.c' and a[1] == 'event':
                    continue
                keys = {k.strip('"') for k in a[2 if kind == 'event' else 3:-1:2]}
                for name in values_of(text, function, a[1]) or {'(not a name: %s in %s)' % (a[1], path)}:
                    event = events.setdefault(name, {'levels': set(), 'keys': set(), 'rooms': set()})
                    event['levels'] |= levels_of(text, function, a[0])
                    event['keys'] |= keys | (set(log_page.ERROR_KEYS) if kind == 'error' else set())
                    event['rooms'].add(path.split('/')[0])
        for line in STRING.findall(text):
            composed = re.match(r'event=([a-z_]+) ', line)
            if composed and path == 'base/log.c':
                events[composed.group(1)] = {'levels': set(), 'keys': set(re.findall(r' ([a-z_]+)=', line)), 'rooms': {'base'}}
    return events


# Which argument of which function is the name of an event of the history.
HISTORY = {'event_insert': 3, 'store_event_add': 2, 'commit_keep': 1, 'note': 1}


def history(tree):
    found = set()
    for path in tree.sources():
        text = without_comments(tree.read(path))
        for name, place in HISTORY.items():
            for function, a in calls(text, name):
                if len(a) > place and not (name == 'note' and a[0] != 's'):
                    found |= values_of(text, function, a[place])
        for value in re.findall(r'\.event = ([^;}]*)[;}]', text):
            found |= literals(value.split(', .')[0])
    if 'store_step' in ''.join(tree.read(p) for p in tree.files('store', '.c')):
        found |= set(re.findall(r'step->event : .*?"(\w+)"', tree.read('store/steps.c')))
    return {n for n in found if re.fullmatch('[a-z_]+', n)}


# ---- the rules: each yields what is wrong

def table(tree):
    if not hasattr(tree, 'table'):
        tree.table = log_page.table()
    return tree.table


def both_ways(code, page, what, where):
    for name in sorted(code - page):
        yield '%s %s is missing in %s' % (what, name, where)
    for name in sorted(page - code):
        yield '%s %s stands in %s, and the code has it not' % (what, name, where)


def log_events(tree):
    """the table of events (ctl/log_table.c) has every event that is logged, with its keys and levels, and no other"""
    code, rows = logged(tree), {r['event']: r for r in table(tree) if r['where'] != ['history']}
    yield from both_ways(set(code), set(rows), 'event', 'ctl/log_table.c')
    for name in sorted(set(code) & set(rows)):
        told = {k['key'] for k in rows[name]['keys']}
        yield from both_ways(code[name]['keys'], told, 'key of %s' % name, 'ctl/log_table.c')
        if code[name]['levels']:
            yield from both_ways(code[name]['levels'], set(rows[name]['levels']), 'level of %s' % name, 'ctl/log_table.c')
        for room, programs in (('milter', {'outbound', 'inbound'}), ('enroll', {'enrolld'})):
            if room in code[name]['rooms'] and not programs & set(rows[name]['where']):
                yield 'event %s is of %s/, and not said to be of %s' % (name, room, ' or '.join(sorted(programs)))
        for key in rows[name]['keys']:
            if not key['meaning']:
                yield 'key %s of %s has no meaning in ctl/log_table.c' % (key['key'], name)


def history_events(tree):
    """and every event of the history, and no other"""
    rows = [r['event'] for r in table(tree) if r['where'] == ['history']]
    yield from both_ways(history(tree), set(rows), 'event of the history', 'ctl/log_table.c')
    for name in sorted({n for n in rows if rows.count(n) > 1}):
        yield 'event of the history %s stands twice in ctl/log_table.c' % name


def verdicts(tree):
    """and every verdict of a mail"""
    for event, path, pattern in (('mail_done', 'milter/session_outbound.c', r'\{VERDICT_\w+, "([a-z-]+)"\}'),
                                 ('challenge_mail', 'milter/session_inbound.c', None), ('delivery_report', 'milter/session_report.c', None)):
        text = without_comments(tree.read(path))
        if pattern:
            code = set(re.findall(pattern, text)) - {'undecided'}
        else:
            code = set()
            for function, a in calls(text, 'report' if event == 'challenge_mail' else 'note'):
                code |= values_of(text, function, a[3])
        told = {v['value'] for r in table(tree) if r['event'] == event for k in r['keys'] if k['key'] == 'verdict' for v in k['values']}
        yield from both_ways(code, told, 'verdict of %s' % event, 'ctl/log_table.c')


def log_page_is_made(tree):
    """enroll-milter-log(7) is what the table of events makes"""
    _before, old, _after = log_page.parts(tree.read('doc/enroll-milter-log.7'))
    if old != log_page.made(table(tree)):
        yield 'doc/enroll-milter-log.7 is another: tests/log_page.py --write'


def getopt_names(text):
    rows = re.search(r'\boption options\[\] = \{(.*?)\{NULL, 0', text, re.S)
    return set(re.findall(r'\{"([a-z0-9-]+)",', rows.group(1))) if rows else set()


def page_options(page):
    return {n.replace('\\-', '-') for n in re.findall(r'\bFl -([a-z0-9\\-]+)', page)}


def options(tree):
    """each program's page has its options, and no other"""
    every = set().union(*(getopt_names(tree.read(source)) for source, _ in PROGRAMS.values()))
    for source, page in PROGRAMS.values():
        code, told = getopt_names(tree.read(source)), page_options(tree.read(page))
        if not code:
            yield '%s has no table of options that can be read' % source
        # a page may name options of another program, as of a command in an example
        yield from both_ways(code, told & code | told - every, 'option', page)


def help_options(tree):
    """--help of the daemons has their options, and no other"""
    for program, (source, _page) in PROGRAMS.items():
        if program != 'enrollctl':
            text = tree.read(source)
            told = set(re.findall(r'--([a-z-]+)', ''.join(STRING.findall(re.search(r'help\[\] =(.*?);\n', text, re.S).group(1)))))
            yield from both_ways(getopt_names(text), told, 'option', '--help of ' + program)


def commands_of(tree):
    """{command: its arguments} of enrollctl."""
    rows = re.sub(r'"\s*\n\s*"', '', tree.read('ctl/main.c').split('commands[] = {', 1)[1].split('\n};', 1)[0])
    return dict(re.findall(r'^\t\{"([a-z]+)",\s*"((?:[^"\\]|\\.)*)"', rows, re.M))


def commands(tree):
    """enrollctl(8) has every command, and no other"""
    named = set(re.findall(r'^\.It Cm ([a-z]+)', tree.read('doc/enrollctl.8'), re.M))
    yield from both_ways(set(commands_of(tree)), named, 'command', 'doc/enrollctl.8')


def metrics(tree):
    """enroll-milter-metrics(7) has every metric, and no other"""
    pattern = r'(?:enroll_milter|process)_[a-z0-9_]+'
    code = {s for path in tree.files('metrics', '.c') for s in STRING.findall(without_comments(tree.read(path))) if re.fullmatch(pattern, s)}
    code = {re.sub('_(bucket|sum|count)$', '', s) for s in code}
    told = set(re.findall(r'^\.It (?:Sy|Cm|Li) (%s)' % pattern, tree.read(METRICS_PAGE), re.M))
    yield from both_ways(code, told, 'metric', METRICS_PAGE)


# ---- README and doc/*.md

def prose(tree):
    return [p for p in ('README.md', *tree.files('doc', '.md')) if tree.has(p)]


def anchor(title):
    return re.sub(r'[^\w\- ]', '', re.sub(r'`', '', title).strip().lower()).replace(' ', '-')


def links(tree):
    """every link in README.md and doc/*.md leads somewhere, and README.md leads to every file of doc/"""
    for path in prose(tree):
        for target in re.findall(r'\]\(([^)\s]+)\)', tree.read(path)):
            if '://' in target:
                continue
            file, _, part = target.partition('#')
            there = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
            if not tree.has(there):
                yield '%s links to %s, which is not there' % (path, target)
            elif part and part not in [anchor(t) for t in re.findall(r'^#+ (.*)$', tree.read(there), re.M)]:
                yield '%s links to %s, and there is no such title' % (path, target)
    for path in tree.files('doc', '.md'):
        if '(%s)' % path not in tree.read('README.md'):
            yield 'README.md does not lead to %s' % path


def snippets(text):
    """What stands there to be typed: indented or fenced lines, and `spans`."""
    for block in re.findall(r'(?m)^(?:    |\t)(.*)$', text):
        yield block
    fenced = re.findall(r'(?ms)^```\w*\n(.*?)^```', text)
    for block in fenced:
        yield from block.split('\n')
    for span in re.findall(r'`([^`]+)`', re.sub(r'(?ms)^```.*?^```', '', text)):
        yield ' '.join(span.split())


def command_uses(line):
    for rest in re.findall(r'\benrollctl((?: +(?:--config|-c) \S+| +--json| +--csv| +-j)*(?: +[a-z][a-z-]*\b.*)?)', line):
        words = rest.split()
        while words and words[0].startswith('-'):
            words = words[2 if words[0] in ('-c', '--config') else 1:]
        if words:
            yield words[0].rstrip('.,:;)'), set(re.findall(r'(?<=\s)--([a-z-]+)', re.split(r' [|;&#]', rest)[0])) - {'json', 'csv', 'config', 'help', 'version'}


def prose_commands(tree):
    """every `enrollctl ...` in them is a command with options that it has"""
    known = commands_of(tree)
    for path in prose(tree):
        if path == 'doc/helpdesk.md':
            continue  # what its test typed, a slip of the finger included, and what came out
        for line in snippets(tree.read(path)):
            for name, used in command_uses(line):
                if name not in known:
                    yield '%s names `enrollctl %s`, which is no command' % (path, name)
                    continue
                for option in sorted(used - set(re.findall(r'--([a-z-]+)', known[name]))):
                    yield '%s names `enrollctl %s --%s`, which is no option of it' % (path, name, option)


def config_keys(tree):
    rows = re.findall(r'^\t\{"([a-z0-9.-]+)", (CONFIG_\w+)', tree.read('policy/config_table.c'), re.M)
    return {n for n, _ in rows}


def prose_keys(tree):
    """every `group.key` in them, and in the man pages, is a configuration key"""
    known = config_keys(tree)
    groups = {k.split('.')[0] for k in known if '.' in k}
    span = re.compile(r'(?<![\w/.@-])([a-z-]+(?:\.[a-z0-9-]+)+)(?![\w/@(-])')
    suffixes = ('.c', '.h', '.py', '.md', '.conf', '.cf', '.db', '.sock', '.key', '.pem', '.service', '.sh', '.log', '.example', '.org')
    for path in prose(tree):
        for line in re.findall(r'`([^`\n]+)`', tree.read(path)):
            for name in span.findall(line):
                if name.split('.')[0] in groups and name not in known and not name.endswith(suffixes):
                    yield '%s names the key `%s`, which the configuration has not' % (path, name)
    for path in (p for section in '578' for p in tree.files('doc', '.' + section)):
        for line in re.findall(r'^\.Cm (.*)$', tree.read(path), re.M):
            for name in span.findall(line):
                if name.split('.')[0] in groups and name not in known and not name.endswith(suffixes):
                    yield '%s names the key %s, which the configuration has not' % (path, name)


def references(tree):
    """man pages of ours that pages refer to are there"""
    ours = {os.path.basename(p) for section in '578' for p in tree.files('doc', '.' + section)}
    for path in (p for section in '578' for p in tree.files('doc', '.' + section)):
        for name, section in re.findall(r'^\.Xr (enroll[\w.-]*) (\d)', tree.read(path), re.M):
            if '%s.%s' % (name, section) not in ours:
                yield '%s refers to %s(%s), which is not there' % (path, name, section)
    for path in prose(tree):
        for name, section in re.findall(r'\b(enroll[\w.-]*)\((\d)\)', tree.read(path)):
            if '%s.%s' % (name, section) not in ours:
                yield '%s refers to %s(%s), which is not there' % (path, name, section)


def named_files(tree):
    """every file of this tree that they name is there, and has the test that is named with it"""
    for path in prose(tree):
        for span in re.findall(r'`((?:tests|examples|doc|base|dns|store|ldap|policy|milter|enroll|ctl|systemd|debian)/[^`\s*<>…]*(?: [a-z_]\w*)?)`', tree.read(path)):
            file, _, test = span.partition(' ')
            if not tree.has(file):
                yield '%s names %s, which is not there' % (path, file)
            elif test and not re.search(r'(?:def |START_TEST\(|tcase_add_\w+\(\w+, )%s\b' % test, tree.read(file)):
                yield '%s names %s in %s, and there is no such test' % (path, test, file)


RULES = (log_events, history_events, verdicts, log_page_is_made, options, help_options, commands, metrics, links, prose_commands, prose_keys, references, named_files)


# ---- each rule can fail: this tree, with one thing changed

def edits(tree):
    """(what is wrong, rule, file, the text it has then)"""
    def put(path, old, new):
        text = tree.read(path)
        assert old in text, (path, old)
        return path, text.replace(old, new, 1)

    def add(path, text):
        return path, tree.read(path) + text

    recorder = 'milter/recorder.c'
    yield ('an event that is in no table', log_events, *put(recorder, '"enrollment_requested"', '"enrollment_wanted"'))
    yield ('a key that is in no table', log_events, *put(recorder, '"login", q->login', '"account", q->login'))
    yield ('another level', log_events, *put(recorder, 'LOG_LEVEL_ERROR, "enrollment_not_requested"', 'LOG_LEVEL_DEBUG, "enrollment_not_requested"'))
    yield ('another level, by a function of its own', log_events, *put('milter/session_outbound.c', 'return LOG_LEVEL_ERROR;', 'return LOG_LEVEL_DEBUG;'))
    yield ('an event whose name a caller hands over', log_events, *put('enroll/people.c', 'row->address, "returned"', 'row->address, "came_back"'))
    yield ('an event by one of two names', log_events, *put(recorder, '"resumed"', '"went_on"'))
    yield ('an event of the history that is in no table', history_events, *put('enroll/enrollment.c', '"caa_reported"', '"caa_told"'))
    yield ('one that a result carries', history_events, *put('enroll/revoke.c', '"revoked_at_ca" :', '"revoked_there" :'))
    yield ('one that stands in a list', history_events, *put('enroll/enrollment.c', '"reply_relayed"', '"reply_passed_on"'))
    yield ('a verdict that is in no table', verdicts, *put('milter/session_inbound.c', '"not-authentic"', '"false"'))
    yield ('a list of events that somebody changed by hand', log_page_is_made, *put('doc/enroll-milter-log.7', '.It Sy mail_done', '.It Sy mail_over'))
    yield ('an option without a word', options, *put('enroll/main.c', '{"states-json",', '{"states-xml",'))
    yield ('an option that is none', options, *add('doc/enrolld.8', '.Fl -frobnicate\n'))
    yield ('an option that --help has not', help_options, *put('milter/main.c', '--instance NAME', '--which NAME'))
    yield ('a command without a word', commands, *put('ctl/main.c', '{"pause",', '{"halt",'))
    yield ('a metric without a word', metrics, *add('metrics/new.c', 'static const char *const x = "enroll_milter_frobs_total";\n'))
    yield ('a metric that is none', metrics, *add(METRICS_PAGE, '.It Sy enroll_milter_nonsense_total\n'))
    yield ('a link to nowhere', links, *add('doc/overview.md', '[x](nowhere.md)\n'))
    yield ('a link to a title that is not there', links, *add('README.md', '[x](#no-such-title)\n'))
    yield ('a page that README.md does not name', links, 'doc/lost.md', 'x\n')
    yield ('a command that is none', prose_commands, *add('doc/overview.md', '\n    enrollctl frobnicate alice@example.org\n'))
    yield ('an option of another command', prose_commands, *add('doc/overview.md', '`enrollctl enroll alice@example.org --with-keys`\n'))
    yield ('a key that is none', prose_keys, *add('doc/overview.md', '`ca.frobnicate`\n'))
    yield ('a key that is none, in a page', prose_keys, *add('doc/enrolld.8', '.Cm ca.frobnicate\n'))
    yield ('a page that is not there', references, *add('doc/enrolld.8', '.Xr enroll-nothing 7\n'))
    yield ('a file that is not there', named_files, *add('doc/overview.md', '`tests/e2e/test_nothing.py`\n'))
    yield ('a test that is not there', named_files, *add('doc/overview.md', '`tests/e2e/test_roles.py test_nothing`\n'))


def report(counts, name, problems):
    counts[bool(problems)] += 1
    print('%-100s %s' % (name, 'FAILED' if problems else 'ok'))
    for problem in problems:
        print('    ' + problem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tree', default=TOP)
    tree = Tree(parser.parse_args().tree)
    counts = [0, 0]
    if not os.access(BUILD + '/enrollctl', os.X_OK):
        print('%s/enrollctl is not there\n0 passed, 0 failed, 1 skipped' % BUILD)
        return 77
    before = {}
    for rule in RULES:
        before[rule] = list(rule(tree))
        report(counts, rule.__doc__, before[rule])
    for name, rule, path, text in edits(tree):
        broken = Tree(tree.top, {path: text})
        broken.table = table(tree)
        report(counts, '%s is seen by %s' % (name, rule.__name__), [] if len(list(rule(broken))) > len(before[rule]) else ['%s() did not see it' % rule.__name__])
    print('%d passed, %d failed, 0 skipped' % tuple(counts))
    return 1 if counts[1] else 0


if __name__ == '__main__':
    sys.exit(main())
