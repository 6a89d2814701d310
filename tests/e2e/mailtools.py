"""Mail for tests: exact bytes in, exact bytes out; builders; verifiers that are not ours."""

import base64
import email
import email.policy
import email.utils
import os
import re
import shutil
import smtplib
import ssl
import tempfile
import uuid

from namespace import BASE, run
import service

TMP = BASE + '/tmp'


class Refused(Exception):
    """The server said no (or later): .code, .text, .stage ('mail', 'rcpt', 'data', 'login')."""

    def __init__(self, code, text, stage):
        text = text.decode('utf-8', 'replace') if isinstance(text, bytes) else text
        super().__init__('%s: %d %s' % (stage, code, text))
        self.code, self.text, self.stage = code, text, stage

    @property
    def temporary(self):
        return 400 <= self.code < 500


def _fine(answer, stage):
    code, text = answer
    if not 200 <= code < 400:
        raise Refused(code, text, stage)
    return text


class Session:
    """One SMTP session that may send several messages."""

    def __init__(self, to, user=None, password=None, source=None, starttls=None,
                 helo='client.example', timeout=600):
        self.smtp = smtplib.SMTP(timeout=timeout, local_hostname=helo,
                                 source_address=(source, 0) if source else None)
        try:
            self._begin(to, user, password, starttls)
        except BaseException:       # whoever keeps the exception does not keep the connection
            self.smtp.close()
            raise

    def _begin(self, to, user, password, starttls):
        self.smtp._host = to[0]
        _fine(self.smtp.connect(*to), 'connect')
        _fine(self.smtp.ehlo(), 'ehlo')
        if starttls:
            self.smtp.starttls(context=ssl.create_default_context(cafile=starttls))
            _fine(self.smtp.ehlo(), 'ehlo')
        if user is not None:
            token = base64.b64encode(('\0%s\0%s' % (user, password)).encode()).decode()
            _fine(self.smtp.docmd('AUTH', 'PLAIN ' + token), 'login')

    def send(self, sender, recipients, raw, mail_options=(), rcpt_options=()):
        """Returns the queue id. A recipient refused refuses all."""
        try:
            _fine(self.smtp.mail(sender, list(mail_options)), 'mail')
            for recipient in recipients:
                _fine(self.smtp.rcpt(recipient, list(rcpt_options)), 'rcpt')
            text = _fine(self.smtp.data(raw), 'data')
        except smtplib.SMTPDataError as refusal:
            self.smtp.rset()
            raise Refused(refusal.smtp_code, refusal.smtp_error, 'data') from None
        except Refused:
            self.smtp.rset()
            raise
        found = re.search(rb'queued as (\S+)', text)
        return found.group(1).decode() if found else None

    def send_chunked(self, sender, recipients, raw, mail_options=()):
        """By BDAT (RFC 3030): the only way to hand in a mail without a line end at its end."""
        try:
            _fine(self.smtp.mail(sender, list(mail_options)), 'mail')
            for recipient in recipients:
                _fine(self.smtp.rcpt(recipient), 'rcpt')
            self.smtp.send(b'BDAT %d LAST\r\n' % len(raw) + raw)
            text = _fine(self.smtp.getreply(), 'data')
        except Refused:
            self.smtp.rset()
            raise
        return re.search(rb'queued as (\S+)', text).group(1).decode()

    def close(self):
        try:
            self.smtp.quit()
        except (smtplib.SMTPException, OSError):
            self.smtp.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()


def send(to, sender, recipients, raw, user=None, password=None, source=None, starttls=None,
         helo='client.example', timeout=600, **options):
    """One message in one session."""
    if isinstance(recipients, str):
        recipients = [recipients]
    with Session(to, user, password, source, starttls, helo, timeout) as session:
        return session.send(sender, recipients, raw, **options)


# -- builders --------------------------------------------------------------

def crlf(text):
    """Text with CRLF line ends as bytes."""
    data = text.encode('utf-8') if isinstance(text, str) else text
    return re.sub(rb'\r?\n', b'\r\n', data)


