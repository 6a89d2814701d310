"""Mail as people and programs send it, all of it invented: some hundred samples, the same ones for the same seed.

    for sample in corpus(seed=1):
        sample.kind, sample.name, sample.raw, sample.expected, sample.reason

`expected` is one of survival's words and follows from how the sample was made: who writes 8-bit text, a line of 1,000 octets or a blank at the
end of a line gets it encoded, who says multipart/report is left alone.  The parties are alice@corp.example and strangers.
"""

import base64
import binascii
import email.header
import email.utils
import quopri
import random
import zlib

from survival import ENCODED, SAME, UNENCODABLE, UNTOUCHED

# What people write, by charset.
TEXTS = {
    'us-ascii': 'Please find the report attached. The meeting is moved to Thursday, 14:30.',
    'utf-8': 'Grüße aus Köln – die Unterlagen für 世界 und Ελλάδα kosten 12 €, naïve café 😀.',
    'iso-8859-1': 'Schöne Grüße, die Prüfung fällt aus. ¿Mañana? L\'été déjà passé.',
    'iso-8859-2': 'Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.',
    'iso-8859-15': 'Der Preis beträgt 12 €, œuvre complète, Žižkov.',
    'windows-1252': '“Schöne” Grüße – 12 €… naïve café ™',
    'windows-1251': 'Добрый день! Отчёт во вложении, встреча в четверг.',
    'koi8-r': 'Добрый день! Отчёт во вложении, встреча в четверг.',
    'iso-2022-jp': 'お世話になっております。資料をお送りします。',
    'shift_jis': 'お世話になっております。資料の表示を確認してください。',
    'gb18030': '您好，附件是本周的报告，请查收。',
    'big5': '您好，附件是本週的報告，請查收。功能許可。',
    'euc-kr': '안녕하세요, 이번 주 보고서를 첨부합니다.',
    'utf-16': 'Grüße, 世界 – UTF-16',
}
NAMES = ('Report.pdf', 'Prüfung 2026 – Entwurf.pdf', '資料.docx', 'Отчёт за неделю.xlsx', 'photo (1).jpg', 'a;b "c".txt', 'x' * 90 + '.txt')
CLIENTS = {
    'outlook': ('X-Mailer: Microsoft Outlook 16.0', 'Thread-Index: AdnQmQ2x0000000000000000000000==',
                'Content-Language: de', 'X-MS-Has-Attach: ', 'x-originating-ip: [192.0.2.77]', 'Importance: High'),
    'thunderbird': ('User-Agent: Mozilla Thunderbird', 'Content-Language: en-US', 'X-Mozilla-Draft-Info: internal/draft; vcard=0; receipt=0;\r\n uuencode=0'),
    'apple': ('X-Mailer: Apple Mail (2.3774.300.61.1.2)', 'X-Universally-Unique-Identifier: 00000000-1111-2222-3333-444444444444'),
    'webmail': ('User-Agent: Webmail/1.6', 'X-Sender: alice@corp.example', 'Reply-To: =?UTF-8?Q?Alice_Gr=C3=BCn?= <alice@corp.example>'),
    'phone': ('X-Mailer: Phone Mail (21A0000)', 'References: <first@outside.example>\r\n\t<second@outside.example>\r\n <third@outside.example>',
              'In-Reply-To: <third@outside.example>'),
    'gmail': ('X-Gm-Message-State: AOJu0Yw' + 'abcdefgh' * 9, 'X-Google-Smtp-Source: AGHT+IE' + 'ABCDEFGH' * 7,
              'X-Received: by 2002:a05:0:0:0:0:0:0 with SMTP id x1;\r\n        Sun, 22 Nov 2026 08:00:00 -0800 (PST)'),
    'script': ('X-Priority: 3', 'X-PHP-Originating-Script: 1000:send.php', 'Precedence: normal'),
}


class Sample:
    def __init__(self, kind, name, raw, expected, reason=None, sender='alice@corp.example'):
        self.kind, self.name, self.raw, self.expected, self.reason, self.sender = kind, name, raw, expected, reason, sender


def crlf(data):
    data = data.encode() if isinstance(data, str) else data
    return data.replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')


