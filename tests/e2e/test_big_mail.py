"""Large mail: signed with memory that stays flat, one at a time and twenty at once; and what a full spool does."""

import base64
import email
import hashlib
import os
import quopri
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import mailtools
import service
import stage_mail
from mailtools import crlf, message, unique
from namespace import GATEWAY, run
from product import DIR, Product, require
from stage import Stage, StageCase

STAGE = {'ca': True}
TAKES = 80
MIB = 1 << 20
SIZE = 50 * MIB
ABOVE_IDLE = 32 * MIB
AT_ONCE = 20
SENDER = 'alice@corp.example'


def setUpModule():
    require()


def attachment(octets):
    """base64 text of so many octets at least, in CRLF lines."""
    return base64.encodebytes(os.urandom(octets * 3 // 4)).replace(b'\n', b'\r\n')


def umlauts(octets):
    """8-bit text in numbered lines, so that a line lost or twice is noticed."""
    line = 'Grüße aus Köln, naïve café, Zeile %08d\r\n'
    return ''.join(line % n for n in range(octets // len((line % 0).encode()) + 1)).encode()


def long_lines(octets):
    """Lines far over the 998 octets that mail may have."""
    lines = [b'%08d ' % n + b'x' * 5000 + b'\r\n' for n in range(octets // 5011 + 1)]
    return b''.join(lines)


def with_attachment(text, data):
    """The body of a multipart/mixed and its Content-Type: a text and a base64 attachment."""
    boundary = 'big-part'
    body = crlf('--%s\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n%s\n--%s\n'
                'Content-Type: application/octet-stream; name="big.bin"\nContent-Transfer-Encoding: base64\n'
                'Content-Disposition: attachment; filename="big.bin"\n\n' % (boundary, text, boundary)) + data
    return body + crlf('--%s--\n' % boundary), 'multipart/mixed; boundary="%s"' % boundary


class BigMail(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        stage = Stage.current
        stage.ca.admin('/behaviour', {'authz_valid': True})
        stage.postfix.set(message_size_limit=0, virtual_mailbox_limit=0, default_destination_concurrency_limit=AT_ONCE,
                          queue_minfree=0)
        cls.p = Product(stage, log={'level': 'info'})
        cls.p.start()
        cls.p.ctl('enroll', SENDER)
        cls.p.wait_state(SENDER, 'active')

    @classmethod
    def tearDownClass(cls):
        cls.p.stop()

    def setUp(self):
        self.mark = self.p.log_mark()
        self.stage.dovecot.clear('bob')

    # -- memory ------------------------------------------------------------

    def status(self, field):
        with open('/proc/%d/status' % self.p.daemons['outbound'].pid) as file:
            return int(re.search(r'^%s:\s*(\d+) kB' % field, file.read(), re.M).group(1)) * 1024

    def forget_peak(self):
        with open('/proc/%d/clear_refs' % self.p.daemons['outbound'].pid, 'w') as file:
            file.write('5')

    def small_mail(self):
        subject = unique()
        self.stage.submit('alice', SENDER, ['bob@corp.example'], message(SENDER, 'bob@corp.example', subject))
        return self.arrived(subject)

    def idle(self):
        """Memory after a start and one small mail."""
        self.p.restart('outbound')
        self.assertTrue(mailtools.is_signed(self.small_mail()))
        self.forget_peak()
        self.mark = self.p.log_mark()
        return self.status('VmRSS')

    def assert_flat(self, idle):
        peak = self.status('VmHWM')
        print('# %s: idle %.1f MiB, peak %.1f MiB' % (self.id(), idle / MIB, peak / MIB), flush=True)
        self.assertLess(peak - idle, ABOVE_IDLE, 'peak %d MiB, idle %d MiB' % (peak / MIB, idle / MIB))

    # -- sending and receiving -----------------------------------------------

    def header(self, subject, content_type, encoding):
        return message(SENDER, 'bob@corp.example', subject, b'', Content_Type=content_type,
                       Content_Transfer_Encoding=encoding)

    def send(self, header, body, user='alice', meet=None):
        """Like smtplib, but without copies of the body; with `meet`, the last octets leave together with others'."""
        with mailtools.Session((GATEWAY, 587), user, self.stage.password(user)) as session:
            for command, wanted in (('MAIL FROM:<%s>' % SENDER, 250), ('RCPT TO:<bob@corp.example>', 250), ('DATA', 354)):
                code, text = session.smtp.docmd(command)
                self.assertEqual(code, wanted, text)
            session.smtp.sock.sendall(header)
            session.smtp.sock.sendall(body)
            if meet:
                meet.wait()
            session.smtp.sock.sendall(b'.\r\n')
            code, text = session.smtp.getreply()
            if code != 250:
                raise mailtools.Refused(code, text, 'data')
            return re.search(rb'queued as (\S+)', text).group(1).decode()

    def send_at_once(self, mails):
        """All (header, body) end their DATA together; the errors."""
        meet, trouble = threading.Barrier(len(mails)), []

        def submit(header, body):
            try:
                self.send(header, body, meet=meet)
            except Exception as error:
                trouble.append(error)
                meet.abort()
        threads = [threading.Thread(target=submit, args=mail) for mail in mails]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return trouble

    def files(self):
        folder = stage_mail.MAIL + '/bob/Maildir/new'
        return [os.path.join(folder, n) for n in os.listdir(folder)] if os.path.isdir(folder) else []

    def arrived(self, subject):
        """The message with that subject out of bob's mailbox."""
        def look():
            for path in self.files():
                with open(path, 'rb') as file:
                    if b'Subject: %s\r\n' % subject.encode() in file.read(65536):
                        file.seek(0)
                        return file.read()
            return None
        return service.until(look, 300, 'mail %s is there' % subject, say=lambda: service.tail(self.stage.base + '/log/mail.log'))

    def assert_signed_same(self, raw, header, body):
        """Signed, and what was signed is the mail that was sent: octet for octet, or its text after decoding."""
        verdict = mailtools.verify_openssl(raw, self.stage.ca.root)
        self.assertTrue(verdict, verdict)
        entity = mailtools.Signed(raw).entity
        self.assertEqual(hashlib.sha256(verdict.content).digest(), hashlib.sha256(entity).digest())
        top, content = mailtools.split(entity)
        encoding = mailtools.headers(top, 'Content-Transfer-Encoding')
        if mailtools.headers(header, 'Content-Type')[0].startswith('multipart/'):
            self.assert_same_parts(content, body)
        elif encoding == ['quoted-printable']:
            self.assertEqual(digest(quopri.decodestring(content)), digest(body))
        else:
            self.assertEqual(encoding, ['base64'])
            sent = base64.b64decode(body) if mailtools.headers(header, 'Content-Transfer-Encoding') == encoding else body
            self.assertEqual(digest(base64.b64decode(content)), digest(sent))
        for name in ('From', 'To', 'Subject', 'Date', 'Message-ID'):
            self.assertEqual(mailtools.headers(raw, name), mailtools.headers(header, name))

    def assert_same_parts(self, content, body):
        """The text says the same, the attachment is the same octet for octet."""
        was, now = body.split(b'--big-part'), content.split(b'--big-part')
        self.assertEqual([len(was), len(now)], [4, 4], 'two parts, a preamble and an epilogue')
        self.assertEqual(digest(now[2]), digest(was[2]))
        said = [email.message_from_bytes(p[1][2:]).get_payload(decode=True).replace(b'\r\n', b'\n').strip() for p in (was, now)]
        self.assertEqual(said[0], said[1])


def digest(data):
    """Of a text whose last line end may have been added or taken away by a delimiter."""
    return hashlib.sha256(data.rstrip(b'\r\n')).hexdigest()


class Memory(BigMail):
    def one(self, header, body):
        idle = self.idle()
        self.assertGreaterEqual(len(header) + len(body), SIZE)
        self.send(header, body)
        self.assert_flat(idle)
        self.assert_signed_same(self.arrived(mailtools.headers(header, 'Subject')[0]), header, body)

    def test_attachment_that_needs_no_encoding(self):
        body, kind = with_attachment('Hello, a large file.', attachment(SIZE))
        body = body.replace(b'Content-Transfer-Encoding: 8bit', b'Content-Transfer-Encoding: 7bit')
        self.one(self.header(unique(), kind, None), body)
        self.assertEqual(self.p.log(self.mark, event='mail_done')[-1]['reason'], 'signed')

    def test_eight_bit_text(self):
        self.one(self.header(unique(), 'text/plain; charset=utf-8', '8bit'), umlauts(SIZE))
        self.assertEqual(self.p.log(self.mark, event='mail_done')[-1]['reason'], 'signed after re-encoding')

    def test_lines_over_998_octets(self):
        self.one(self.header(unique(), 'text/plain; charset=us-ascii', '7bit'), long_lines(SIZE))
        self.assertEqual(self.p.log(self.mark, event='mail_done')[-1]['reason'], 'signed after re-encoding')

    def test_twenty_at_once(self):
        """Every second one has to be re-encoded."""
        need = 6 * AT_ONCE * SIZE
        free = os.statvfs(DIR)
        free = min(free.f_bavail * free.f_frsize, available())
        if free < need:
            self.skipTest('the stage needs %d MiB of memory for 20 large mails and has %d' % (need / MIB, free / MIB))
        data = attachment(SIZE)
        bodies = [with_attachment(text, data) for text in ('Hello, a large file.', 'Grüße, eine große Datei.')]
        bodies[0] = (bodies[0][0].replace(b'Content-Transfer-Encoding: 8bit', b'Content-Transfer-Encoding: 7bit'), bodies[0][1])
        sent = []
        for n in range(AT_ONCE):
            subject, (body, kind) = unique(), bodies[n % 2]
            sent.append((subject, self.header(subject, kind, None), body))
        idle = self.idle()
        self.assertEqual(self.send_at_once([(h, b) for _s, h, b in sent]), [])
        self.assert_flat(idle)
        self.assertEqual(sorted(l['reason'] for l in self.p.log(self.mark, event='mail_done')),
                         ['signed'] * (AT_ONCE // 2) + ['signed after re-encoding'] * (AT_ONCE // 2))
        self.assert_all_good(sent)

    def assert_all_good(self, sent):
        """Like assert_signed_same, with fewer copies of so much mail."""
        found = {}

        def look():
            for path in set(self.files()) - set(found):
                with open(path, 'rb') as file:
                    found[path] = mailtools.headers(file.read(65536), 'Subject')[0]
            return set(found.values()) >= {s for s, _h, _b in sent}
        service.until(look, 300, 'all mails are there', say=lambda: service.tail(self.stage.base + '/log/mail.log'))
        paths = {subject: path for path, subject in found.items()}
        with ThreadPoolExecutor(2) as pool:
            verdicts = pool.map(lambda s: (s, run('openssl', 'cms', '-verify', '-in', paths[s], '-CAfile', self.stage.ca.root, '-no-CApath',
                                                  '-purpose', 'smimesign', '-out', '/dev/null', check=False)), list(paths))
        for subject, done in verdicts:
            self.assertEqual(done.returncode, 0, '%s: %s' % (subject, done.stderr))
        for subject, _header, body in sent:
            with open(paths[subject], 'rb') as file:
                raw = file.read()
            self.assertIn('multipart/signed', mailtools.headers(raw[:65536], 'Content-Type')[0])
            self.assertEqual(raw.count(body[body.rindex(b'--big-part', 0, 4096):]), 1, 'the attachment, octet for octet')


class FullSpool(BigMail):
    """The spool's file system has room for one mail of 3 MiB, not for one of 8."""

    def setUp(self):
        super().setUp()
        self.spool = DIR + '/small-spool'
        os.makedirs(self.spool, exist_ok=True)
        run('mount', '-t', 'tmpfs', '-o', 'size=5m,mode=1770,gid=enroll-milter', 'none', self.spool)
        self.addCleanup(run, 'umount', '-l', self.spool)

    def with_on_error(self, what):
        self.p.configure(milter={'spool-directory': self.spool}, on_error=what)
        self.p.restart('outbound')
        self.mark = self.p.log_mark()

    def mail(self, octets):
        subject = unique()
        body = attachment(octets)
        return subject, self.header(subject, 'application/octet-stream', 'base64'), body

    def assert_untouched(self, raw, header, body):
        top, content = mailtools.split(raw)
        self.assertTrue(top.endswith(header.rstrip(b'\r\n') + b'\r\n'), 'only fields above it were added')
        self.assertEqual(content, body)

    def assert_said(self, qid, reason):
        lines = self.p.log(self.mark, event='mail_done', qid=qid)
        self.assertEqual([(l['verdict'], l['reason']) for l in lines], [('error', reason)])
        for word in ('spool', self.spool, 'No space left'):
            self.assertIn(word, lines[0]['detail'])

    def test_passes_unsigned_by_default(self):
        self.with_on_error('pass')
        mails = [self.mail(8 * MIB) for _n in range(4)] + [self.mail(2000)]
        self.assertEqual(self.send_at_once([(h, b) for _s, h, b in mails]), [])
        for subject, header, body in mails[:4]:
            raw = self.arrived(subject)
            self.assertFalse(mailtools.is_signed(raw))
            self.assert_untouched(raw, header, body)
        lines = self.p.log(self.mark, event='mail_done', verdict='error')
        self.assertEqual(len(lines), 4)
        for line in lines:
            self.assert_said(line['qid'], 'could not be signed, passed unsigned (on-error = pass)')
        self.assertTrue(mailtools.is_signed(self.arrived(mails[4][0])), 'a mail that needs no file is signed')
        self.assert_room_again()

    def test_comes_again_with_tempfail(self):
        self.with_on_error('tempfail')
        subject, header, body = self.mail(8 * MIB)
        with self.assertRaises(mailtools.Refused) as refused:
            self.send(header, body)
        self.assertEqual(refused.exception.code, 451)
        self.assert_said(self.p.log(self.mark, event='mail_done')[0]['qid'], 'could not be signed, the client is told to come again')
        self.assertEqual(self.files(), [])
        self.assert_room_again()
        run('mount', '-o', 'remount,size=64m', self.spool)
        self.send(header, body)
        self.assert_signed_same(self.arrived(subject), header, body)

    def assert_room_again(self):
        """What did not fit has left nothing behind."""
        subject, header, body = self.mail(3 * MIB)
        self.send(header, body)
        self.assert_signed_same(self.arrived(subject), header, body)
        self.until(lambda: os.statvfs(self.spool).f_bfree == os.statvfs(self.spool).f_blocks, what='the spool is empty')


def available():
    with open('/proc/meminfo') as file:
        return int(re.search(r'^MemAvailable:\s*(\d+)', file.read(), re.M).group(1)) * 1024
