"""Mail programs as people have them: what they show of a mail.

    with Mutt(root) as mutt:
        for shown in mutt.read([raw, ...]): shown.subject, shown.sender, shown.good, shown.text

Both see the root as the only trusted one.  Thunderbird runs without a screen and is asked by its remote protocol what stands in its window.
"""

import base64
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import tempfile

import mailtools
import service
from namespace import environment, run

MARIONETTE_PORT = 2828


class Shown:
    """good: the program says that the signature is; verdict: its words; text: what stands under the header, without blank lines around."""

    def __init__(self, subject, sender, good, verdict, text, **more):
        self.subject, self.sender, self.good, self.verdict = subject, sender, good, verdict
        self.text = text.strip('\n')
        self.__dict__.update(more)

    def __repr__(self):
        return '<Shown %r>' % self.__dict__


class Client:
    def __init__(self, root):
        self.root = root
        self.folder = tempfile.mkdtemp(dir=mailtools.TMP)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        pass

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, 'wb') as file:
            file.write(data.encode() if isinstance(data, str) else data)
        return path


class Mutt(Client):
    """Its pager is a program that keeps what it is given to show; S/MIME by GnuPG, as in Debian."""

    END = '=== end of message ===\n'
    SETTINGS = """set crypt_use_gpgme=yes
set crypt_verify_sig=yes
set pager="{folder}/pager"
set folder="{folder}"
set tmpdir="{folder}"
set wait_key=no
set prompt_after=no
set delete=no
set sort=mailbox-order
set sleep_time=0
ignore *
unignore from to cc subject
"""

    def __init__(self, root):
        super().__init__(root)
        self.home = mailtools.gpgsm_home(self.folder, root)
        self.write('settings', self.SETTINGS.format(folder=self.folder))
        path = self.write('pager', '#!/bin/sh\n{ cat "$1"; printf "%s"; } >> %s/shown\n' % (self.END.replace('\n', '\\n'), self.folder))
        os.chmod(path, 0o755)

    def close(self):
        run('gpgconf', '--homedir', self.home, '--kill', 'all', check=False)

    def read(self, mails):
        self.write('shown', '')
        self.write('mbox', b''.join(b'From x@test.example Sun Nov 22 10:00:00 2026\n' + m.replace(b'\r\n', b'\n') + b'\n' for m in mails))
        self._run('<display-message><next-undeleted>' * len(mails) + '<exit>')
        with open(self.folder + '/shown', encoding='utf-8') as file:
            pages = file.read().split(self.END)[:-1]
        if len(pages) != len(mails):
            raise RuntimeError('mutt showed %d of %d mails: %r' % (len(pages), len(mails), pages))
        return [self._shown(page) for page in pages]

    def _run(self, keys):
        environ = environment(HOME=self.folder, GNUPGHOME=self.home, TERM='xterm', LC_ALL='C.UTF-8')
        argv = ['mutt', '-n', '-F', self.folder + '/settings', '-f', self.folder + '/mbox', '-e', 'push "%s"' % keys]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe('mutt', argv, environ)
        screen = b''
        try:
            while select.select([terminal], [], [], 120)[0]:
                piece = os.read(terminal, 65536)
                if not piece:
                    break
                screen += piece
            else:
                raise TimeoutError('mutt says nothing any more: %r' % screen[-2000:])
        except OSError:             # the other end of a terminal that is closed
            pass
        finally:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(pid, 0)
            os.close(terminal)

    @staticmethod
    def _shown(page):
        parts = re.fullmatch(r'\s*-[^\n]*\n\n(?P<top>.*?)\n\n(?P<verdict>\[-- Begin signature information --\].*?\[-- End signature information --\]\n)?\n*'
                             r'(?:\[-- The following data is (?:S/MIME )?signed --\]\n)?(?P<text>.*?)(?:\[-- End of (?:S/MIME )?signed data --\]\n*)?', page, re.S)
        fields = dict(re.findall(r'^(\w+): (.*)$', parts['top'], re.M))
        verdict = parts['verdict'] or ''
        return Shown(fields['Subject'], fields['From'], 'Good signature from:' in verdict and not re.search('BAD|Warning|Error|expired', verdict),
                     verdict, parts['text'])