class Maker:
    """Builds parts and mails out of a seeded source of chance."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.count = 0

    def token(self, length=16):
        return ''.join(self.r.choice('0123456789abcdef') for _n in range(length))

    def octets(self, length):
        return self.r.randbytes(length)

    def words(self, charset, lines=None):
        """A text of some lines; no line is long, none ends in a blank."""
        pieces = TEXTS[charset].split(' ')
        out = [TEXTS[charset]]
        for _line in range(lines or self.r.randint(2, 12)):
            out.append(' '.join(self.r.choice(pieces) for _w in range(self.r.randint(1, 9))) if self.r.random() > 0.15 else '')
        return '\n'.join(line.strip() for line in out).replace('\nFrom ', '\nfrom ') + '\n'

    def mail(self, structure, body, client=None, fields=(), mime=True, sender='Alice <alice@corp.example>'):
        """The header of a client, with the structure fields at a place of their own."""
        self.count += 1
        client = client or self.r.choice(sorted(CLIENTS))
        subject = self.r.choice(sorted(TEXTS))
        subject = email.header.Header(TEXTS[subject], 'utf-8', 70).encode(linesep='\r\n') if self.r.random() < 0.6 else 'Re: report %d' % self.count
        head = ['From: ' + sender, 'To: "Box, Inc." <box@far.example>,\r\n\t=?utf-8?q?J=C3=B6rg?= <joerg@far.example>', 'Subject: ' + subject,
                'Date: ' + email.utils.formatdate(1.79e9 + self.count * 61), 'Message-ID: <%s.%d@corp.example>' % (self.token(), self.count)]
        head += [f for f in CLIENTS[client] if not f.startswith('Content-')]
        block = (['MIME-Version: 1.0'] if mime else []) + [s for s in ([structure] if isinstance(structure, str) else structure) if s]
        block += [f for f in CLIENTS[client] if f.startswith('Content-') and mime]
        at = self.r.randint(1, len(head))
        head[at:at] = block
        head += fields
        return b''.join(crlf(h) + b'\r\n' for h in head) + b'\r\n' + body

    def boundary(self):
        return self.r.choice(('----=_NextPart_000_%s', '------------%s', 'Apple-Mail=_%s', '0000000000%s', '=_%s', 'b1_%s=_', "a'b(c)+%s,-./:=?")) % self.token()

    def multi(self, kind, parts, boundary=None, preamble=b'', epilogue=b'', parameters=''):
        """(structure, body) of a multipart of (header, content) or whole parts."""
        boundary = boundary or self.boundary()
        mark = b'--' + boundary.encode()
        body = preamble
        for head, content in parts:
            body += mark + b'\r\n' + crlf(head) + (b'\r\n' if head else b'') + b'\r\n' + content + b'\r\n'
        return 'Content-Type: multipart/%s;%s\r\n\tboundary="%s"' % (kind, parameters, boundary), body + mark + b'--\r\n' + epilogue

    def text(self, charset='us-ascii', encoding='7bit', kind='plain', lines=None, wrap='%s', more=''):
        """(structure, content) of a text part."""
        data = crlf((wrap % self.words(charset, lines)).encode(charset))
        return 'Content-Type: text/%s; charset=%s%s%s' % (kind, charset, more, '\r\nContent-Transfer-Encoding: ' + encoding if encoding else ''), \
            encode(data, encoding)

    def html(self, charset='us-ascii', encoding='7bit'):
        return self.text(charset, encoding, 'html', wrap='<html><head>\n<meta http-equiv="Content-Type" content="text/html; charset=' + charset +
                         '">\n</head><body><p>\n%s</p></body></html>\n')

    def attachment(self, kind='application/pdf', name='Report.pdf', form='2231', size=None, disposition='attachment', content_id=None):
        data = self.octets(size or self.r.randint(1, 3000))
        head = 'Content-Type: %s;\r\n\t%s\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: %s;\r\n\t%s' % (
            kind, named('name', name, form), disposition, named('filename', name, form))
        if content_id:
            head += '\r\nContent-ID: <%s>' % content_id
        return head, encode(data, 'base64')


def encode(data, encoding):
    if encoding == 'base64':
        return crlf(base64.encodebytes(data))
    if encoding == 'quoted-printable':
        return crlf(quopri.encodestring(data.replace(b'\r\n', b'\n')))
    if encoding == 'x-uuencode':
        lines = [binascii.b2a_uu(data[i:i + 45], backtick=True) for i in range(0, len(data), 45)]
        return crlf(b'begin 644 text.txt\n' + b''.join(lines) + b'`\nend\n')
    return data


def named(parameter, name, form):
    """A parameter with a file name in it, as RFC 2231 has it (with or without continuations), RFC 2047 (wrong but usual), or as it is."""
    quoted = name.replace('\\', r'\\').replace('"', r'\"')
    if form == 'raw' or (name.isascii() and len(name) < 60 and form != '2231'):
        return '%s="%s"' % (parameter, quoted)
    if form == '2047':
        return '%s="%s"' % (parameter, email.header.Header(name, 'utf-8', 70).encode(linesep='\r\n'))
    percent = ''.join('%%%02X' % c if chr(c) not in 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_' else chr(c) for c in name.encode())
    if form == '2231':
        return "%s*=utf-8''%s" % (parameter, percent)
    pieces, rest = [], percent
    while rest:
        cut = 40 - (rest[39:40] == '%') - 2 * (rest[38:39] == '%')
        pieces.append(rest[:cut])
        rest = rest[cut:]
    return ';\r\n\t'.join("%s*%d*=%s%s" % (parameter, n, "utf-8''" if n == 0 else '', p) for n, p in enumerate(pieces))


# -- kinds --------------------------------------------------------------------

def texts(m):
    """Every charset in every encoding that can hold it."""
    for charset in TEXTS:
        for encoding in ('7bit', '8bit', 'binary', 'quoted-printable', 'base64', 'x-uuencode', None):
            seven = charset in ('us-ascii', 'iso-2022-jp')
            plain = encoding in ('7bit', '8bit', 'binary', None)
            if charset == 'utf-16' and encoding != 'base64':
                continue
            head, data = m.text(charset, encoding)
            same = not plain or (seven and encoding not in ('8bit', 'binary'))
            yield '%s as %s' % (charset, encoding), m.mail(head, data), SAME if same else ENCODED
    for charset in ('utf-8', 'iso-8859-1', 'windows-1252'):
        data = crlf(m.words(charset).encode(charset))
        yield charset + ' and nothing said of it', m.mail((), data, mime=False, client='script'), ENCODED
        yield charset + ' said to be US-ASCII', m.mail('Content-Type: text/plain; charset=us-ascii', data), ENCODED


def attachments(m):
    for name in NAMES:
        for form in ('2231', '2231 in pieces', '2047', 'raw'):
            eight = m.r.random() < 0.5
            cover = m.text('utf-8', '8bit') if eight else m.text('utf-8', 'quoted-printable')
            kind = {'pdf': 'application/pdf', 'jpg': 'image/jpeg', 'txt': 'text/plain'}.get(name[-3:], 'application/octet-stream')
            structure = m.multi('mixed', [cover, m.attachment(kind, name, form)])
            eight |= form == 'raw' and not name.isascii()
            yield '%.20s as %s%s' % (name, form, ', 8-bit' if eight else ''), m.mail(*structure), ENCODED if eight else SAME
    for number in (2, 5, 20):
        structure = m.multi('mixed', [m.text()] + [m.attachment(name='%d.bin' % n, form='raw') for n in range(number)])
        yield '%d files' % number, m.mail(*structure), SAME
    text = m.text('iso-8859-1', '8bit', more='; name="notes.txt"')
    yield 'a text file in 8bit', m.mail(*m.multi('mixed', [m.text(), (text[0] + '\r\nContent-Disposition: attachment; filename="notes.txt"', text[1])])), ENCODED
    yield 'a binary file as binary', m.mail(*m.multi('mixed', [m.text(), (
        'Content-Type: application/octet-stream; name="x.bin"\r\nContent-Transfer-Encoding: binary', m.octets(700).replace(b'\r', b'').replace(b'\n', b''))])), ENCODED
    yield 'a file and no text', m.mail(*m.attachment(name='scan.pdf', form='raw')), SAME
    yield 'an archive of 200 kB', m.mail(*m.multi('mixed', [m.text(), m.attachment('application/zip', 'a.zip', 'raw', 200000)])), SAME


def alternative(m, charset, encoding):
    return m.multi('alternative', [m.text(charset, encoding), m.html(charset, encoding)])


def alternatives(m):
    for charset, encoding in (('us-ascii', '7bit'), ('utf-8', 'quoted-printable'), ('utf-8', 'base64'), ('utf-8', '8bit'), ('iso-8859-1', '8bit'),
                              ('windows-1252', 'quoted-printable'), ('windows-1251', '8bit'), ('koi8-r', 'base64'), ('shift_jis', '8bit'),
                              ('iso-2022-jp', '7bit'), ('big5', '8bit'), ('euc-kr', 'base64'), ('gb18030', '8bit')):
        yield 'text and HTML, %s as %s' % (charset, encoding), m.mail(*alternative(m, charset, encoding)), ENCODED if encoding == '8bit' else SAME
    for first, second in (('8bit', 'quoted-printable'), ('quoted-printable', '8bit'), ('base64', '8bit')):
        yield '%s beside %s' % (first, second), m.mail(*m.multi('alternative', [m.text('utf-8', first), m.html('utf-8', second)])), ENCODED


def inline_images(m):
    for encoding in ('quoted-printable', '8bit', '7bit', 'base64'):
        charset = 'us-ascii' if encoding == '7bit' else 'utf-8'
        images = [m.attachment('image/png', 'image00%d.png' % n, 'raw', disposition='inline', content_id='image00%d.png@%s' % (n, m.token(8))) for n in (1, 2)]
        expected = ENCODED if encoding == '8bit' else SAME
        related = m.multi('related', [alternative(m, charset, encoding)] + images, parameters=' type="multipart/alternative";')
        yield 'alternative in related, ' + encoding, m.mail(*related), expected
        yield 'related in alternative, ' + encoding, m.mail(*m.multi('alternative', [
            m.text(charset, encoding), m.multi('related', [m.html(charset, encoding)] + images, parameters=' type="text/html";')])), expected
        yield 'related in mixed with a file, ' + encoding, m.mail(*m.multi('mixed', [related, m.attachment()])), expected


def flowed(m):
    for charset, delsp in (('us-ascii', 'no'), ('us-ascii', 'yes'), ('utf-8', 'no'), ('iso-8859-15', 'yes')):
        lines = m.words(charset).replace('\n\n', '\n').splitlines()
        for name, body, quiet in (('soft line ends', ' \n'.join(lines) + '\n', False),
                                  ('signature separator', '\n'.join(lines) + '\n-- \nAlice\n', False),
                                  ('quotes', ''.join('> %s \n>> %s\n' % (a, a) for a in lines), False),
                                  ('nothing to flow', '\n'.join(lines) + '\n', True)):
            eight = charset != 'us-ascii'
            raw = m.mail('Content-Type: text/plain; charset=%s; format=flowed; delsp=%s\r\nContent-Transfer-Encoding: %s' % (
                charset, delsp, '8bit' if eight else '7bit'), crlf(body.encode(charset)), client='thunderbird')
            yield '%s, %s, delsp=%s' % (name, charset, delsp), raw, SAME if quiet and not eight else ENCODED


def calendars(m):
    for charset, encoding, method in (('utf-8', '8bit', 'REQUEST'), ('utf-8', 'base64', 'REQUEST'), ('us-ascii', '7bit', 'CANCEL'),
                                      ('utf-8', 'quoted-printable', 'REPLY')):
        summary = TEXTS[charset] if encoding != '7bit' else 'Meeting'
        data = crlf('BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:%s\nBEGIN:VEVENT\nUID:%s\nSUMMARY:%s\nDTSTART:20261122T100000Z\n'
                    'END:VEVENT\nEND:VCALENDAR\n' % (method, m.token(), summary))
        part = ('Content-Type: text/calendar; charset=%s; method=%s\r\nContent-Transfer-Encoding: %s' % (charset, method, encoding), encode(data, encoding))
        expected, why = UNTOUCHED, 'calendar mail'
        yield 'alone, %s as %s' % (method, encoding), m.mail(*part), expected, why
        both = m.multi('alternative', [m.text(charset, encoding), m.html(charset, encoding), part])
        yield 'in alternative, %s as %s' % (method, encoding), m.mail(*both), expected, why
        yield 'in alternative and as a file, %s as %s' % (method, encoding), m.mail(*m.multi('mixed', [both, (
            'Content-Type: application/ics; name="invite.ics"\r\nContent-Transfer-Encoding: base64\r\n'
            'Content-Disposition: attachment; filename="invite.ics"', encode(data, 'base64'))])), expected, why


    text = m.text('utf-8', '8bit', kind='plain', wrap='BEGIN:VCALENDAR\n\nContent-Type: text/calendar\n\n%s')
    yield 'only talked about', m.mail(*text), ENCODED
    yield 'as a file of another type', m.mail(*m.multi('mixed', [m.text(), m.attachment('application/ics', 'invite.ics', 'raw')])), SAME


def tnef(m):
    for encoding in ('7bit', 'quoted-printable', '8bit'):
        charset = 'us-ascii' if encoding == '7bit' else 'windows-1252'
        for name, size in (('small', 400), ('large', 60000)):
            raw = m.mail(*m.multi('mixed', [m.text(charset, encoding), m.attachment('application/ms-tnef', 'winmail.dat', 'raw', size)]), client='outlook')
            yield 'winmail.dat, %s, %s' % (name, encoding), raw, ENCODED if encoding == '8bit' else SAME


def armor(m, kind):
    data = m.octets(400)
    check = base64.b64encode(zlib.crc32(data).to_bytes(4, 'big')[1:]).decode()
    return '-----BEGIN PGP %s-----\n\n%s=%s\n-----END PGP %s-----\n' % (kind, base64.encodebytes(data).decode(), check, kind)


def pgp(m):
    inner = m.multi('signed', [alternative(m, 'utf-8', 'quoted-printable'), ('Content-Type: application/pgp-signature; name="OpenPGP_signature.asc"',
                    crlf(armor(m, 'SIGNATURE')))], parameters=' micalg=pgp-sha512;\r\n\tprotocol="application/pgp-signature";')
    yield 'MIME, signed', m.mail(*inner), UNTOUCHED, 'already signed (PGP)'
    yield 'MIME, encrypted', m.mail(*m.multi('encrypted', [('Content-Type: application/pgp-encrypted', b'Version: 1\r\n'), (
        'Content-Type: application/octet-stream; name="encrypted.asc"', crlf(armor(m, 'MESSAGE')))],
        parameters='\r\n\tprotocol="application/pgp-encrypted";')), UNTOUCHED, 'already encrypted (PGP)'
    head = 'Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s'
    yield 'inline, encrypted', m.mail(head % ('us-ascii', '7bit'), crlf(armor(m, 'MESSAGE'))), SAME
    clear = '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n%s\n' + armor(m, 'SIGNATURE')
    yield 'inline, signed', m.mail(head % ('us-ascii', '7bit'), crlf(clear % 'Hello.')), SAME
    yield 'inline, signed, 8-bit', m.mail(head % ('utf-8', '8bit'), crlf(clear % TEXTS['utf-8'])), ENCODED
    yield 'a public key attached', m.mail(*m.multi('mixed', [m.text(), ('Content-Type: application/pgp-keys; name="key.asc"',
                                                                       crlf(armor(m, 'PUBLIC KEY BLOCK')))])), SAME
    yield 'MIME, signed mail forwarded as a part', m.mail(*m.multi('mixed', [m.text('utf-8', '8bit'), inner])), ENCODED
    yield 'nothing but a key', m.mail('Content-Type: application/pgp-keys', crlf(armor(m, 'PUBLIC KEY BLOCK'))), UNTOUCHED, 'PGP'


def smime(m):
    blob = encode(m.octets(1800), 'base64')
    signature = ('Content-Type: application/pkcs7-signature; name="smime.p7s"\r\nContent-Transfer-Encoding: base64\r\n'
                 'Content-Disposition: attachment; filename="smime.p7s"', blob)
    for protocol in ('application/pkcs7-signature', 'application/x-pkcs7-signature'):
        inner = m.multi('signed', [alternative(m, 'utf-8', 'base64'), signature], parameters=' protocol="%s";\r\n\tmicalg=sha-256;' % protocol)
        yield 'clear, ' + protocol, m.mail(*inner), UNTOUCHED, 'already signed'
    yield 'clear, in a part beside 8-bit', m.mail(*m.multi('mixed', [m.text('utf-8', '8bit'), inner])), ENCODED
    yield 'clear, in a part beside a footer', m.mail(*m.multi('mixed', [inner, m.text()])), SAME
    for kind in ('application/pkcs7-mime', 'application/x-pkcs7-mime'):
        head = 'Content-Type: %s; name="smime.p7m"%%s\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="smime.p7m"' % kind
        yield 'opaque, ' + kind, m.mail(head % '; smime-type=signed-data', blob), UNTOUCHED, 'already signed (S/MIME, opaque)'
        yield 'enveloped, ' + kind, m.mail(head % '; smime-type=enveloped-data', blob), UNTOUCHED, 'already encrypted (S/MIME)'
        yield 'auth-enveloped, ' + kind, m.mail(head % ';\r\n\tsmime-type="authEnveloped-data"', blob), UNTOUCHED, 'already encrypted (S/MIME)'
        yield 'of no said type, ' + kind, m.mail(head % '', blob), UNTOUCHED, 'already encrypted (S/MIME)'
    yield 'enveloped mail attached', m.mail(*m.multi('mixed', [m.text(), (head % '; smime-type=enveloped-data', blob)])), SAME


def lists(m):
    for charset, encoding in (('us-ascii', '7bit'), ('utf-8', '8bit')):
        for fields in (('List-Id: Talk <talk.lists.example>',), ('List-Unsubscribe: <mailto:leave@lists.example>', 'List-Post: <mailto:talk@lists.example>'),
                       ('list-help: <https://lists.example/>',)):
            yield '%s, %s' % (fields[0][:12], encoding), m.mail(*m.text(charset, encoding), fields=fields), UNTOUCHED, 'list mail'
        for word in ('list', 'bulk', 'junk'):
            yield 'Precedence: %s, %s' % (word, encoding), m.mail(*m.text(charset, encoding), client='apple', fields=('Precedence: ' + word,)), \
                UNTOUCHED, 'list mail'


def reports(m):
    original = 'From: Alice <alice@corp.example>\r\nTo: box@far.example\r\nSubject: hello\r\n'
    for kind, status, data in (('delivery-status', 'message/delivery-status', 'Reporting-MTA: dns; mx.corp.example\n\nFinal-Recipient: rfc822; box@far.example\n'
                                'Action: failed\nStatus: 5.1.1\n'),
                               ('disposition-notification', 'message/disposition-notification', 'Final-Recipient: rfc822; alice@corp.example\n'
                                'Disposition: manual-action/MDN-sent-manually; displayed\n')):
        for encoding in ('7bit', '8bit'):
            parts = [m.text('us-ascii' if encoding == '7bit' else 'utf-8', encoding), ('Content-Type: ' + status, crlf(data)),
                     ('Content-Type: text/rfc822-headers', crlf(original))]
            raw = m.mail(*m.multi('report', parts, parameters=' report-type=%s;' % kind))
            yield '%s, %s' % (kind, encoding), raw, UNTOUCHED, 'report'
            yield '%s, %s, from nobody' % (kind, encoding), raw, UNTOUCHED, 'delivery report (empty envelope sender)', ''
            # somebody who forwards the status as a part of a mail of their own
            yield '%s, %s, passed on' % (kind, encoding), m.mail(*m.multi('mixed', parts)), ENCODED if encoding == '8bit' else SAME


def automatic(m):
    for value in ('auto-replied', 'auto-generated', 'auto-replied (vacation)', 'Auto-Generated; type=x'):
        for charset, encoding in (('us-ascii', '7bit'), ('iso-8859-1', '8bit')):
            yield '%s, %s' % (value, encoding), m.mail(*m.text(charset, encoding), fields=('Auto-Submitted: ' + value,)), UNTOUCHED, 'auto-submitted'
    yield 'said to be none', m.mail(*m.text(), fields=('Auto-Submitted: no',)), SAME


def forwarded(m):
    for encoding in ('7bit', 'quoted-printable', 'base64', '8bit', 'binary'):
        charset = 'us-ascii' if encoding == '7bit' else 'utf-8'
        inside = m.mail(*alternative(m, charset, encoding), client='thunderbird')
        eight = encoding in ('8bit', 'binary')
        for kind, head in (('attached', 'Content-Disposition: attachment; filename="mail.eml"'), ('inline', 'Content-Disposition: inline')):
            part = ('Content-Type: message/rfc822\r\n%s%s' % (head, '\r\nContent-Transfer-Encoding: 8bit' if eight else ''), inside)
            if eight:
                yield '%s, %s inside' % (kind, encoding), m.mail(*m.multi('mixed', [m.text(), part])), UNTOUCHED, UNENCODABLE
            else:
                yield '%s, %s inside' % (kind, encoding), m.mail(*m.multi('mixed', [m.text(), part])), SAME
                yield '%s, %s inside, 8-bit cover' % (kind, encoding), m.mail(*m.multi('mixed', [m.text('utf-8', '8bit'), part])), ENCODED
    plain, eight = (m.mail(*m.text(*how), client='phone') for how in (('us-ascii', '7bit'), ('utf-8', '8bit')))
    yield 'digest', m.mail(*m.multi('digest', [('', plain), ('Content-Type: message/rfc822', plain)])), SAME
    yield 'digest with 8-bit in a mail', m.mail(*m.multi('digest', [('', plain), ('', eight)])), UNTOUCHED, UNENCODABLE
    yield 'digest in mixed, 8-bit cover', m.mail(*m.multi('mixed', [m.text('utf-8', '8bit'), m.multi('digest', [('', plain), ('', plain)])])), ENCODED
    yield 'forwarded in forwarded', m.mail(*m.multi('mixed', [m.text(), ('Content-Type: message/rfc822', m.mail(*m.multi('mixed', [
        m.text(), ('Content-Type: message/rfc822', plain)]), client='gmail'))])), SAME
    # Outlook ends one of its fields in a blank
    yield 'with a field that ends in a blank', m.mail(*m.multi('mixed', [m.text(), ('Content-Type: message/rfc822', m.mail(*m.text(), client='outlook'))])), SAME
    yield 'a mail and nothing else', m.mail('Content-Type: message/rfc822', plain), UNTOUCHED, 'report'


def long_lines(m):
    for length, charset in ((700, 'us-ascii'), (985, 'us-ascii'), (1200, 'us-ascii'), (30000, 'us-ascii'), (30000, 'utf-8'), (120000, 'windows-1252')):
        text = (TEXTS[charset].replace(' ', '&nbsp;<b>x</b> ') + ' ') * (length // len(TEXTS[charset]) + 1)
        data = crlf('<html><body>\n%s\n</body></html>\n' % text[:length].rstrip()).replace(b'\r\n', b'\n').decode().encode(charset).replace(b'\n', b'\r\n')
        encoding = '7bit' if charset == 'us-ascii' else '8bit'
        expected = SAME if length < 990 and charset == 'us-ascii' else ENCODED
        head = 'Content-Type: text/html; charset=%s\r\nContent-Transfer-Encoding: %s' % (charset, encoding)
        yield '%d octets of %s' % (length, charset), m.mail(head, data), expected
        yield '%d octets of %s in alternative' % (length, charset), m.mail(*m.multi('alternative', [m.text(), (head, data)])), expected


def clients(m):
    """Each client's header over four bodies."""
    for client in CLIENTS:
        for charset, encoding in (('us-ascii', '7bit'), ('utf-8', 'base64'), ('utf-8', '8bit')):
            expected = ENCODED if encoding == '8bit' else SAME
            yield '%s, text as %s' % (client, encoding), m.mail(*m.text(charset, encoding), client=client), expected
            yield '%s, file with it, %s' % (client, encoding), m.mail(*m.multi('mixed', [alternative(m, charset, encoding), m.attachment()]), client=client), expected


