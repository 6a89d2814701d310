"""Does a signature survive the Internet? Mail sent in numbers, taken in at two places, compared with what was sent.

    class Faults(Survival):
        def test(self):
            mails = [Mail('empty body', raw, SAME), ...]
            self.send(mails)            # also waits until both copies of each are there
            self.check_all(mails)

Each mail has two recipients.  n@near.example takes it right from the product's Postfix, octet for octet (nothing is converted, no line is
broken).  n@far.example has it pass a second Postfix that does not say 8BITMIME, so that the first has to convert what is not 7-bit, and
both may break lines; mail that needs SMTPUTF8 goes to n@wide.example instead, by a door of that Postfix where nothing is converted.  A signed
mail has to be the same in both places.
"""

import email
import email.errors
import email.header
import email.message
import email.utils
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import mailtools
import service
import stage_postfix
from namespace import BASE, GATEWAY, OUTSIDE
from product import Product, parse_line, require
from stage import Stage, StageCase
from stage_mail import Sink

# what becomes of a mail
SAME = 'signed'                          # its MIME entity octet for octet in the signed part
ENCODED = 'signed after re-encoding'
OPAQUE = 'signed, opaque'                # its entity inside the SignedData
RATHER_OPAQUE = 'signed, opaque as it must not be re-encoded'
UNENCODABLE = 'cannot be signed without changing what it says'
UNTOUCHED = 'untouched'
UNSIGNED = 'unsigned'                    # would be signed, but there is no certificate

# why a mail may be left as it is: closed
REASONS = {
    'already signed', 'already signed (S/MIME, opaque)', 'already signed (PGP)', 'already encrypted (S/MIME)', 'already encrypted (PGP)', 'PGP',
    'carries S/MIME certificates only', 'two Content-Type fields', 'two Content-Transfer-Encoding fields', 'two Content-Disposition fields',
    UNENCODABLE, 'calendar mail',
    'delivery report (empty envelope sender)', 'auto-submitted', 'list mail', 'report',
}
TRACE = (b'received', b'dkim-signature')
ENCODINGS = ('base64', 'quoted-printable', 'x-uuencode', 'uuencode')
SHOWN = (b'from', b'sender', b'reply-to', b'to', b'cc', b'subject', b'date', b'message-id', b'in-reply-to', b'references', b'importance', b'user-agent')
PROTECTION = re.compile(rb';\s*hp="?clear"?')
LINE_END = 'a line end'
PROTECTED = ('message/rfc822', 'multipart/signed', 'multipart/encrypted')


class Mail:
    """One mail to be sent; what is expected of it; later .qid, .near, .far (Received) and .log, its closing line.

    reason: of UNTOUCHED and UNSIGNED.  taken: what Postfix makes of the mail before anybody else sees it, if not `raw`.
    far=False: the second hop refuses such mail."""

    def __init__(self, name, raw, expected, reason=None, sender=None, user='alice', chunked=False, options=(), taken=None, far=True):
        self.name, self.raw, self.expected, self.reason = name, raw, expected, reason
        self.user, self.sender = user, user + '@corp.example' if sender is None else sender
        self.chunked, self.options = chunked, list(options)
        self.taken = raw if taken is None else taken
        self.same_entity = expected == SAME
        self.wants_far = far
        self.key = self.qid = self.near = self.far = self.log = self.refused = None

    @property
    def signed(self):
        return self.expected in (SAME, ENCODED, OPAQUE, RATHER_OPAQUE)

    @property
    def far_address(self):
        return self.key + ('@wide.example' if 'SMTPUTF8' in self.options else '@far.example')

    @property
    def opaque(self):
        return self.expected in (OPAQUE, RATHER_OPAQUE)

    def becomes_opaque(self, word):
        """With form = opaque, or unencodable = opaque: nothing is too 8-bit to be signed."""
        if self.reason == UNENCODABLE:
            self.expected, self.reason, self.same_entity, self.wants_far = word, None, True, True
        elif self.signed and word == OPAQUE:
            self.expected = word


# -- looking at mail ----------------------------------------------------------

def fields(raw):
    """The header fields as they stand there, folds and line ends included."""
    top = raw if raw[:2] == b'\r\n' else mailtools.split(raw)[0]
    return re.findall(rb'[^\r\n][^\n]*\n(?:[ \t][^\n]*\n)*', top)


def name_of(field):
    return field.split(b':')[0].strip().lower()


def is_structure(field):
    return name_of(field).startswith(b'content-')


def fields_named(raw, name):
    return b''.join(f for f in fields(raw) if name_of(f) == name)


def body_of(raw):
    return mailtools.split(raw)[1]