def unique(words='test'):
    return '%s %s' % (words, uuid.uuid4().hex[:12])


def message(sender, to, subject, body='Hello,\nthis is a test.\n', **headers):
    """A plain message as bytes; headers: Message_ID=..., None leaves a default out."""
    fields = {'From': sender, 'To': to if isinstance(to, str) else ', '.join(to),
              'Subject': subject, 'Date': email.utils.formatdate(localtime=False),
              'Message-ID': '<%s@test.example>' % uuid.uuid4().hex, 'MIME-Version': '1.0',
              'Content-Type': 'text/plain; charset=utf-8', 'Content-Transfer-Encoding': '7bit'}
    for name, value in headers.items():
        fields[name.replace('_', '-')] = value
    top = ''.join('%s: %s\n' % (n, v) for n, v in fields.items() if v is not None)
    return crlf(top) + b'\r\n' + (body if isinstance(body, bytes) else crlf(body))


def mixed(sender, to, subject, parts, **headers):
    """multipart/mixed from parts: (header text, body bytes)."""
    boundary = 'part-' + uuid.uuid4().hex[:16]
    body = b''
    for head, content in parts:
        body += b'--%s\r\n%s\r\n\r\n%s\r\n' % (boundary.encode(), crlf(head.strip()), content)
    body += b'--%s--\r\n' % boundary.encode()
    return message(sender, to, subject, body, Content_Type='multipart/mixed; boundary="%s"'
                   % boundary, Content_Transfer_Encoding=None, **headers)


def challenge(sender, to, token, subject=None, **headers):
    """A challenge mail as RFC 8823 has it (unsigned; see stage.dkim.sign)."""
    headers.setdefault('Auto_Submitted', 'auto-generated; type=acme')
    return message(sender, to, subject or 'ACME: ' + token,
                   'This is an automatically generated ACME challenge.\n', **headers)


# -- looking at mail without the product's code ------------------------------