class Marionette:
    """Thunderbird's remote protocol: "LENGTH:[type, id, command, parameters]"."""

    def __init__(self, port, check):
        self.connection = service.until(lambda: check() and self._connect(port), 120, 'Thunderbird listens')
        self.file = self.connection.makefile('rwb')
        self.number = 0
        self._read()
        self('WebDriver:NewSession', capabilities={'timeouts': {'script': 300000}})
        self('Marionette:SetContext', value='chrome')

    @staticmethod
    def _connect(port):
        try:
            return socket.create_connection(('127.0.0.1', port), 300)
        except OSError:
            return None

    def _read(self):
        length = b''
        while not length.endswith(b':'):
            octet = self.file.read(1)
            if not octet:
                raise EOFError('Thunderbird has closed the connection')
            length += octet
        return json.loads(self.file.read(int(length[:-1])))

    def __call__(self, command, **parameters):
        self.number += 1
        data = json.dumps([0, self.number, command, parameters]).encode()
        self.file.write(b'%d:%s' % (len(data), data))
        self.file.flush()
        _type, _number, error, result = self._read()
        if error:
            raise RuntimeError('%s: %s' % (command, error))
        return result

    def script(self, text, *arguments):
        """The body of an asynchronous function, in the main window."""
        wrapped = 'const done = arguments[arguments.length - 1];\n(async () => {%s})().then(v => done([v]), e => done("" + e + e.stack));' % text
        value = self('WebDriver:ExecuteAsyncScript', script=wrapped, args=list(arguments))['value']
        if isinstance(value, str):
            raise RuntimeError(value)
        return value[0]