def empty(m):
    yield 'nothing', m.mail((), b'', mime=False, client='script'), SAME
    yield 'nothing, of type text', m.mail('Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit', b''), SAME
    yield 'nothing, in 8bit', m.mail('Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit', b''), ENCODED
    yield 'nothing, in base64', m.mail('Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64', b''), SAME
    yield 'empty lines', m.mail('Content-Type: text/plain', b'\r\n' * 5), SAME
    yield 'a multipart of empty parts', m.mail(*m.multi('mixed', [('Content-Type: text/plain', b''), ('', b'')])), SAME
    yield 'an empty file', m.mail(*m.multi('mixed', [m.text('utf-8', '8bit'), ('Content-Type: application/octet-stream; name="empty"\r\n'
                                   'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=empty', b'')])), ENCODED


def odd(m):
    """Valid, and seldom seen."""
    for charset, encoding, expected in (('us-ascii', '7bit', SAME), ('utf-8', '8bit', ENCODED)):
        note = ', ' + encoding
        text = m.text(charset, encoding)
        yield 'comments and case' + note, m.mail('CONTENT-TYPE: Text/PLAIN (a \\) (b) ; c); CHARSET="%s" (d)\r\ncontent-transfer-encoding: %s' % (
            charset, encoding.upper()), text[1]), expected
        yield 'folded in odd places' + note, m.mail('Content-Type:\r\n text/plain\r\n ;\r\n\tcharset\r\n =\r\n %s\r\nContent-Transfer-Encoding:\r\n\t%s' % (
            charset, encoding), text[1]), expected
        yield 'preamble and epilogue' + note, m.mail(*m.multi('mixed', [text, m.attachment()], preamble=b'This is MIME.\r\n\r\n', epilogue=b'\r\nbye\r\n')), expected
        yield 'a type of multipart that nobody knows' + note, m.mail(*m.multi('x-made-up', [text, m.html()])), expected
        yield 'parallel' + note, m.mail(*m.multi('parallel', [text, m.attachment('audio/basic', 'a.au', 'raw')])), expected
        yield 'parts without header' + note, m.mail(*m.multi('mixed', [('', text[1]), ('', b'two\r\n')])), expected
        yield 'many fields in a part' + note, m.mail(*m.multi('mixed', [(text[0] + '\r\nContent-Language: de\r\nContent-Location: http://corp.example/a%20b\r\n'
              'Content-Description: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Part: a; b; c\r\nContent-Duration: 5', text[1])])), expected
        yield 'five multiparts deep' + note, m.mail(*deep(m, text, 5)), expected
        yield 'boundaries that begin alike' + note, m.mail(*m.multi('mixed', [m.multi('alternative', [text, m.html()], 'bound-1'), m.attachment()], 'bound')), expected
        yield 'external body' + note, m.mail(*m.multi('mixed', [text, ('Content-Type: message/external-body; access-type=URL;\r\n URL="http://corp.example/a"',
              b'Content-Type: application/pdf\r\nContent-ID: <x@corp.example>\r\n\r\n')])), expected
        yield 'XML and JSON' + note, m.mail(*m.multi('mixed', [text, ('Content-Type: application/xml', b'<?xml version="1.0"?>\r\n<a/>\r\n'),
                                                                ('Content-Type: application/json', b'{"a": [1, 2]}')])), expected
        yield 'vCard' + note, m.mail(*m.multi('mixed', [text, ('Content-Type: text/vcard; name=a.vcf', b'BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Alice\r\nEND:VCARD\r\n')])), expected
        yield 'enriched text' + note, m.mail(*m.multi('alternative', [text, ('Content-Type: text/enriched', b'<bold>Hello</bold>\r\n')])), expected
        yield 'lines of dots' + note, m.mail(text[0], text[1] + b'.\r\n..\r\n...\r\n'), expected
        yield 'lines of dashes' + note, m.mail(*m.multi('mixed', [(text[0], text[1] + b'--\r\n----\r\n--x\r\n'), m.attachment()])), expected
    yield 'from nobody', m.mail(*m.text()), UNTOUCHED, 'delivery report (empty envelope sender)', ''
    yield 'lines that begin with From', m.mail('Content-Type: text/plain', b'From here on\r\n\r\nFrom there\r\n'), ENCODED
    yield 'tabs at line ends', m.mail('Content-Type: text/plain', b'a\t\r\nb\r\n'), ENCODED
    yield 'form feed and other controls', m.mail('Content-Type: text/plain', b'a\x0cb\x07\x1b[1m\x7f\r\n'), SAME