def entity_of(raw, signed=False):
    """The MIME entity a mail is: its structure fields and its body.  In what is signed, the type that it has by default is said."""
    structure = [f for f in fields(raw) if is_structure(f)]
    if signed and not any(name_of(f) == b'content-type' for f in structure):
        structure.append(b'Content-Type: text/plain; charset=us-ascii\r\n')       # that is what it is (RFC 2045 section 5.2)
    return b''.join(structure) + b'\r\n' + body_of(raw)


def unsafe(data):
    """What some relay may not carry or may change; None if nothing."""
    found = re.search(rb'[\x80-\xff\0]|\r(?!\n)|(?<!\r)\n', data)
    if found:
        return 'octet %r at %d' % (found.group(), found.start())
    if max(map(len, data.split(b'\r\n'))) > 990:
        return 'a line over 990 octets'
    return None


def raw_payload(part):
    return part._payload.encode('ascii', 'surrogateescape') if part._payload else b''


def fragile(part):
    """Has the content of this leaf to be encoded (anew)?"""
    data, encoding = raw_payload(part), encoding_of(part)
    if unsafe(data):
        return True
    if encoding != 'base64' and re.search(rb'(?m)^From ', data):
        return True
    return encoding not in ENCODINGS and bool(re.search(rb'(?m)[ \t]\r?$', data))


def encoding_of(part):
    return field_text(part, 'Content-Transfer-Encoding').split('(')[0].strip().lower()


def field_text(part, name):
    """A field's value as text, octets over 127 read as UTF-8; '' if it is not there."""
    found = [v for n, v in part.raw_items() if n.lower() == name.lower()]
    return found[0].encode('ascii', 'surrogateescape').decode('utf-8', 'surrogateescape') if found else ''


def without_comments(text):
    """A structured field without (comments), which may be nested; what stands in quotes is none."""
    out, depth, quoted = '', 0, False
    for token in re.findall(r'\\.|.', text, re.S):
        if token == '"' and depth == 0:
            quoted = not quoted
        depth += (token == '(') - (token == ')' and depth > 0) if not quoted else 0
        if quoted or depth == 0 and token != ')':
            out += token
    return out


def parameters(part, name):
    """(value, {name: text}) of a field with parameters, in whatever way it is written (RFC 2231, RFC 2047, as it is)."""
    alone = email.message.Message()
    alone[name] = without_comments(field_text(part, name))
    found = alone.get_params(None, name)
    if not found:
        return None, {}
    plain = {k.lower(): v if isinstance(v, str) else email.utils.collapse_rfc2231_value(v) for k, v in found[1:] if k}
    return found[0][0].lower(), {k: words(v) if '=?' in v else v for k, v in plain.items()}


def words(value):
    """RFC 2047 undone."""
    return str(email.header.make_header(email.header.decode_header(re.sub(r'\r?\n(?=[ \t])', '', value))))


def decoded(part):
    data = part.get_payload(decode=True)
    return b'' if data is None else data


def guesses(part):
    """The charset that may be said of a part that says none; in HTML and XML stands another one, perhaps."""
    data = b'' if part.is_multipart() else raw_payload(part)
    if data.isascii() or encoding_of(part) in ENCODINGS:
        return () if part.get('Content-Type') else ('us-ascii',)
    try:
        data.decode('utf-8')
        return ('utf-8',)
    except UnicodeDecodeError:
        kind = part.get_content_type()
        return () if kind != 'text/plain' else ('windows-1252',) if re.search(rb'[\x80-\x9f]', data) else ('iso-8859-1',)