class Thunderbird(Client):
    """A signature that is not good is shown as none at all: verdict '', no ribbon."""

    PREFERENCES = {
        'mail.accountmanager.accounts': 'account1', 'mail.accountmanager.localfoldersserver': 'server1', 'mail.account.account1.server': 'server1',
        'mail.server.server1.type': 'none', 'mail.server.server1.hostname': 'Local Folders', 'mail.server.server1.userName': 'nobody',
        'mail.server.server1.name': 'Local Folders', 'mail.server.server1.directory-rel': '[ProfD]Mail/Local Folders',
        'mail.provider.suppress_dialog_on_startup': True, 'mail.shell.checkDefaultClient': False, 'mail.rights.version': 1, 'mail.spam.version': 9,
        'mailnews.start_page.enabled': False, 'app.donation.eoy.version.viewed': 9999, 'app.update.enabled': False, 'app.normandy.enabled': False,
        'datareporting.policy.dataSubmissionPolicyBypassNotification': True, 'security.OCSP.enabled': 0, 'marionette.port': MARIONETTE_PORT,
    }
    OPEN = """
        const [path] = arguments;
        const {MailServices} = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
        const {MailUtils} = ChromeUtils.importESModule("resource:///modules/MailUtils.sys.mjs");
        const window = Services.wm.getMostRecentWindow("mail:3pane");
        const until = async (question, what) => {
            for (let i = 0; i < 2400; i++) {
                let answer = null;
                try { answer = question(); } catch (e) {}
                if (answer) return answer;
                await new Promise(r => window.setTimeout(r, 50));
            }
            throw new Error("not within two minutes: " + what);
        };
        const folder = MailServices.accounts.localFoldersServer.rootFolder.getChildNamed("Inbox");
        const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
        file.initWithPath(path);
        let key = null;
        await new Promise((good, bad) => MailServices.copy.copyFileMessage(file, folder, null, false, 0, "", {
            QueryInterface: ChromeUtils.generateQI(["nsIMsgCopyServiceListener"]),
            onStartCopy() {}, onProgress() {}, getMessageId() { return null; },
            setMessageKey(k) { key = k; }, onStopCopy(status) { status ? bad(new Error("copy: " + status)) : good(); },
        }, null));
        MailUtils.openMessageInNewWindow(folder.GetMessageHeader(key));
        const about = await until(() => Services.wm.getMostRecentWindow("mail:messageWindow").messageBrowser.contentWindow, "a window for the message");
        await until(() => about.gMessage.messageKey == key && about.msgLoaded, "the message is shown");
        const page = about.document, text = id => page.getElementById(id).textContent;
        const body = await until(() => {
            const shown = about.getMessagePaneBrowser().contentDocument;
            return shown.readyState == "complete" && shown.documentURI != "about:blank" && shown.body;
        }, "its text");
        const ribbon = page.getElementById("signedHdrIcon");
        await until(() => about.gSmimeProcessedDispatched || (!ribbon.hidden && ribbon.src), "a word on the signature");
        return {
            subject: text("expandedsubjectBox").replace(/^Subject:/, ""), sender: text("expandedfromBox"), to: text("expandedtoBox"),
            verdict: ribbon.hidden ? "" : ribbon.src.replace(/.*\\//, "").replace(".svg", ""), text: body.innerText,
            listed: folder.GetMessageHeader(key).mime2DecodedSubject, attachments: about.currentAttachments.map(a => a.name),
        };"""

    CLOSE = """
        const window = Services.wm.getMostRecentWindow("mail:messageWindow");
        window.close();
        while (!window.closed) await new Promise(r => Services.tm.dispatchToMainThread(r));
        return true;"""

    def __init__(self, root):
        super().__init__(root)
        profile = self.folder + '/profile'
        os.makedirs(profile + '/Mail/Local Folders')
        self.write('profile/Mail/Local Folders/Inbox', b'')
        run('certutil', '-N', '-d', 'sql:' + profile, '--empty-password')
        run('certutil', '-A', '-d', 'sql:' + profile, '-n', 'root', '-t', ',C,', '-i', root)
        self.write('profile/user.js', ''.join('user_pref(%s, %s);\n' % (json.dumps(k), json.dumps(v)) for k, v in self.PREFERENCES.items()))
        self.server = service.Service(
            'thunderbird', ['thunderbird', '--headless', '--no-remote', '--profile', profile, '--marionette', '--remote-allow-system-access'],
            env={'HOME': self.folder, 'XDG_RUNTIME_DIR': self.folder, 'MOZ_CRASHREPORTER_DISABLE': '1'})
        self.server.start()
        try:
            self.marionette = Marionette(MARIONETTE_PORT, self.server.check)
            self.marionette.script('const t = () => Services.wm.getMostRecentWindow("mail:3pane")?.document.getElementById("tabmail");'
                                   'while (!t()?.currentTabInfo) await new Promise(r => Services.tm.dispatchToMainThread(r));')
        except BaseException:
            self.close()
            raise

    def close(self):
        self.server.kill9()

    def read(self, mails):
        return [self._read_one(self.write('%d.eml' % n, raw)) for n, raw in enumerate(mails)]

    def _read_one(self, path):
        shown = self.marionette.script(self.OPEN, path)
        if os.environ.get('ENROLL_TEST_KEEP'):
            self._screenshot(os.environ['ENROLL_TEST_KEEP'])
        self.marionette.script(self.CLOSE)
        return Shown(good=shown['verdict'] == 'message-signed-ok', **shown)

    def _screenshot(self, folder):
        """For eyes."""
        main = self.marionette('WebDriver:GetWindowHandle')['value']
        window = [h for h in self.marionette('WebDriver:GetWindowHandles') if h != main][-1]
        self.marionette('WebDriver:SwitchToWindow', handle=window)
        picture = self.marionette('WebDriver:TakeScreenshot', full=True)['value']
        self.marionette('WebDriver:SwitchToWindow', handle=main)
        with tempfile.NamedTemporaryFile(dir=folder, prefix='thunderbird-', suffix='.png', delete=False) as file:
            file.write(base64.b64decode(picture))