def deep(m, part, levels):
    for _level in range(levels):
        part = m.multi('mixed', [part, m.text()])
    return part


KINDS = {'text': texts, 'attachments': attachments, 'alternative': alternatives, 'inline images': inline_images, 'flowed': flowed, 'calendar': calendars,
         'tnef': tnef, 'pgp': pgp, 'smime': smime, 'list': lists, 'report': reports, 'automatic': automatic, 'forwarded': forwarded,
         'long lines': long_lines, 'clients': clients, 'empty': empty, 'odd': odd}


def corpus(seed=1):
    """The samples, kind by kind; each kind has a chance of its own, so that a new one changes no other."""
    for kind, make in KINDS.items():
        for row in make(Maker('%s %s' % (seed, kind))):
            yield Sample(kind, '%s: %s' % (kind, row[0]), *row[1:])


# -- made by chance ---------------------------------------------------------------

class Chance(Maker):
    """Trees of parts, each of which may be wrong in some way."""

    CONTENTS = (b'Hello,\r\nworld.\r\n', b'', b'\r\n', b'no line end', b'\r\n\r\ntwo lines in front', 'Grüße aus Köln'.encode(), 'Grüße'.encode('latin-1'),
                b'blank \r\ntab\t\r\n', b'From me\r\n', b'x' * 1500, b'a\0b', b'.\r\n..\r\n', b'-- \r\nme\r\n', b'--\r\n', b'--b\r\n', b'=', b'=C3=BC=\r\n',
                '世界'.encode() * 40, b'QUJD\r\n', b'\xff\xfe\x80', b'> From you \r\n', b'\t\r\n \r\n', 'ü'.encode() * 600, b'end \r\n\r\n')
    FIELDS = ('Content-Type: text/plain; charset=utf-8', 'Content-Type: text/plain', 'Content-Type: text/html; charset="iso-8859-1"', 'Content-Type: image/png;\r\n\tname="a;b.png"',
              'Content-Type: text/plain; charset=us-ascii; format=flowed', 'content-type:application/octet-stream', 'Content-Type: text/x-\u00fc', 'X-Part: 1',
              'Content-Type: application/pdf; name="Gr\u00fc\u00dfe.pdf"', 'Content-Description: Gr\u00fc\u00dfe aus K\u00f6ln', 'Content-ID: <a@b>')
    ENCODINGS = ('7bit', '8bit', 'binary', 'quoted-printable', 'base64', 'x-unknown', '8bit ', '"8bit"', None, None)
    ODD = (b'', b'', b'', b'preamble\r\n', 'für alle\r\n'.encode(), b'trailing \r\n', b'--\r\n', b'\r\n\r\n', b'x' * 1200 + b'\r\n')

    def leaf(self):
        head = [self.r.choice(self.FIELDS)]
        encoding = self.r.choice(self.ENCODINGS)
        if encoding is not None:
            head.insert(self.r.randint(0, 1), 'Content-Transfer-Encoding: ' + encoding)
        if self.r.random() < 0.2:
            head.append(self.r.choice(self.FIELDS[7:]))
        content = b''.join(self.r.choice(self.CONTENTS) for _n in range(self.r.randint(1, 3)))
        if encoding == 'base64':        # of what is no base64 every decoder makes something else
            content = encode(content, encoding)
            content = content.replace(b'\r\n', b'') if self.r.random() < 0.3 else content.replace(b'\r\n', b' \r\n') if self.r.random() < 0.3 else content
        if encoding == 'quoted-printable':
            content = encode(content.replace(b'\r\n', b'\n'), encoding).replace(b'=C3=BC', b'\xc3\xbc')
        return '\r\n'.join(head if self.r.random() < 0.9 else []), content

    def tree(self, depth):
        if depth == 0 or self.r.random() < 0.3:
            return self.leaf()
        boundary = 'b%d' % self.r.randint(0, 10 ** 6) + self.r.choice(('', '=', "'+", ' x', ':;'))
        head, body = self.multi(self.r.choice(('mixed', 'alternative', 'related', 'x-any')), [self.tree(depth - 1) for _n in range(self.r.randint(0, 3))], boundary,
                                self.r.choice(self.ODD), self.r.choice(self.ODD))
        if self.r.random() < 0.15:      # unterminated
            body = body[:body.rindex(b'--' + boundary.encode())]
        if self.r.random() < 0.15:
            body = body.replace(b'--' + boundary.encode() + b'--', b'--' + boundary.encode() + b'-- \t')
        if self.r.random() < 0.2:
            head += '\r\nContent-Transfer-Encoding: ' + self.r.choice(('7bit', '8bit', 'binary'))
        return head, body

    def any(self):
        head, body = self.tree(self.r.randint(0, 4))
        return self.mail(head, body if body.endswith(b'\r\n') or not body else body + b'\r\n')


def by_chance(number, seed=1):
    maker = Chance('chance %s' % seed)
    return [maker.any() for _n in range(number)]
