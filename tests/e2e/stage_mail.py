"""Mailboxes (Dovecot: login and LMTP) and the outside world's mail server (aiosmtpd)."""

import os
import re
import socketserver
import threading

from namespace import BASE, OUTSIDE, run
import service

DIR = BASE + '/dovecot'
MAIL = BASE + '/mail'

DOVECOT = """base_dir = {dir}/run
state_dir = {dir}/state
instance_name = stage
protocols = lmtp
listen = 127.0.0.1
ssl = no
log_path = /dev/stderr
auth_mechanisms = plain login
auth_username_format = %Lu
disable_plaintext_auth = no
first_valid_uid = 100
mail_location = maildir:~/Maildir
mail_save_crlf = yes
mail_fsync = never
lmtp_rcpt_check_quota = no
recipient_delimiter =
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Ln {dir}/users
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home={mail}/%Ln
}}
service auth {{
  unix_listener {queue}/private/auth-dovecot {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service lmtp {{
  unix_listener {queue}/private/lmtp-dovecot {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
service anvil {{
  chroot =
}}
"""


class Dovecot:
    """stage.dovecot"""

    def __init__(self, queue):
        self.queue = queue
        self.users = {}

    def start(self, users):
        os.makedirs(DIR + '/run')
        os.makedirs(DIR + '/state')
        os.makedirs(MAIL)
        run('chown', 'vmail:vmail', MAIL)
        self.add_users(users)
        with open(DIR + '/dovecot.conf', 'w') as file:
            file.write(DOVECOT.format(dir=DIR, mail=MAIL, queue=self.queue))
        self.server = service.Service('dovecot', ['dovecot', '-F', '-c', DIR + '/dovecot.conf'])
        self.server.start()

    def add_users(self, users):
        """users: {login: password}. Seen at once."""
        self.users.update(users)
        path = DIR + '/users'
        with open(path + '.new', 'w') as file:
            for name, password in self.users.items():
                file.write('%s:{PLAIN}%s\n' % (name, password))
        os.chmod(path + '.new', 0o644)
        os.replace(path + '.new', path)

    def wait_ready(self):
        for name in ('auth-dovecot', 'lmtp-dovecot'):
            path = '%s/private/%s' % (self.queue, name)
            service.until(lambda: self.server.check() and os.path.exists(path), 60,
                          'Dovecot has its sockets', say=self.server.tail)

    def mailbox(self, uid):
        """The messages of a mailbox as bytes, oldest first."""
        found = []
        for part in ('cur', 'new'):
            folder = '%s/%s/Maildir/%s' % (MAIL, uid, part)
            if os.path.isdir(folder):
                found += [os.path.join(folder, n) for n in os.listdir(folder)]
        found.sort(key=lambda p: (os.stat(p).st_mtime_ns, p))
        messages = []
        for path in found:
            with open(path, 'rb') as file:
                messages.append(file.read())
        return messages

    def wait_mailbox(self, uid, number=1, seconds=120):
        return service.until(lambda: len(self.mailbox(uid)) >= number and self.mailbox(uid),
                             seconds, '%d messages for %s' % (number, uid))

    def clear(self, uid):
        for part in ('cur', 'new'):
            folder = '%s/%s/Maildir/%s' % (MAIL, uid, part)
            if os.path.isdir(folder):
                for name in os.listdir(folder):
                    os.unlink(os.path.join(folder, name))


class Received:
    """A message as the outside server got it."""

    def __init__(self, peer, sender, recipients, content, options):
        self.peer, self.sender, self.recipients = peer, sender, recipients
        self.content, self.options = content, options

    def __repr__(self):
        return '<Received from %s to %s, %d bytes>' % (self.sender, self.recipients,
                                                       len(self.content))


