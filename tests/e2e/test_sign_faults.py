"""Mail on which signatures have broken elsewhere: each row of the table goes through the product's Postfix, a second one, and three verifiers."""

import base64
import collections
import email.utils
import os
import subprocess
import time
import uuid

import corpus
import mailtools
from mailtools import crlf
from namespace import BASE, environment
from product import require
from stage import Stage
from survival import ENCODED, OPAQUE, RATHER_OPAQUE, SAME, UNENCODABLE, UNSIGNED, UNTOUCHED, Mail, Survival, compare_entities, entity_of

STAGE = {'ca': True}
TAKES, BUSY = 70, 27
TREES, SEED = 120, os.environ.get('ENROLL_TEST_SEED', '1')         # other seeds make other trees
UMLAUT = 'Grüße aus Köln, naïve café\n'


def setUpModule():
    require()


def mail(structure=None, body='Hello,\nthis is a test.\n', subject=None, mime='MIME-Version: 1.0', top='', end=''):
    """Bytes of a mail whose structure fields stand in the middle of its header. top, end: more fields."""
    head = ['From: Alice <alice@corp.example>', mime, structure, 'To: Box <box@far.example>', 'Subject: ' + (subject or 'a test'),
            'Date: ' + email.utils.formatdate(), 'Message-ID: <%s@corp.example>' % uuid.uuid4().hex, 'X-Last: of all']
    head = top + ''.join(h.strip('\n') + '\n' for h in head if h) + end
    return crlf(head) + b'\r\n' + (body if isinstance(body, bytes) else crlf(body))


def text(body, encoding='8bit', kind='text/plain; charset=utf-8'):
    return mail('Content-Type: %s\nContent-Transfer-Encoding: %s' % (kind, encoding), body)


def part(body, kind='text/plain; charset=utf-8', encoding=None, more=''):
    return 'Content-Type: %s\n%s%s\n%s' % (kind, 'Content-Transfer-Encoding: %s\n' % encoding if encoding else '', more, body)


def multi(*parts, kind='mixed', boundary='bb', parameter=None, preamble='', epilogue='', close='--bb--\n', **more):
    """A multipart; parts are texts or bytes."""
    body = crlf(preamble)
    for one in parts:
        body += b'--' + boundary.encode() + b'\r\n' + crlf(one) + b'\r\n'
    if close:
        body += crlf(close.replace('bb', boundary) if boundary != 'bb' else close)
    return mail('Content-Type: multipart/%s; boundary=%s' % (kind, parameter or '"%s"' % boundary), body + crlf(epilogue), **more)


def nested(levels, leaf):
    """Multipart in multipart in ..."""
    head = ''.join('--b%d\nContent-Type: multipart/mixed; boundary="b%d"\n\n' % (n, n + 1) for n in range(levels - 1))
    body = head + '--b%d\n%s\n' % (levels - 1, leaf) + ''.join('--b%d--\n' % n for n in reversed(range(levels)))
    return mail('Content-Type: multipart/mixed; boundary="b0"', body)


PLAIN = part('Hello, world.\n', encoding='7bit')
EIGHT = part(UMLAUT, encoding='8bit')
FILE = part('AAECAwQFBgcICQ==', 'application/octet-stream; name="a.bin"', 'base64', 'Content-Disposition: attachment; filename="a.bin"\n')
FORWARDED = 'From: x@outside.example\nSubject: inside\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: %s\n\n%s'
ARMOR = '-----BEGIN PGP %s-----\n\niQEzBAEBCAAdFiEE0000000000000000000000000000000000AAoJEAAAAAAA\n=abcd\n-----END PGP %s-----\n'