def compare_parts(old, new, where='1', protected=False):
    """What is different in meaning between two entities; leaves that need nothing have to keep their octets."""
    found = []
    for field in ('Content-Type', 'Content-Disposition'):
        (one, mine), (two, theirs) = parameters(old, field), parameters(new, field)
        if field == 'Content-Type':
            one, two = one or 'text/plain', two or 'text/plain'
            if 'charset' not in mine and theirs.get('charset') in guesses(old):
                theirs.pop('charset', None)
        if one != two or mine != theirs:
            found.append('%s %s: %r %r / %r %r' % (where, field, one, mine, two, theirs))
    for field in ('Content-ID', 'Content-Description', 'Content-Location'):
        one, two = (field_text(p, field) for p in (old, new))
        if one != two and words(one) != words(two):
            found.append('%s %s: %r / %r' % (where, field, one, two))
    if old.is_multipart() != new.is_multipart():
        return found + ['%s: a multipart became none, or the reverse' % where]
    if not old.is_multipart():
        return found + compare_leaves(old, new, where, protected)
    if len(old.get_payload()) != len(new.get_payload()):
        return found + ['%s: %d parts / %d parts' % (where, len(old.get_payload()), len(new.get_payload()))]
    if new.get_content_type() in PROTECTED:
        protected = True
        if any(p.as_bytes() != q.as_bytes() for p, q in zip(old.get_payload(), new.get_payload())):
            found.append('%s: changed, which is nobody\'s to change' % where)
    for n, (one, two) in enumerate(zip(old.get_payload(), new.get_payload()), 1):
        found += compare_parts(one, two, '%s.%d' % (where, n), protected)
    if any(isinstance(d, email.errors.CloseBoundaryNotFoundDefect) for d in old.defects):
        # whether the very last line end belongs to such a part is a matter of taste
        found = [f for f in found if not f.startswith('%s.%d' % (where, len(old.get_payload()))) or not f.endswith(LINE_END)]
    for what in ('preamble', 'epilogue'):
        one, two = (getattr(p, what) or '' for p in (old, new))
        if one != two and one.isascii() and not unsafe(one.encode('ascii', 'replace')):
            found.append('%s %s: %r / %r' % (where, what, one, two))
    return found


def no_leaf(part):
    return part.get_content_maintype() in ('multipart', 'message')


def compare_leaves(old, new, where, protected):
    one, two = decoded(old), decoded(new)
    if one + b'\r\n' == two:
        return ['%s: content has grown by %s' % (where, LINE_END)]
    if one != two:
        at = next((i for i, (a, b) in enumerate(zip(one, two)) if a != b), min(len(one), len(two)))
        return ['%s: content differs from octet %d: %r / %r' % (where, at, one[max(0, at - 20):at + 60], two[max(0, at - 20):at + 60])]
    if no_leaf(new):
        return [] if raw_payload(old) == raw_payload(new) else ['%s: a multipart without parts changed' % where]
    if fragile(new) and not protected:
        return ['%s: is not safe: %r' % (where, unsafe(raw_payload(new)) or 'From line or trailing blanks')]
    if not fragile(old) and raw_payload(old) != raw_payload(new):
        return ['%s: was encoded anew without need' % where]
    return []


def compare_entities(old, new):
    return compare_parts(email.message_from_bytes(old), email.message_from_bytes(new))


# -- the tests' base ----------------------------------------------------------