def split(raw):
    """(header bytes, body bytes) at the first empty line."""
    for gap in (b'\r\n\r\n', b'\n\n'):
        at = raw.find(gap)
        if at >= 0:
            return raw[:at + len(gap) // 2], raw[at + len(gap):]
    return raw, b''


def headers(raw, name=None):
    """[(name, unfolded value)], or the values of one name."""
    top = re.sub(rb'\r?\n(?=[ \t])', b'', split(raw)[0])
    found = []
    for line in top.splitlines():
        key, colon, value = line.partition(b':')
        if colon:
            found.append((key.decode('latin-1').strip(), value.strip().decode('utf-8', 'replace')))
    if name is None:
        return found
    return [v for n, v in found if n.lower() == name.lower()]


class Signed:
    """A multipart/signed message taken apart by its boundary: .entity is what was signed,
    byte for byte, .p7s the DER signature, .preamble and .epilogue what stands around."""

    def __init__(self, raw):
        kind = headers(raw, 'Content-Type')
        if len(kind) != 1 or not kind[0].lower().startswith('multipart/signed'):
            raise ValueError('not multipart/signed: %r' % kind)
        self.content_type = kind[0]
        parsed = email.message_from_bytes(b'Content-Type: ' + kind[0].encode() + b'\n\n')
        self.boundary = parsed.get_param('boundary')
        self.micalg = parsed.get_param('micalg')
        self.protocol = parsed.get_param('protocol')
        body = b'\r\n' + split(raw)[1]
        mark = rb'\r\n--' + re.escape(self.boundary.encode())
        pieces = re.split(mark + rb'(?:--)?[ \t]*(?=\r\n|$)', body)
        if len(pieces) != 4:
            raise ValueError('%d pieces between boundaries, not 4' % len(pieces))
        self.preamble, self.entity, self.signature_part, self.epilogue = pieces
        self.entity = self.entity[2:]
        self.signature_part = self.signature_part[2:]
        self.p7s = email.message_from_bytes(self.signature_part).get_payload(decode=True)


def is_signed(raw):
    return any(v.lower().startswith('multipart/signed') for v in headers(raw, 'Content-Type'))


class Opaque:
    """An application/pkcs7-mime signed-data message: .cms is its content."""

    def __init__(self, raw):
        parsed = email.message_from_bytes(raw)
        if not is_opaque(raw):
            raise ValueError('not opaque: %r' % headers(raw, 'Content-Type'))
        self.cms = parsed.get_payload(decode=True)


def is_opaque(raw):
    kind = headers(raw, 'Content-Type')
    return len(kind) == 1 and kind[0].lower().startswith('application/pkcs7-mime') and 'signed-data' in kind[0].lower()


def entity_of(raw):
    """What was signed, of either form; an opaque one is taken out without a look at its signature."""
    if not is_opaque(raw):
        return Signed(raw).entity
    done = run('openssl', 'cms', '-verify', '-noverify', '-inform', 'DER', '-binary', input=Opaque(raw).cms, text=False)
    return done.stdout


def leaves(raw):
    """Every leaf of a message or entity: (type, filename, disposition, decoded bytes)."""
    found = []
    for part in email.message_from_bytes(raw, policy=email.policy.compat32).walk():
        if part.is_multipart():
            continue
        data = part.get_payload(decode=True) or b''
        if part.get_content_maintype() == 'text':
            data = re.sub(rb'\r?\n', b'\n', data)
        found.append((part.get_content_type(), part.get_filename(),
                      part.get_content_disposition(), data))
    return found


def differences(before, after):
    """What a reader would see differently: [] if the (signed) mail `after` says the same."""
    inner = entity_of(after) if is_signed(after) or is_opaque(after) else after
    found = []
    for name in ('From', 'To', 'Cc', 'Subject', 'Date', 'Message-ID', 'Reply-To'):
        if headers(before, name) != headers(after, name):
            found.append('%s: %r / %r' % (name, headers(before, name), headers(after, name)))
    old, new = leaves(before), leaves(inner)
    if len(old) != len(new):
        return found + ['%d parts / %d parts' % (len(old), len(new))]
    for number, (one, two) in enumerate(zip(old, new)):
        for what, a, b in zip(('type', 'filename', 'disposition', 'content'), one, two):
            if what == 'content':
                a, b = a.rstrip(b'\n'), b.rstrip(b'\n')
            if a != b:
                found.append('part %d, %s: %.200r / %.200r' % (number, what, a, b))
    return found


# -- verifiers ---------------------------------------------------------------

class Verdict:
    """True if good; .text what the tool said, .content what it says was signed."""

    def __init__(self, good, text, content=b'', signers=''):
        self.good, self.text, self.content, self.signers = good, text, content, signers

    def __bool__(self):
        return self.good

    def __repr__(self):
        return '<Verdict %s: %s>' % (self.good, self.text.strip())


def _scratch():
    os.makedirs(TMP, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=TMP)


def _write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, 'wb') as file:
        file.write(data)
    return path


def _read(path):
    if not os.path.exists(path):
        return b''
    with open(path, 'rb') as file:
        return file.read()


def verify_openssl(raw, root_pem, *more):
    """openssl cms -verify; .signers is the PEM of the signer's certificate."""
    with _scratch() as folder:
        out, cert = os.path.join(folder, 'out'), os.path.join(folder, 'cert')
        done = run('openssl', 'cms', '-verify', '-in', _write(folder, 'in', raw), '-CAfile',
                   root_pem, '-no-CApath', '-purpose', 'smimesign', '-out', out, '-signer', cert,
                   *more, check=False)
        return Verdict(done.returncode == 0, done.stderr, _read(out), _read(cert).decode())


def gpgsm_home(folder, root_pem):
    """A GNUPGHOME in which that root is trusted, and nothing else; its agent is to be killed by gpgconf."""
    home = os.path.join(folder, 'home')
    os.mkdir(home, 0o700)
    _write(home, 'gpgsm.conf', b'disable-dirmngr\ndisable-crl-checks\nbatch\nno-tty\n')
    print_ = run('openssl', 'x509', '-in', root_pem, '-noout', '-fingerprint', '-sha1').stdout
    _write(home, 'trustlist.txt', (print_.split('=')[1].strip() + ' S relax\n').encode())
    run('gpgsm', '--homedir', home, '--import', root_pem)
    return home