class Outside:
    """stage.outside: an MX that keeps exact bytes.

    answer: set to e.g. '451 4.7.1 later' or '550 5.1.1 no' to refuse after DATA;
    rcpt_answer the same at RCPT.  Both may be functions of (envelope[, address]).
    """

    def __init__(self, address=OUTSIDE, port=25, hostname='mx.outside.example'):
        self.address, self.port, self.hostname = address, port, hostname
        self.messages = []
        self.answer = None
        self.rcpt_answer = None
        self._lock = threading.Lock()
        self._controller = None

    def start(self):
        from aiosmtpd.controller import Controller

        self._controller = Controller(
            self, hostname=self.address, port=self.port, server_hostname=self.hostname,
            decode_data=False, enable_SMTPUTF8=True, data_size_limit=None, ready_timeout=120)
        self._controller.start()

    def stop(self):
        if self._controller:
            self._controller.stop()
            self._controller = None

    def wait_ready(self):
        service.until(lambda: service.listening(self.address, self.port), 60, 'outside MX')

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = self.rcpt_answer
        answer = answer(envelope, address) if callable(answer) else answer
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.append(options)
        return '250 2.1.5 fine'

    async def handle_DATA(self, server, session, envelope):
        answer = self.answer(envelope) if callable(self.answer) else self.answer
        if answer:
            return answer
        message = Received(session.peer, envelope.mail_from, list(envelope.rcpt_tos),
                           bytes(envelope.original_content), list(envelope.mail_options))
        with self._lock:
            self.messages.append(message)
        return '250 2.0.0 kept'

    def clear(self):
        with self._lock:
            self.messages = []

    def wait_for(self, number=1, seconds=120, match=None):
        """The messages (that match(message)), once there are `number` of them."""
        def enough():
            with self._lock:
                found = [m for m in self.messages if not match or match(m)]
            return found if len(found) >= number else None
        return service.until(enough, seconds, '%d messages outside' % number,
                             say=lambda: service.tail(BASE + '/log/mail.log', 30))

    def wait_subject(self, text, seconds=120):
        """The one message with that text in it (e.g. a unique subject)."""
        needle = text.encode()
        return self.wait_for(1, seconds, lambda m: needle in m.content)[0]


class Sink(socketserver.ThreadingTCPServer):
    """A mail server that keeps every octet, whatever it is: NUL, bare CR, lines of any length.  .messages are Received, in the
    order they came."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 100

    def __init__(self, address=OUTSIDE, port=2626):
        super().__init__((address, port), SinkConversation)
        self.messages = []
        self.lock = threading.Lock()
        self.address, self.port = address, port

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self):
        self.shutdown()
        self.server_close()

    def keep(self, message):
        with self.lock:
            self.messages.append(message)

    def taken(self):
        with self.lock:
            return list(self.messages)


class SinkConversation(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def say(self, text):
        self.wfile.write(text.encode() + b'\r\n')

    def handle(self):
        self.say('220 sink.example ESMTP')
        sender, recipients, options = None, [], ''
        for line in self.rfile:
            line = line.decode('utf-8', 'replace').strip()
            verb = line[:4].upper()
            path = re.search(r'<(.*?)>(.*)', line)
            if verb == 'EHLO':
                self.say('250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES')
            elif verb == 'MAIL':
                sender, options, recipients = path.group(1), path.group(2), []
                self.say('250 2.1.0 fine')
            elif verb == 'RCPT':
                recipients.append(path.group(1))
                self.say('250 2.1.5 fine')
            elif verb == 'DATA':
                self.say('354 go on')
                self.server.keep(Received(self.client_address, sender, recipients, self.content(), options.split()))
                self.say('250 2.0.0 kept')
            elif verb == 'QUIT':
                self.say('221 2.0.0 bye')
                return
            else:
                self.say('250 2.0.0 fine')

    def content(self):
        """Up to the dot on a line of its own, without the dots that were stuffed."""
        lines, start = [], True
        while True:
            line = self.rfile.readline()
            if not line:
                raise ConnectionError('the client left within its mail')
            if start and line == b'.\r\n':
                return b''.join(lines)
            lines.append(line[1:] if start and line[:1] == b'.' else line)
            start = line.endswith(b'\r\n')