class Survival(StageCase):
    key_type = 'rsa:2048'
    users = ('alice',)

    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        cls.sink = Sink()
        cls.sink.start()
        cls.hop = stage_postfix.Hop((OUTSIDE, cls.sink.port))
        cls.hop.start()
        stage.postfix.transport['far.example'] = 'smtp:[%s]:25' % cls.hop.address
        stage.postfix.transport['wide.example'] = 'smtp:[%s]:26' % cls.hop.address
        stage.postfix.transport['near.example'] = 'exact:[%s]:%d' % (OUTSIDE, cls.sink.port)
        # what a client sent is not ours to rewrite: nor is it Postfix'
        stage.postfix.set(local_header_rewrite_clients='', default_destination_concurrency_limit=8, initial_destination_concurrency=8,
                          smtpd_client_event_limit_exceptions='static:all', smtp_connection_cache_on_demand='yes')
        stage.ca.admin('/behaviour', {'authz_valid': True})
        cls.p = Product(stage, certificate={'key-type': cls.key_type}, log={'level': 'info'})
        cls.p.start()
        for user in cls.users:
            cls.p.ctl('enroll', user + '@corp.example')
        for user in cls.users:
            cls.p.wait_state(user + '@corp.example', 'active')
        cls.numbers = iter(range(10 ** 6))
        cls.txt = {}

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()
        cls.hop.stop()
        cls.sink.stop()

    def configure_signing(self, **options):
        """Until the end of the test."""
        options = {k.replace('_', '-'): v for k, v in options.items()}
        before = {k: self.p.config.get('signing', {}).get(k) for k in options}
        self.addCleanup(self._signing, before)
        self._signing(options)

    def _signing(self, options):
        self.p.configure(signing=options)
        self.p.restart('outbound')

    # -- sending -----------------------------------------------------------

    def send(self, mails, sessions=4):
        """All of them over a few connections, and waits for both copies of each."""
        for mail in mails:
            mail.key = 'm%05d' % next(self.numbers)
        mark = {self.stage.postfix.log: self.stage.postfix.log_size()}
        users = sorted({m.user for m in mails})
        shares = [[m for m in mails if m.user == u][n::sessions] for u in users for n in range(sessions)]
        with ThreadPoolExecutor(sessions) as pool:
            list(pool.map(self._send_share, [s for s in shares if s]))
        self._collect(mails, mark[self.stage.postfix.log])
        self._read_log(mails)

    def _send_share(self, mails):
        with mailtools.Session((GATEWAY, 587), mails[0].user, self.stage.password(mails[0].user)) as session:
            for mail in mails:
                to = ['%s@near.example' % mail.key] + ([mail.far_address] if mail.wants_far else [])
                try:
                    send = session.send_chunked if mail.chunked else session.send
                    mail.qid = send(mail.sender, to, mail.raw, mail.options)
                except mailtools.Refused as refused:
                    mail.refused = refused

    def _collect(self, mails, mark):
        wanted = {}
        for mail in mails:
            if mail.refused is None:
                wanted[mail.key + '@near.example'] = (mail, 'near')
                if mail.wants_far:
                    wanted[mail.far_address] = (mail, 'far')

        def all_there():
            for received in self.sink.taken()[self.seen:]:
                for recipient in received.recipients:
                    mail, place = wanted.pop(recipient, (None, None))
                    if mail:
                        setattr(mail, place, received)
                self.seen += 1
            lost = [a for a in wanted if a in self._returned(mark)] if wanted else []
            for address in lost:
                del wanted[address]
            return not wanted
        self.seen = 0
        service.until(all_there, 300, 'all mail is there', every=0.1, say=lambda: '%s\n%s' % (
            [(m.name, p) for m, p in wanted.values()][:20], service.tail(self.stage.postfix.log, 20)))

    def _returned(self, mark):
        """Who did not get it, by the logs of both."""
        lines = self.stage.postfix.log_since(mark, r'status=bounced')
        with open(self.hop.log, 'rb') as file:
            lines += [l for l in file.read().decode('utf-8', 'replace').splitlines() if 'status=bounced' in l]
        return {re.search('to=<([^>]*)>', l).group(1): l for l in lines if 'to=<' in l}

    def _read_log(self, mails):
        queue_ids = {m.qid: m for m in mails if m.qid}

        def all_said():
            with open(self.p.log_path('outbound'), encoding='utf-8', errors='replace') as file:
                for line in file:
                    if 'event=mail_done' in line:
                        parsed = parse_line(line)
                        if parsed.get('qid') in queue_ids:
                            queue_ids[parsed['qid']].log = parsed
            return all(m.log for m in queue_ids.values())
        service.until(all_said, 60, 'every mail has its closing line', every=0.2)

    # -- judging -------------------------------------------------------------

    def check_all(self, mails):
        """Each by its expectation, and all signatures by every verifier and DKIM: what is wrong is said of all at once."""
        def wrong(mail):
            try:
                self.check(mail)
            except AssertionError as trouble:
                self.keep(mail)
                return '%s: %.1500s' % (mail.name, trouble)
            return None
        with ThreadPoolExecutor(3) as pool:
            bad = [w for w in pool.map(wrong, mails) if w]
        bad += self.bad_signatures([m for m in mails if m.log and m.log['verdict'] == 'signed' and m.near])
        self.assertFalse(bad, '\n\n'.join(['%d of %d mails:' % (len(bad), len(mails))] + bad))

    @staticmethod
    def keep(mail):
        """Among what ENROLL_TEST_KEEP keeps."""
        os.makedirs(BASE + '/mails', exist_ok=True)
        for what in ('taken', 'near', 'far'):
            got = getattr(mail, what)
            if got:
                with open('%s/mails/%s.%s' % (BASE, mail.name.replace('/', '-').replace(' ', '_'), what), 'wb') as file:
                    file.write(got if what == 'taken' else got.content)

    def check(self, mail):
        self.assertIsNone(mail.refused, mail.name)
        self.assertIsNotNone(mail.near, '%s: lost' % mail.name)
        said = (mail.log['verdict'], mail.log['reason'], mail.log.get('detail', ''))
        if not mail.signed:
            self.assertEqual(said[:2], (mail.expected, mail.reason), said)
            if mail.expected == UNTOUCHED:
                self.assertIn(mail.reason, REASONS)
            self.assertEqual(self.without_trace(mail.near.content), fields(mail.taken))
            self.assertEqual(body_of(mail.near.content), body_of(mail.taken), 'not an octet of it changes')
            if mail.wants_far:
                self.assertIsNotNone(mail.far, '%s: lost at the second hop: %s' % (mail.name, self._returned(0)))
                if mail.reason.startswith('already'):
                    self.assertEqual(body_of(mail.far.content), body_of(mail.taken), 'what clients signed arrives as they signed it')
            return
        self.assertEqual(said[:2], ('signed', mail.expected), said)
        self.assertEqual(mail.log['form'], 'opaque' if mail.opaque else 'detached')
        self.assert_outer_header(mail)
        entity = self.entity(mail.near.content)
        self.assertIsNone(unsafe(body_of(mail.near.content)), 'what leaves is 7-bit, in lines that fit')
        whole = entity
        entity = self.without_protected(mail, whole)
        if mail.same_entity:
            wanted = entity_of(mail.taken, signed=True)
            if entity != whole:        # a parameter came behind the last one, which may have had a semicolon
                wanted = wanted.replace(b';\r\n\r\n', b'\r\n\r\n', 1)
            self.assertEqual(entity, wanted, 'the entity, octet for octet')
        else:
            self.assertEqual(compare_entities(entity_of(mail.taken), entity), [])
        if mail.wants_far:
            self.assertIsNotNone(mail.far, '%s: lost at the second hop: %s' % (mail.name, self._returned(0)))
            self.assertEqual(body_of(mail.far.content), body_of(mail.near.content), 'no hop had to change it')
            self.assertEqual(self.without_trace(mail.far.content), self.without_trace(mail.near.content))

    def entity(self, raw):
        return mailtools.entity_of(raw)

    def without_protected(self, mail, entity):
        """The entity without the fields that are repeated in it (RFC 9788), after a look at them."""
        if not self.p.config.get('signing', {}).get('header-protection'):
            return entity
        inner = [f for f in fields(entity) if not is_structure(f)]
        if not PROTECTION.search(fields_named(entity, b'content-type')):
            self.assertEqual((inner, 'header not protected' in mail.log.get('detail', '')), ([], True), mail.log.get('detail'))
            return entity
        outer = [f for f in self.without_trace(mail.near.content) if name_of(f) in SHOWN]
        self.assertEqual([re.sub(rb'[ \t]*\r\n$', b'\r\n', f) for f in outer], inner, 'what users see is repeated, in its order')
        rest = b''.join(f for f in fields(entity) if is_structure(f)) + b'\r\n' + body_of(entity)
        return PROTECTION.sub(b'', rest, 1)

    def without_trace(self, raw):
        """The header without what relays put on top of it."""
        found = fields(raw)
        while found and name_of(found[0]) in TRACE:
            found.pop(0)
        return found

    def assert_outer_header(self, mail):
        """Everything stays in its place as it was, but for the structure."""
        got, wanted = self.without_trace(mail.near.content), []
        sent = fields(mail.taken)
        new_type = [f for f in got if name_of(f) == b'content-type']
        self.assertEqual(len(new_type), 1)
        self.assertNotEqual(new_type[0], b''.join(f for f in sent if name_of(f) == b'content-type'))
        for field in sent:
            if name_of(field) == b'content-type':
                wanted += new_type
            elif not is_structure(field):
                wanted.append(field)
        names = {name_of(f) for f in sent}
        if b'mime-version' not in names:
            wanted.append(b'MIME-Version: 1.0\r\n')
        if b'content-type' not in names:
            wanted += new_type
        if mail.opaque:
            wanted += [b'Content-Transfer-Encoding: base64\r\n', b'Content-Disposition: attachment; filename="smime.p7m"\r\n']
        self.assertEqual(got, wanted)

    def bad_signatures(self, mails):
        """By OpenSSL, GnuPG and NSS, and DKIM's, as they arrived at the very end."""
        lock = threading.Lock()
        bad = []
        with mailtools.Verifiers(self.stage.ca.root) as verifiers:
            self.assertEqual(set(verifiers.names), set(mailtools.VERIFIERS), 'all of them are installed')

            def judge(mail):
                raw = (mail.far or mail.near).content
                verdicts = verifiers.all(raw)
                found = ['%s: %r' % (n, v) for n, v in verdicts.items() if not v]
                if mail.opaque and len({v.content for v in verdicts.values()}) != 1:
                    found.append('they read different things')
                good, tags = self.dkim(raw)
                if not good:
                    found.append('DKIM: %r' % tags)
                if found:
                    with lock:
                        bad.append('%s: %s' % (mail.name, '; '.join(found)))
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(judge, mails))
        return bad

    def dkim(self, raw):
        import dkim
        checker = dkim.DKIM(raw)
        try:
            return checker.verify(dnsfunc=self._txt), checker.signature_fields
        except dkim.DKIMException as trouble:
            return False, str(trouble)

    def _txt(self, name, timeout=10):
        if name not in self.txt:
            self.txt[name] = self.stage.dns.txt_for_dkim(name, timeout)
        return self.txt[name]