def _files(folder, raw, number=''):
    """The SignedData and what it is of (None if that is inside), as files."""
    opaque = is_opaque(raw)
    signed = Opaque(raw) if opaque else Signed(raw)
    sig = _write(folder, 'sig' + number, signed.cms if opaque else signed.p7s)
    return sig, None if opaque else _write(folder, 'body' + number, signed.entity)


def verify_gpgsm(raw, root_pem):
    """GnuPG: good is exit code 0 *and* TRUST_FULLY (an untrusted root says GOODSIG too)."""
    with _scratch() as folder:
        home = gpgsm_home(folder, root_pem)
        try:
            return gpgsm_verdict(home, *_files(folder, raw))
        finally:
            run('gpgconf', '--homedir', home, '--kill', 'all', check=False)


def gpgsm_verdict(home, sig, body):
    what = ['--verify', sig, body] if body else ['--output', sig + '.out', '--verify', sig]
    done = run('gpgsm', '--homedir', home, '--status-fd', '1', *what, check=False)
    good = done.returncode == 0 and '[GNUPG:] TRUST_FULLY' in done.stdout
    return Verdict(good, done.stdout + done.stderr, _read(body or sig + '.out'))


def nss_store(folder, root_pem):
    store = 'sql:' + folder
    run('certutil', '-N', '-d', store, '--empty-password')
    run('certutil', '-A', '-d', store, '-n', 'root', '-t', ',C,', '-i', root_pem)
    return store


def verify_nss(raw, root_pem):
    """NSS (Thunderbird's library): cmsutil with the root trusted for mail."""
    with _scratch() as folder:
        return nss_verdict(nss_store(folder, root_pem), *_files(folder, raw))


def nss_verdict(store, sig, body):
    # -n: the content is not printed, which of an opaque one is all there is to compare
    what = ['-n', '-i', sig, '-c', body] if body else ['-i', sig]
    done = run('cmsutil', '-D', '-d', store, '-u', '4', *what, check=False, text=False)
    return Verdict(done.returncode == 0, done.stderr.decode('utf-8', 'replace'), done.stdout)


VERIFIERS = {'openssl': verify_openssl, 'gpgsm': verify_gpgsm, 'nss': verify_nss}
NEEDS = {'openssl': 'openssl', 'gpgsm': 'gpgsm', 'nss': 'cmsutil'}


def verify_all(raw, root_pem):
    """{verifier: Verdict} by every verifier that is installed."""
    return {name: check(raw, root_pem) for name, check in VERIFIERS.items()
            if shutil.which(NEEDS[name])}


class Verifiers:
    """The same three for many mails under one root: their homes are made once.

        with Verifiers(root) as verifiers:
            verifiers.all(raw)      # {verifier: Verdict}; threads may ask together
    """

    def __init__(self, root_pem):
        self.root = root_pem
        self.names = [n for n in VERIFIERS if shutil.which(NEEDS[n])]

    def __enter__(self):
        self._folder = _scratch()
        self.folder = self._folder.__enter__()
        self._numbers = iter(range(10 ** 9))
        if 'gpgsm' in self.names:
            self.home = gpgsm_home(self.folder, self.root)
        if 'nss' in self.names:
            self.store = nss_store(self.folder, self.root)
        return self

    def __exit__(self, *exception):
        if 'gpgsm' in self.names:
            run('gpgconf', '--homedir', self.home, '--kill', 'all', check=False)
        self._folder.__exit__(*exception)

    def all(self, raw):
        return {name: getattr(self, name)(raw) for name in self.names}

    def openssl(self, raw):
        return verify_openssl(raw, self.root)

    def gpgsm(self, raw):
        return gpgsm_verdict(self.home, *self._files(raw))

    def nss(self, raw):
        return nss_verdict(self.store, *self._files(raw))

    def _files(self, raw):
        return _files(self.folder, raw, '%d' % next(self._numbers))