def delimiters():
    """Boundaries, what stands around them and behind the last."""
    hidden = '--bb\n' + FILE + '\n--bb--\n'
    yield 'epilogue with delimiter-like lines', multi(PLAIN, FILE, epilogue='--\n--other\n--bb-not\nthe end\n'), SAME
    yield 'epilogue with delimiter-like lines, 8-bit in a part', multi(EIGHT, FILE, epilogue='--\n--other\n--bb-not\nthe end\n'), ENCODED
    yield 'preamble and epilogue of several lines', multi(PLAIN, FILE, preamble='one\n\ntwo\n', epilogue='\n\nthree\n'), SAME
    yield '8-bit preamble and epilogue', multi(PLAIN, preamble='Grüße\n', epilogue='Grüße\n'), ENCODED
    yield 'close delimiter with trailing padding and an attachment behind it', \
        multi(PLAIN, close='--bb--  \t\n', epilogue=hidden), SAME
    yield 'the same with 8-bit in front', multi(EIGHT, close='--bb--  \t\n', epilogue=hidden), ENCODED
    yield 'the same with 8-bit in what is hidden', \
        multi(PLAIN, close='--bb--  \n', epilogue='--bb\n%s\n--bb--\n' % EIGHT), UNTOUCHED, UNENCODABLE
    yield 'delimiters with trailing padding', mail(
        'Content-Type: multipart/mixed; boundary=bb', '--bb   \n%s\n--bb\t\n%s\n--bb-- \n' % (PLAIN, FILE)), SAME
    yield 'unterminated multipart', multi(PLAIN, FILE, close=None), SAME
    yield 'unterminated multipart with 8-bit', multi(FILE, EIGHT, close=None), ENCODED
    body = multi(PLAIN)
    yield 'close delimiter without line end', dict(chunked=True, taken=body), body[:-2], SAME
    yield 'multipart without any part', multi(close=None, preamble='nothing\n'), SAME
    yield 'multipart with an empty part', mail('Content-Type: multipart/mixed; boundary=bb', '--bb\n--bb\n\n--bb--\n'), SAME
    yield 'part without header', mail('Content-Type: multipart/mixed; boundary=bb', '--bb\n\nno header\n--bb--\n'), SAME
    yield '8-bit part without header', mail('Content-Type: multipart/mixed; boundary=bb', '--bb\n\n%s--bb--\n' % UMLAUT), ENCODED
    for name, boundary, parameter in (
            ('semicolon', 'a;b', None), ('quotes', 'a"b', r'"a\"b"'), ('backslash', 'a\\b', r'"a\\b"'), ('all odd characters', "'()+_,-./:=?x", None),
            ('blanks inside', 'a b  c', None), ('dashes in front', '----=_x', None), ('70 octets', 'x' * 70, None),
            ('percent', '%s%n%00', None), ('equals and underscore', '=_=20', None), ('parenthesis', 'a(b', None)):
        yield 'boundary with ' + name, multi(PLAIN, FILE, boundary=boundary, parameter=parameter), SAME
        yield 'boundary with %s, 8-bit' % name, multi(EIGHT, FILE, boundary=boundary, parameter=parameter), ENCODED
    yield 'boundary that begins like another', mail('Content-Type: multipart/mixed; boundary=bb', (
        '--bb\nContent-Type: multipart/alternative; boundary=bbb\n\n--bbb\n%s\n--bbb--\n\n--bb\n%s\n--bb--\n') % (EIGHT, FILE)), ENCODED
    yield 'our own kind of boundary, used twice', multi(multi_text('=_same'), boundary='=_same'), SAME


def multi_text(boundary):
    return 'Content-Type: multipart/alternative; boundary="%s-inner"\n\n--%s-inner\n%s\n--%s-inner--\n' % (boundary, boundary, PLAIN, boundary)


