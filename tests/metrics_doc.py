#!/usr/bin/python3
"""Metrics and what is written about them: the table in metrics/table.c against enroll-milter-metrics(7), the dashboard and the alerts.

    /usr/bin/python3 tests/metrics_doc.py

Names, types, programs, labels and their values stand in both, and nowhere is one that does not exist.
"""

import json
import os
import re
import sys
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = {'METRICS_ENROLLD': {'enrolld'}, 'METRICS_OUTBOUND': {'outbound'}, 'METRICS_INBOUND': {'inbound'},
            'MILTERS': {'outbound', 'inbound'}, 'ALL': {'enrolld', 'outbound', 'inbound'}}
ANY = {'ca', 'version'}     # labels whose values are the admin's, or the release's


def read(*parts):
    with open(os.path.join(TOP, *parts), encoding='utf-8') as file:
        return file.read()


def pairs(text):
    """{label: values} of texts such as state=\\"active\\"."""
    found = {}
    for label, value in re.findall(r'(\w+)=\\"([^"\\]*)\\"', text):
        found.setdefault(label, set()).add(value)
    return found


def mail_labels():
    rows = re.findall(r'ROW\(\w+, "([^"]+)", "([^"]+)",', read('metrics', 'metrics.h'))
    assert len(rows) > 40
    return {'verdict': {v for v, _ in rows}, 'reason': {r for _, r in rows}}


def table():
    """{name: (type, programs, {label: values})} of metrics/table.c."""
    text = read('metrics', 'table.c')
    macros = {name: pairs(body) for name, body in re.findall(r'#define (STATES|CLASSES)\b(.*?)(?:[^\\]\n)', text, re.S)}
    rows = re.search(r'metrics_rows\[METRICS\] = \{\n(.*?)\n\};', text, re.S).group(1)
    found = {}
    for body in re.split(r'^\t\[METRIC_\w+\] = ', rows, flags=re.M)[1:]:
        name, kind, programs = re.match(r'\{"(\w+)", METRICS_(\w+), ([A-Z_ |]+),', body).groups()
        labels = pairs(body)
        for macro, more in macros.items():
            if re.search(r'\b%s\b' % macro, body):
                labels.update(more)
        if 'mail_values' in body:
            labels.update(mail_labels())
        if re.search(r'\{CA\b', body):
            labels['ca'] = set()
        if 'PACKAGE_VERSION' in body:
            labels['version'] = set()
        assert name not in found, name
        found[name] = (kind.lower(), set().union(*(PROGRAMS[p.strip()] for p in programs.split('|'))), labels)
    assert len(found) == len(re.findall(r'^\tMETRIC_\w+,', read('metrics', 'metrics.h'), re.M))
    return found


def page():
    """The same of the manual page."""
    found = {}
    text = read('doc', 'enroll-milter-metrics.7')
    for name, kind, programs, body in re.findall(r'^\.It Sy (\w+) Pq (\w+); ([\w ]+)\n(.*?)(?=^\.(?:It Sy|El|Sh)\b)', text, re.S | re.M):
        labels = {}
        for label, values in re.findall(r'^Label\n\.Cm (\w+)\n?(.*?)(?=^Label$|\Z)', body, re.S | re.M):
            labels[label] = {v for line in re.findall(r'^\.Li (.*)$', values, re.M) for v in re.split(r' , | \.$| ;$| ,$', line) if v}
        assert name not in found, name
        found[name] = (kind, set(programs.split()), labels)
    return found


TABLE = table()
SAMPLES = {n + suffix: n for n, (kind, *_more) in TABLE.items()
           for suffix in (('_bucket', '_sum', '_count') if kind == 'histogram' else ('',))}


class Names(unittest.TestCase):
    def test_conventions(self):
        for name, (kind, _programs, labels) in TABLE.items():
            self.assertRegex(name, r'^(enroll_milter|process)_[a-z0-9_]+$')
            self.assertEqual(kind == 'counter', name.endswith('_total'), name)
            if kind == 'histogram':
                self.assertRegex(name, r'_seconds$')
            self.assertNotRegex(name, r'_(ms|milliseconds|minutes|hours|days|percent)(_|$)')
            self.assertLessEqual(set(labels) & {'address', 'login', 'recipient', 'sender', 'domain'}, set())
            for label, values in labels.items():
                self.assertTrue(values or label in ANY, (name, label))


class Page(unittest.TestCase):
    def test_same_names_both_ways(self):
        self.assertEqual(set(page()), set(TABLE))

    def test_same_types_programs_and_labels(self):
        for name, (kind, programs, labels) in page().items():
            with self.subTest(name):
                self.assertEqual((kind, programs), TABLE[name][:2])
                self.assertEqual(labels, TABLE[name][2])


class Examples(unittest.TestCase):
    def queries(self):
        for panel in json.loads(read('examples', 'grafana', 'dashboard.json'))['panels']:
            for target in panel['targets']:
                yield 'dashboard: ' + panel['title'], target['expr']
        alerts = read('examples', 'prometheus', 'alerts.yml')
        for alert, body in re.findall(r'- alert: (\w+)\n(.*?)(?=\n\s*- alert:|\Z)', alerts, re.S):
            yield 'alert: ' + alert, re.search(r'expr: (.*?)\n\s+(?:for|labels):', body, re.S).group(1)

    def test_queries_are_about_what_is_served(self):
        asked = 0
        for where, query in self.queries():
            for name, _, matchers in re.findall(r'\b((?:enroll_milter|process)_\w+)(\{([^}]*)\})?', query):
                asked += 1
                self.assertIn(name, SAMPLES, where)
                labels = TABLE[SAMPLES[name]][2]
                for label, how, wanted in re.findall(r'(\w+)(=~|!~|=|!=)"([^"]*)"', matchers):
                    if label in ('job', 'instance', 'program'):
                        continue
                    self.assertIn(label, labels, where)
                    for value in wanted.split('|') if '~' in how else [wanted]:
                        self.assertIn(value, labels[label], '%s: %s' % (where, label))
            for by in re.findall(r'\bby \(([^)]*)\)', query):
                for label in by.split(', '):
                    self.assertTrue(label in ('instance', 'program', 'le') or any(label in TABLE[SAMPLES[n]][2] for n in re.findall(
                        r'\b((?:enroll_milter|process)_\w+)', query)), '%s: by %s' % (where, label))
        self.assertGreater(asked, 40)

    def test_each_alert_says_what_to_do(self):
        alerts = re.findall(r'- alert: (\w+)\n(.*?)(?=\n\s*- alert:|\Z)', read('examples', 'prometheus', 'alerts.yml'), re.S)
        self.assertGreater(len(alerts), 10)
        for name, body in alerts:
            self.assertRegex(body, r'severity: (critical|warning)\n', name)
            self.assertRegex(body, r'summary: ".{20,}"', name)
            self.assertRegex(body, r'description: ".{60,}"', name)
            self.assertIn(name, read('doc', 'enroll-milter-metrics.7'))

    def test_commands_in_alerts_exist(self):
        commands = set(re.findall(r'^\t\{"([a-z]+)", "', read('ctl', 'main.c'), re.M))
        named = set(re.findall(r'enrollctl ([a-z]+)', read('examples', 'prometheus', 'alerts.yml') + read('doc', 'enroll-milter-metrics.7')))
        self.assertGreater(len(named), 5)
        self.assertLessEqual(named, commands)


if __name__ == '__main__':
    result = unittest.main(exit=False).result
    sys.exit(not result.wasSuccessful())