def type_fields():
    """Content-Type and its relatives, well- and ill-formed."""
    def plain(field, expected=SAME, body='Hello, world.\n'):
        return mail(field, body), expected
    for name, field in (
            ('semicolons and quotes in a name', r'Content-Type: text/plain; name="we;ird \"quoted\"; x=y.txt"; charset=us-ascii'),
            ('semicolon at the end', 'Content-Type: text/plain; charset=us-ascii;'),
            ('comments', 'Content-Type: text/plain (plain; text); charset=us-ascii (of "course")'),
            ('no parameter separator', 'Content-Type: text/plain charset=us-ascii'), ('odd case', 'CONTENT-type: TEXT/Plain; CharSet=US-ascii'),
            ('no subtype', 'Content-Type: text'), ('empty', 'Content-Type: '), ('no blank behind the colon', 'Content-Type:text/plain'),
            ('folded with tabs', 'Content-Type: text/plain;\n\tcharset=us-ascii;\n\t format=flowed;\n\t\tdelsp=yes'),
            ('over 76 characters in one line', 'Content-Type: text/plain; charset=us-ascii; name="%s.txt"' % ('long' * 30)),
            ('RFC 2231 name', "Content-Type: text/plain; name*0*=utf-8''%C3%BC;\n name*1*=ber.txt"),
            ('unknown encoding', 'Content-Type: text/plain\nContent-Transfer-Encoding: x-none'),
            ('many structure fields', 'Content-Type: text/plain\nContent-Language: de\nContent-ID: <x@corp.example>\nContent-MD5: abc\n'
                                      'Content-Description: =?utf-8?q?=C3=BC?=\nContent-Disposition: inline; filename="a;b.txt"')):
        yield 'Content-Type: ' + name if 'encoding' not in name and 'fields' not in name else name, *plain(field)
    for name, field in (
            ('8-bit, semicolons and quotes in a name', r'Content-Type: text/plain; name="we;ird \"quoted\".txt"; charset=utf-8'),
            ('8-bit, no subtype', 'Content-Type: text'), ('8-bit, comments', 'Content-Type: text/plain (a; b); charset=utf-8 (of "course")'),
            ('8-bit, semicolon at the end', 'Content-Type: text/plain;'), ('8-bit, folded with tabs', 'Content-Type: text/plain;\n\tcharset=utf-8'),
            ('8-bit, encoding with a comment', 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit (of course)'),
            ('8-bit, declared as 7bit', 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit'),
            ('8-bit, encoding folded', 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding:\n\t8bit'),
            ('8-bit, unknown encoding', 'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8-bit'),
            ('8-bit, many structure fields', 'Content-Type: text/plain; charset=utf-8\nContent-Language: de\nContent-ID: <x@corp.example>\n'
                                             'Content-Description: =?utf-8?q?=C3=BC?=\nContent-Disposition: inline; filename="a;b.txt"')):
        yield name, *plain(field, ENCODED, UMLAUT)
    yield '7-bit text declared as 8bit', *plain('Content-Type: text/plain\nContent-Transfer-Encoding: 8bit', ENCODED)
    yield '7-bit text declared as binary', *plain('Content-Type: text/plain\nContent-Transfer-Encoding: binary', ENCODED)
    yield 'raw UTF-8 name in Content-Type', dict(utf8=True), *plain('Content-Type: text/plain; charset=utf-8; name="Grüße.txt"', ENCODED)
    yield 'raw UTF-8 names, 8-bit in a part', dict(utf8=True), multi(EIGHT, part(
        'AAEC', 'application/pdf; name="Prüfung.pdf"', 'base64', 'Content-Disposition: attachment; filename="Prüfung.pdf"\n')), ENCODED
    yield 'two Content-Type fields', *plain('Content-Type: text/plain\nContent-Type: text/html', UNTOUCHED), 'two Content-Type fields'
    yield 'two Content-Transfer-Encoding fields', *plain('Content-Transfer-Encoding: 7bit\nContent-Type: text/plain\n'
                                                         'Content-Transfer-Encoding: 8bit', UNTOUCHED), 'two Content-Transfer-Encoding fields'
    yield 'two Content-Type fields in a part', multi('Content-Type: text/plain\nContent-Type: text/html\n\nHello'), SAME
    yield 'two Content-Type fields in an 8-bit part', multi('Content-Type: text/plain\nContent-Type: text/html\n\n' + UMLAUT), UNTOUCHED, UNENCODABLE
    yield 'Content fields without MIME-Version', mail('Content-Type: text/plain; charset=us-ascii', mime=None), SAME
    yield '8-bit Content fields without MIME-Version', mail('Content-Type: text/plain; charset=utf-8', UMLAUT, mime=None), ENCODED
    yield 'two MIME-Version fields', mail('Content-Type: text/plain', mime='MIME-Version: 1.0\nMIME-Version: 1.0'), SAME
    yield 'MIME-Version with a comment', mail('Content-Type: text/plain', mime='Mime-version: 1.0 (made by hand)'), SAME
    yield 'no MIME fields at all', mail(None, mime=None), SAME
    yield '8-bit text without MIME fields', mail(None, UMLAUT, mime=None), ENCODED
    yield 'Latin-1 text without MIME fields', mail(None, UMLAUT.encode('latin-1').replace(b'\n', b'\r\n'), mime=None), ENCODED


def contents():
    """Octets and lines."""
    yield '8-bit body', dict(options=['BODY=8BITMIME']), text(UMLAUT), ENCODED
    yield '8-bit body that nobody announced', text(UMLAUT), ENCODED
    yield '8-bit HTML without charset', text('<p>%s</p>\n' % UMLAUT, kind='text/html'), ENCODED
    yield 'Latin-1 HTML without charset', text(b'<p>Gr\xfc\xdfe</p>\r\n', kind='text/html'), ENCODED
    yield 'UTF-8 text with NUL, without charset', text('Gr\u00fc\0\u00dfe\n', kind='text/plain'), ENCODED
    yield 'Windows-1252 text without charset', text(b'\x93Gr\xfc\xdfe\x94\r\n', kind='text/plain'), ENCODED
    yield 'all octets but line ends', text(bytes(c for c in range(256) if c not in b'\r\n') + b'\r\n', kind='application/octet-stream'), ENCODED
    yield 'NUL', text('a\0b\n\0\n', '7bit'), ENCODED
    body = text('one two\n three\n', '7bit')
    yield 'bare CR, which Postfix makes a blank', dict(taken=body), body.replace(b'one ', b'one\r').replace(b' three', b'\rthree'), SAME
    body = text('one\ntwo\nthree\n', '7bit')
    yield 'bare LF, which Postfix makes CRLF', dict(taken=body), body.replace(b'one\r\n', b'one\n'), SAME
    # RFC 5322 allows 998; there are MTAs that break lines a little sooner
    yield '990 octets in a line', text('x' * 990 + '\n', '7bit'), SAME
    yield '991 octets in a line', text('x' * 991 + '\n', '7bit'), ENCODED
    yield '999 octets in a line', text('x' * 999 + '\n', '7bit'), ENCODED
    yield '2,000 octets in a line', text('x' * 2000 + '\n', '7bit'), ENCODED
    yield '100,000 octets in a line of HTML', text('<p>' + 'word ' * 20000 + '</p>\n', '7bit', 'text/html'), ENCODED
    yield '5,000 octets in a line of base64', text(base64.b64encode(os.urandom(3750)) + b'\r\n', 'base64', 'application/pdf'), ENCODED
    yield '2,000 octets in a line of quoted-printable', text('=C3=BC' * 340 + '\n', 'quoted-printable'), ENCODED
    yield '8-bit in quoted-printable', text('=C3=BC and ü\n', 'quoted-printable'), ENCODED
    yield 'empty body', text('', '7bit'), SAME
    yield 'empty body of 8bit', text(''), ENCODED
    body = text('', '7bit')
    yield 'no empty line behind the header', dict(taken=body), body[:-2], SAME
    yield 'only an empty line', text('\n', '7bit'), SAME
    yield 'only dots', text('.\n..\n...\n.\n', '7bit'), SAME
    yield 'only dots, 8-bit behind', text('.\n..\n.\nü\n.\n'), ENCODED
    body = text('no line end\n', '7bit')
    yield 'missing final CRLF, which Postfix adds', dict(chunked=True, taken=body), body[:-2], SAME
    body = text('kein Ende für uns\n')
    yield 'missing final CRLF, 8-bit', dict(chunked=True, taken=body), body[:-2], ENCODED
    yield 'byte order mark', text('\ufeffHello\n'), ENCODED
    yield 'byte order mark of UTF-16', text(b'\xff\xfeH\x00i\x00\r\n', kind='text/plain; charset=utf-16'), ENCODED
    yield 'trailing blanks', text('one \ntwo\t\n-- \nme  \n', '7bit', 'text/plain; charset=us-ascii; format=flowed'), ENCODED
    yield 'trailing blanks in quoted-printable', text('one=20\ntwo \n', 'quoted-printable'), SAME
    yield 'lines that begin with From', text('Hello\nFrom here to there\n\nFrom \n>From me\n', '7bit'), ENCODED
    yield 'trailing blanks in one part only', multi(PLAIN, part('a \nb\n', encoding='7bit'), FILE), ENCODED
    yield 'uuencode', text('begin 644 a.txt\n%2&5L;&\\\n`\nend\n', 'x-uuencode', 'application/octet-stream'), SAME
    yield 'tabs only', text('\t\n\t\t\n', '7bit'), ENCODED


def headers():
    """The header above the signed part."""
    yield 'header folded with tabs', mail('Content-Type: text/plain;\n\tcharset=us-ascii', top='X-Trail:\n\tone\n\ttwo\n\t\tthree\n',
                                          end='References: <a@b>\n\t<c@d>\n <e@f>\n'), SAME
    yield 'fields behind the folded Content-Type', mail('Content-Type: multipart/mixed;\n\tboundary="bb"\nX-Next: here\nX-Next: and here',
                                                        crlf('--bb\n%s\n--bb--\n' % EIGHT)), ENCODED
    yield 'fields of the same name, empty, without blank', mail('Content-Type: text/plain', end='X-A: 1\nX-A: 2\nX-A:\nX-B:3\nX-A: 1\n'), SAME
    yield 'header of 100 kB', mail('Content-Type: text/plain', end=''.join('X-Line-%d: %s\n' % (n, 'x' * 80) for n in range(1100))), SAME
    yield 'header of 100 kB, 8-bit', mail('Content-Type: text/plain; charset=utf-8', UMLAUT,
                                          end=''.join('X-Line-%d: %s\n' % (n, 'x' * 80) for n in range(1100))), ENCODED
    # with milters, Postfix cuts fields over 60,000 octets
    yield 'a field of 59 kB', mail('Content-Type: text/plain', end='X-Long: one\n' + ' more words of it\n' * 3300), SAME
    yield 'a structure field of 50 kB', mail('Content-Type: text/plain; charset=us-ascii;\n' + ' x-more=words;\n' * 3300 + ' x-last=y'), SAME
    yield 'a structure field of 50 kB, 8-bit', mail('Content-Type: text/plain; charset=utf-8;\n' + ' x-more=words;\n' * 3300 + ' x-last=y', UMLAUT), ENCODED
    for length in range(60, 81):
        yield 'subject of %d characters' % length, mail('Content-Type: text/plain; charset=us-ascii', subject=('word ' * 20)[:length - 1] + 'x'), SAME
    yield 'UTF-8 header fields', dict(utf8=True), mail('Content-Type: text/plain; charset=utf-8', UMLAUT, subject='Grüße, 世界', end='X-Ü: ü\n'.replace('Ü', 'U')), ENCODED
    yield 'UTF-8 header fields, 7-bit body', dict(utf8=True), mail('Content-Type: text/plain; charset=us-ascii', subject='Grüße, 世界'), SAME
    yield 'UTF-8 in Content-Description', dict(utf8=True), mail('Content-Type: text/plain\nContent-Description: Grüße'), ENCODED
    yield 'From is not the envelope sender', dict(sender='bounces@corp.example'), mail('Content-Type: text/plain'), SAME
    yield 'VERP envelope sender', dict(sender='alice+box=far.example@corp.example'), mail('Content-Type: text/plain'), SAME
    yield 'SRS envelope sender', dict(sender='SRS0=HHH=TT=outside.example=joe@corp.example'), mail('Content-Type: text/plain'), SAME


def structures():
    """Parts in parts, and parts that nobody may change."""
    inner_type, inner = signed_part('Signed inside')
    fragile = signed_part('Signed inside \nFrom me\t')[1]
    yield '90 levels, 8-bit', nested(90, EIGHT), ENCODED
    yield '1,000 levels', dict(options=['BODY=7BIT']), nested(1000, PLAIN), SAME
    yield '1,000 levels, 8-bit', dict(far=False), nested(1000, EIGHT), UNTOUCHED, UNENCODABLE
    yield 'forwarded message', multi(PLAIN, part(FORWARDED % ('7bit', 'Hello\n'), 'message/rfc822')), SAME
    yield 'forwarded message, 8-bit beside it', multi(EIGHT, part(FORWARDED % ('7bit', 'Hello\n'), 'message/rfc822', '7bit')), ENCODED
    yield 'forwarded message with 8-bit', multi(PLAIN, part(FORWARDED % ('8bit', UMLAUT), 'message/rfc822', '8bit')), UNTOUCHED, UNENCODABLE
    yield 'forwarded message declared 8bit, which it is not', multi(EIGHT, part(FORWARDED % ('7bit', 'x\n'), 'message/rfc822', '8bit')), ENCODED
    yield 'digest with 8-bit', multi('\n' + FORWARDED % ('8bit', UMLAUT), kind='digest'), UNTOUCHED, UNENCODABLE
    yield 'inner signature', multi(PLAIN, inner_type + '\n\n' + inner), SAME
    yield 'inner signature, 8-bit beside it', multi(EIGHT, inner_type + '\n\n' + inner, FILE), ENCODED
    yield 'inner signature over trailing blanks and From', multi(PLAIN, inner_type + '\n\n' + fragile), SAME
    yield 'the same with 8-bit beside it', multi(inner_type + '\n\n' + fragile, EIGHT), ENCODED
    yield 'inner signature over 8-bit', multi(PLAIN, inner_type + '\n\n' + signed_part('Signiert, für uns')[1]), UNTOUCHED, UNENCODABLE
    yield 'long line in uuencode', text('begin 644 a\n' + 'M' * 1500 + '\n`\nend\n', 'x-uuencode', 'application/octet-stream'), UNTOUCHED, UNENCODABLE
    yield 'message/partial', mail('Content-Type: message/partial; id="a"; number=1; total=2'), UNTOUCHED, 'report'


def signed_part(content):
    kind = 'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\n\tmicalg=sha-256; boundary="sig"'
    return kind, ('--sig\nContent-Type: text/plain\n\n%s\n--sig\nContent-Type: application/pkcs7-signature\n'
                  'Content-Transfer-Encoding: base64\n\nMIIB\n--sig--\n') % content


def openssl(*args, data):
    done = subprocess.run(['openssl', *args], input=data, capture_output=True, env=environment(), check=True)
    return done.stdout


class Made:
    """S/MIME mail of a client, by a certificate that is not the product's."""

    def __init__(self):
        self.certificate, self.key = BASE + '/tmp/client.pem', BASE + '/tmp/client.key'
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=client', '-addext', 'subjectAltName=email:alice@corp.example',
                '-keyout', self.key, '-out', self.certificate, data=b'')

    def wrapped(self, *args):
        made = openssl('cms', *args, data=crlf('Content-Type: text/plain\n\nHello from a client.\n'))
        top, body = mailtools.split(crlf(made))
        structure = b''.join(l + b'\n' for l in top.replace(b'\r', b'').splitlines() if not l.startswith(b'MIME-Version')).decode()
        return mail(structure, body)

    def rows(self):
        sign = ['-sign', '-signer', self.certificate, '-inkey', self.key]
        yield 'S/MIME, clear', self.wrapped(*sign), UNTOUCHED, 'already signed'
        yield 'S/MIME, opaque', self.wrapped(*sign, '-nodetach'), UNTOUCHED, 'already signed (S/MIME, opaque)'
        yield 'S/MIME, enveloped', self.wrapped('-encrypt', '-aes256', self.certificate), UNTOUCHED, 'already encrypted (S/MIME)'
        yield 'PGP/MIME, signed', multi(PLAIN, part(ARMOR % ('SIGNATURE', 'SIGNATURE'), 'application/pgp-signature'),
                                        kind='signed; protocol="application/pgp-signature"; micalg=pgp-sha256'), UNTOUCHED, 'already signed (PGP)'
        yield 'PGP/MIME, encrypted', multi(part('Version: 1\n', 'application/pgp-encrypted'), part(ARMOR % ('MESSAGE', 'MESSAGE'),
                                           'application/octet-stream'), kind='encrypted; protocol="application/pgp-encrypted"'), UNTOUCHED, 'already encrypted (PGP)'
        yield 'PGP inline, signed', text('-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -- \nHi\n' + ARMOR % ('SIGNATURE', 'SIGNATURE'), '7bit'), ENCODED
        yield 'PGP inline, encrypted', text(ARMOR % ('MESSAGE', 'MESSAGE'), '7bit'), SAME
        yield 'PGP inline, declared', text(ARMOR % ('MESSAGE', 'MESSAGE'), '7bit', 'text/plain; x-action=pgp-encrypted'), UNTOUCHED, 'PGP'


def rows_to_mails(rows):
    """Rows are (name, [options of Mail,] bytes, expected[, reason])."""
    for row in rows:
        name, row = row[0], list(row[1:])
        options = row.pop(0) if isinstance(row[0], dict) else {}
        if options.pop('utf8', False):
            options['options'] = ['SMTPUTF8', 'BODY=8BITMIME']
        yield Mail(name, row[0], *row[1:], **options)


class Faults(Survival):
    users = ('alice',)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = Made()

    def run_table(self, rows):
        mails = list(rows_to_mails(rows))
        self.assertEqual(len({m.name for m in mails}), len(mails), 'each row has its name')
        self.send(mails)
        self.check_all(mails)
        print('# %s: %d mails' % (self.id(), len(mails)), flush=True)

    def test_delimiters(self):
        self.run_table(delimiters())

    def test_type_fields(self):
        self.run_table(type_fields())

    def test_contents(self):
        self.run_table(contents())

    def test_headers(self):
        self.run_table(headers())

    def test_structures(self):
        self.run_table(structures())

    def test_mail_of_clients_that_sign_or_encrypt(self):
        self.run_table(self.made.rows())

    def test_trees_of_parts_made_by_chance(self):
        """Signed, or left alone for one of the known reasons; which of the two is not known before."""
        mails = [Mail('tree %d' % n, raw, None, options=['BODY=8BITMIME'], far=n % 2 == 0) for n, raw in enumerate(corpus.by_chance(TREES, SEED))]
        self.send(mails)
        for one in mails:
            said = one.log['verdict'], one.log['reason']
            one.expected = said[1]
            if said[0] == UNTOUCHED:
                one.expected, one.reason = said
                one.wants_far = False
        print('# %s' % collections.Counter(m.expected for m in mails), flush=True)
        self.check_all(mails)
        self.assertGreater(sum(m.expected == ENCODED for m in mails), TREES / 3)

    # -- the opaque form ------------------------------------------------------------

    def run_opaque(self, word, rows):
        mails = list(rows_to_mails(rows))
        for one in mails:
            one.becomes_opaque(word)
        self.assertIn(word, {m.expected for m in mails})
        self.send(mails)
        self.check_all(mails)

    def test_opaque_form(self):
        self.configure_signing(form='opaque')
        self.run_opaque(OPAQUE, [*contents(), *structures(), *self.made.rows()])

    def test_opaque_form_for_what_must_not_be_encoded(self):
        self.configure_signing(unencodable='opaque')
        self.run_opaque(RATHER_OPAQUE, structures())

    # -- other ways to sign -----------------------------------------------------------

    def test_pss(self):
        self.configure_signing(rsa_padding='pss')
        self.run_table(structures())

    def test_header_protection(self):
        self.configure_signing(header_protection=True)
        self.run_table([*type_fields(), *headers()])

    # -- certificates that are over -------------------------------------------

    def test_expired_certificate_is_not_used(self):
        """Nobody renews it, as enrolld is not there; what cannot be signed in time is tried with a longer life."""
        self.addCleanup(self.p.start, 'enrolld')
        self.addCleanup(self.stage.ca.admin, '/behaviour', {'lifetime_seconds': None, 'backdate_seconds': 3600})
        for user, life in (('bob', 15), ('carol', 60), ('dave', 300)):
            enrolled = time.time()
            self.stage.ca.admin('/behaviour', {'lifetime_seconds': life, 'backdate_seconds': 0})
            self.p.start('enrolld')
            self.p.ctl('enroll', user + '@corp.example')
            self.p.wait_state(user + '@corp.example', 'active')
            self.p.stop('enrolld')
            until = self.expiry(user)
            self.assertLess(until - enrolled, life + 300)
            raw = mail('Content-Type: text/plain').replace(b'alice@', user.encode() + b'@')
            early = Mail('while it is valid', raw, SAME, user=user)
            self.send([early], 1)
            if time.time() < until:
                break
        self.check(early)
        self.assertEqual(self.bad_signatures([early]) if time.time() < until - 5 else [], [])
        time.sleep(max(0, until - time.time()) + 1)
        late = [Mail('expired', raw, UNSIGNED, 'expired', user=user),
                Mail('expired, 8-bit', raw.replace(b'Hello', 'Grüße'.encode()), UNSIGNED, 'expired', user=user)]
        self.send(late)
        self.check_all(late)

    def expiry(self, user):
        found = [c for c in self.stage.ca.admin('/state')['certificates'] if user in str(c)]
        return max(c['not_after'] for c in found)

    # -- the judges ---------------------------------------------------------------

    def test_the_second_hop_would_break_what_is_not_7_bit(self):
        """Mail that nobody signs shows it: converted, and its long lines broken."""
        automatic = 'Auto-Submitted: auto-replied\n'
        eight = mail('Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit', UMLAUT, top=automatic)
        long = mail('Content-Type: text/plain', 'x' * 2000 + '\n', top=automatic)
        mails = [Mail('8-bit', eight, UNTOUCHED, 'auto-submitted'), Mail('long line', long, UNTOUCHED, 'auto-submitted')]
        self.send(mails)
        self.check_all(mails)
        converted, broken = (m.far.content for m in mails)
        self.assertIn(b'Content-Transfer-Encoding: quoted-printable\r\n', converted)
        self.assertIn(b'Gr=C3=BC=C3=9Fe', converted)
        self.assertEqual(max(map(len, broken.splitlines())), 998)

    def test_a_changed_octet_is_noticed_by_every_judge(self):
        one = Mail('judged', multi(EIGHT, FILE), ENCODED)
        self.send([one])
        self.check_all([one])
        good = one.far.content
        for octet, other in ((b'Gr=C3=BC', b'Gr=C3=BD'), (b'AAECAwQ', b'AAECAwR')):
            self.assertEqual(good.count(octet), 1)
            one.far.content = good.replace(octet, other)
            bad = self.bad_signatures([one])
            for judge in ('openssl', 'gpgsm', 'nss', 'DKIM'):
                self.assertIn(judge + ':', ''.join(bad))
            changed = mailtools.Signed(one.far.content).entity
            self.assertEqual(len(compare_entities(entity_of(one.raw), changed)), 1)
            self.assertEqual(compare_entities(entity_of(one.raw), mailtools.Signed(good).entity), [])
