"""Everything an admin gets wrong, made so here, found by `enrollctl doctor`, and mended by taking what it prints as it stands.

over 800 lines because each broken installation is a few lines of its own, and there are some sixty.

    ENROLL_BUILD=... ENROLL_TEST_WRITE=1 tests/e2e/run.py -k AtATerminal test_operate_doctor      # writes doc/screens.md anew
"""

import contextlib
import fcntl
import json
import os
import pty
import pwd
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import termios
import threading

import stage_postfix
from doctoring import POSTFIX, SUBMISSION, Case, parse
from namespace import BASE, environment, run
from product import DIR, ETC, require

SQLITE = 'what an admin gets wrong with files and their rights'
STAGE = {'ca': True}
TAKES, BUSY = 60, 17
DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../doc')
OUTBOUND = 'unix:enroll-milter/outbound.sock'


def setUpModule():
    require()


class AllWell(Case):
    def test_nothing_is_wrong(self):
        lines = self.doctor(code=0)
        self.assertEqual([l for l in lines if l.verdict != 'ok'], [])
        self.assertEqual([l for l in lines if l.fixes], [])
        for event in ('sandbox_denied', 'sandbox_ended'):
            self.assertEqual(self.p.log(name='enrolld', event=event), [], 'what enrolld looks at is within its sandbox')

    def test_who_may_less_sees_less_and_is_told(self):
        done = self.p.ctl_run('doctor', '--json', user='helpdesk1')
        self.assertEqual(done.returncode, 0, done.stdout)
        answer = json.loads(done.stdout)
        self.assertEqual((answer['faults'], answer['warnings']), (0, 0))
        self.assertLessEqual({'master-key', 'signature', 'directory-rights'}, set(answer['skipped']))
        self.assertFalse(set(answer['skipped']) & {c['check'] for c in answer['checks']})
        self.assertIn('master-key', self.p.ctl('doctor', user='helpdesk1').splitlines()[-2])

    def test_some_of_it(self):
        self.assertEqual([l.check for l in self.doctor('postfix-order', 'store')], ['store', 'postfix-order'])
        self.assertEqual([l.check for l in self.doctor('dkim')], ['dkim'])
        done = self.p.ctl_run('doctor', 'postfix-oder', user='root')
        self.assertEqual((done.returncode, done.stdout), (2, ''))
        self.assertIn('did you mean "postfix-order"?', done.stderr)

    def test_every_check_of_the_page_says_something(self):
        with open(DOC + '/enroll-milter-doctor.7') as file:
            page = file.read().split('.Sh CHECKS')[1]
        self.assertEqual(set(re.findall(r'^\.It Sy (\S+)', page, re.M)), {l.check for l in self.doctor()})


class AtATerminal(Case):
    """What an admin sees at a terminal of 80 columns, kept in doc/screens.md: the same but for times, serial numbers and where lines are broken."""

    HEAD = """# Screens

What `enrollctl` shows at a terminal of 80 columns, as root. Written by a test (`tests/e2e/test_operate_doctor.py`) on a real installation; only times,
serial numbers and fingerprints are made up. More of them, for the help desk: [helpdesk.md](helpdesk.md).
"""

    def type(self, *words):
        """A command of root's at a terminal; what is left on it, and what was wiped out."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        child = subprocess.Popen([self.p.program('enrollctl'), '--config', self.p.config_file, *words], stdin=follower, stdout=follower, stderr=follower,
                                 env=environment(**self.p.env), start_new_session=True)
        os.close(follower)
        shown = b''
        with contextlib.suppress(OSError):
            while piece := os.read(leader, 65536):
                shown += piece
        os.close(leader)
        child.wait(120)
        text = shown.decode().replace('\r\n', '\n')
        return re.sub(r'[^\n\r]*\r\x1b\[K', '', text).replace('\r', '').replace('\x1b[K', ''), text

    def settle(self, text):
        """Without what is never the same twice."""
        text = re.sub(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', '2026-11-30T09:00:00Z', text)
        text = re.sub(r'\b[0-9a-f]{64}\b', '5d' * 32, text)
        text = re.sub(r'\b[0-9A-F]{32,40}\b', '4F' * 16, text)
        text = re.sub(r'(/acme/(?:account|certificate)/)[0-9a-f]{16}', r'\g<1>1', text)
        text = re.sub(r'(schema\s+version) \d+', r'\1 6', text)
        text = re.sub(r'(?m)(postfix +version) [\d.]+', r'\1 3.7.11', text)
        for real, known in ((ETC, '/etc/enroll-milter'), (DIR + '/lib', '/var/lib/enroll-milter'), (DIR + '/run', '/run/enroll-milter'),
                            (DIR + '/spool', '/var/spool/enroll-milter'), (stage_postfix.QUEUE, '/var/spool/postfix')):
            text = text.replace(real, known)
        return text.replace('enrollctl --config /etc/enroll-milter/enroll-milter.conf ', 'enrollctl ')

    def test_screens(self):
        page = [self.HEAD]
        for title, words in (('What is going on', ['status']), ('One address', ['show', 'alice@corp.example']), ('A sound installation', ['doctor'])):
            page.append(self.screen(title, words))
        self.stage.postfix.listener_options.setdefault(SUBMISSION, []).append('smtpd_milters=unix:dkim/sv.sock, ' + OUTBOUND)
        self.stage.postfix._write()
        self.stage.postfix.listener_options[SUBMISSION].pop()
        os.chmod(ETC + '/master.key', 0o644)
        self.p.ctl('pause', '--reason', 'the CA is being moved', user='root')
        try:
            words = ['doctor', 'master-key', 'enrollments', 'postfix-order', 'postfix-socket']
            page.append(self.screen('Three mistakes', words))
            self.follow_what_is_copied(self.type(*words)[0])
        finally:
            self.p.ctl('resume', user='root')
            os.chmod(ETC + '/master.key', 0o600)
            self.stage.postfix._write()
        self.compare('\n'.join(page))

    def follow_what_is_copied(self, screen):
        """A command that is broken into lines is the same when they are copied to a shell."""
        for fix in re.findall(r'^      fix: ((?:.*\\\n)*.*)', screen, re.M):
            self.follow_one(fix)
        self.mended('master-key', 'enrollments', 'postfix-order')

    def screen(self, title, words):
        left, all_of_it = self.type(*words)
        if words[0] == 'doctor':
            self.assertIn('checking %s...' % words[-1] if len(words) > 1 else 'checking store...', all_of_it)
        wide = [l for l in left.splitlines() if len(l) > 80]
        self.assertEqual([l for l in wide if "'" not in l], [], 'only what stands in quotes cannot be broken')
        return '\n## %s\n\n    # enrollctl %s\n%s' % (title, ' '.join(words), ''.join('    %s\n' % l if l else '\n' for l in self.settle(left).splitlines()))

    def compare(self, page):
        path = DOC + '/screens.md'
        if os.environ.get('ENROLL_TEST_WRITE'):
            with open(path, 'w') as file:
                file.write(page)
        with open(path) as file:
            self.assertEqual(' '.join(page.split()), ' '.join(file.read().split()), 'ENROLL_TEST_WRITE=1 writes it anew')


class Files(Case):
    """Modes, owners, folders; each mended by the printed command, and once more by --fix."""

    def check(self, check, break_it, words, verdict='fault'):
        for fix in (False, True):
            with self.subTest(check, fix=fix):
                break_it()
                line = self.broken(check, verdict, words)
                if fix:
                    self.assertEqual(self.broken(check, verdict, 'would put that right', [check, '--fix', '--dry-run']).fixes, line.fixes)
                    self.assertIn('put right', ' '.join(l.text for l in self.doctor(check, '--fix', code=0)))
                else:
                    self.follow(line)
                self.mended(check)

    def test_the_configuration_can_be_written_by_all(self):
        self.check('config-file', lambda: os.chmod(self.p.config_file, 0o666), 'mode 0666 instead of 0644')

    def test_the_folder_of_the_master_key_can_be_written_by_all(self):
        self.check('config-file', lambda: os.chmod(ETC, 0o777), 'has mode 0777 instead of 0755')
        self.assertEqual(self.bad('master-key'), [])

    def test_the_master_key_can_be_read_by_all(self):
        self.check('master-key', lambda: os.chmod(ETC + '/master.key', 0o644), 'mode 0644 instead of 0600: everybody')

    def test_the_master_key_is_not_the_outbound_instances(self):
        self.check('master-key', lambda: run('chown', 'root', ETC + '/master.key'), 'belongs to root:\\S+ instead of enroll-out')

    def test_a_file_of_another_user_is_given_to_nobody(self):
        """enrolld's user may have put it there, and would have the outbound instance open what it chose."""
        run('chown', 'enrolld', ETC + '/master.key')
        try:
            for args in ([], ['--fix']):
                line = self.broken('master-key', 'fault', 'belongs to enrolld:\\S+ instead of enroll-out; it belongs to another user.*look at it first', ['master-key'] + args)
                self.assertEqual(line.fixes, [])
                self.assertEqual(os.stat(ETC + '/master.key').st_uid, pwd.getpwnam('enrolld').pw_uid)
        finally:
            run('chown', 'enroll-out', ETC + '/master.key')
        self.mended('master-key')

    def test_the_folder_of_other_secrets_can_be_written_by_all(self):
        """One line a check, however many of them are in there."""
        for check in ('account-key', 'secrets'):
            self.check(check, lambda: os.chmod(ETC, 0o777), 'has mode 0777 instead of 0755')

    def test_a_link_to_the_folder_of_a_key_is_no_fault(self):
        os.symlink(ETC, BASE + '/etc-link')
        self.p.configure(ca={'account-key': BASE + '/etc-link/account.key'})
        try:
            self.assertEqual(self.bad('account-key'), [])
        finally:
            self.p.configure(ca={'account-key': ETC + '/account.key'})

    def untouched(self, folder, check, *args):
        """Wrong, and neither changed nor is it said how."""
        before = os.stat(folder)
        for fix in ([], ['--fix']):
            done = subprocess.run([self.p.program('enrollctl'), *args, 'doctor', check, *fix], capture_output=True, text=True, env=environment(**self.p.env))
            lines = [l for l in parse(done.stdout) if folder + ':' in l.text]
            self.assertEqual([(l.verdict, l.fixes) for l in lines], [('fault', [])], done.stdout)
            self.assertIn('others use this folder too', lines[0].text)
            now = os.stat(folder)
            self.assertEqual((now.st_mode, now.st_uid, now.st_gid), (before.st_mode, before.st_uid, before.st_gid))

    def test_a_folder_that_others_use_too_is_not_touched(self):
        """Paths of the configuration can lie anywhere."""
        shared, plain, empty = BASE + '/shared', BASE + '/plain', BASE + '/empty'
        for folder, mode in ((shared, 0o1777), (plain, 0o777), (empty, 0o1777)):
            os.makedirs(folder)
            os.chmod(folder, mode)
            if folder != empty:
                with open(folder + '/of-another', 'w'):
                    pass
        config = ['--config', self.p.config_file]
        try:
            for folder in (shared, plain):
                shutil.copyfile(self.p.config_file, folder + '/our.conf')
                self.untouched(folder, 'config-file', '--config', folder + '/our.conf')
                self.p.configure(milter={'spool-directory': folder}, store={'path': folder + '/store.db'}, control={'socket': folder + '/control.sock'})
                for check in ('spool', 'store-files', 'control-folder'):
                    self.untouched(folder, check, *config)
            self.p.configure(milter={'spool-directory': empty})
            self.untouched(empty, 'spool', *config)
            self.p.configure(milter={'outbound-socket': 'unix:%s/outbound.sock' % stage_postfix.QUEUE})
            self.untouched(stage_postfix.QUEUE, 'socket-folder', *config)
        finally:
            self.p.configure(milter={'spool-directory': DIR + '/spool', 'outbound-socket': 'unix:%s/enroll-milter/outbound.sock' % stage_postfix.QUEUE},
                             store={'path': DIR + '/lib/store.db'}, control={'socket': DIR + '/run/control.sock'})
        self.mended('spool', 'store-files', 'control-folder', 'socket-folder', 'running')

    def test_a_folder_with_nothing_but_ours_is_mended(self):
        folder = BASE + '/ours'
        os.makedirs(folder)
        self.p.configure(milter={'spool-directory': folder})
        try:
            self.follow(self.broken('spool', 'fault', 'belongs to root:root instead of root:enroll-milter'))
            self.mended('spool')
        finally:
            self.p.configure(milter={'spool-directory': DIR + '/spool'})

    def test_a_path_cannot_steer_the_terminal(self):
        folder = BASE + '/odd'
        os.makedirs(folder)
        path = folder + '/a\x1b[31mb.conf'
        shutil.copyfile(self.p.config_file, path)
        os.chmod(path, 0o666)
        shown = subprocess.run([self.p.program('enrollctl'), '--config', path, 'doctor', 'config-file'], capture_output=True, text=True, env=environment()).stdout
        self.assertRegex(shown, r'fix: chmod 0644 ')
        self.assertNotIn('\x1b', shown)

    def test_the_account_key_is_the_groups(self):
        self.check('account-key', lambda: os.chmod(ETC + '/account.key', 0o640), 'account.key: has mode 0640')

    def test_the_directorys_password_can_be_read_by_all(self):
        self.check('secrets', lambda: os.chmod(ETC + '/ldap.password', 0o644), 'ldap.password: has mode 0644')

    def test_the_store_is_closed_to_its_group(self):
        self.check('store-files', lambda: os.chmod(DIR + '/lib/store.db', 0o600), 'store.db: has mode 0600 instead of 0660')

    def test_the_store_is_another_groups(self):
        self.check('store-files', lambda: run('chgrp', 'nogroup', DIR + '/lib/store.db'), 'belongs to \\S+:nogroup')

    def test_the_folder_of_the_store_is_open(self):
        self.check('store-files', lambda: os.chmod(DIR + '/lib', 0o2777), 'lib: has mode 2777 instead of 2770')

    def test_the_spool_is_not_there(self):
        self.check('spool', lambda: os.rmdir(DIR + '/spool'), 'No such file')

    def test_the_spool_is_open(self):
        self.check('spool', lambda: os.chmod(DIR + '/spool', 0o777), 'mode 0777 instead of 1770')

    def test_the_sockets_folder_is_open(self):
        self.check('socket-folder', lambda: os.chmod(stage_postfix.QUEUE + '/enroll-milter', 0o3777), 'mode 3777 instead of 3770')

    def test_the_sockets_folder_has_lost_its_access_list(self):
        """The tool that mends it is not among what the tests install: what it does is done here."""
        folder = stage_postfix.QUEUE + '/enroll-milter'
        os.removexattr(folder, 'system.posix_acl_access')
        try:
            os.chmod(folder, 0o3770)
            line = self.broken('socket-folder', 'fault', 'user enroll-out cannot make its socket there')
            self.assertEqual(line.fixes, ['setfacl -m u:enroll-out:rwx,u:enroll-in:rwx,u:enrolld:x,m::rwx ' + folder])
        finally:
            stage_postfix.socket_folder_acl(folder)
        self.mended('socket-folder')

    def test_the_folder_of_the_control_socket_is_closed(self):
        self.check('control-folder', lambda: os.chmod(DIR + '/run', 0o700), 'run: has mode 0700 instead of 0755')

    def test_fix_follows_no_link_of_a_service_user(self):
        """The folder of the store is enrolld's: what it puts there must not make root change another file."""
        victim = BASE + '/victim'
        with open(victim, 'w') as file:
            file.write('not ours')
        os.chmod(victim, 0o600)
        for put in (os.symlink, os.link):
            os.rename(DIR + '/lib/store.db', DIR + '/lib/aside.db')
            put(victim, DIR + '/lib/store.db')
            try:
                self.assertTrue(self.bad('store-files', '--fix'))
                self.assertEqual((os.stat(victim).st_mode & 0o7777, os.stat(victim).st_gid), (0o600, 0))
            finally:
                os.unlink(DIR + '/lib/store.db')
                os.rename(DIR + '/lib/aside.db', DIR + '/lib/store.db')
        self.mended('store-files')

    def test_fix_changes_what_it_judged_and_nothing_that_came_into_its_place(self):
        """enrolld's user puts a file of the outbound instance's there, just before it is opened."""
        store, aside, victim = DIR + '/lib/store.db', DIR + '/lib/aside.db', DIR + '/lib/victim'
        with open(victim, 'w') as file:
            file.write('not ours')
        run('chown', 'enroll-out', victim)
        os.chmod(victim, 0o600)
        before = os.stat(victim)
        run('chgrp', 'nogroup', store)
        child = subprocess.Popen(['strace', '-f', '-qq', '-o', BASE + '/opened', '-P', store, '-e', 'trace=newfstatat,lstat,openat', '-e',
                                  'inject=openat:delay_enter=4s', self.p.program('enrollctl'), '--config', self.p.config_file, 'doctor', 'store-files', '--fix'],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(**self.p.env))
        try:
            self.until(lambda: 'openat(' in open(BASE + '/opened').read() if os.path.exists(BASE + '/opened') else False, 60, 'it is about to be opened')
            os.rename(store, aside)
            os.rename(victim, store)
            said = child.communicate(timeout=300)[0].decode()
            now = os.stat(store)
            self.assertEqual((now.st_ino, now.st_uid, now.st_gid, now.st_mode), (before.st_ino, before.st_uid, before.st_gid, before.st_mode), said)
            self.assertIn('another one came into its place', said)
        finally:
            child.wait()
            if os.path.exists(aside):
                os.rename(store, victim)
                os.rename(aside, store)
            os.unlink(victim)
        self.follow(self.broken('store-files', 'fault', 'belongs to \\S+:nogroup'))
        self.mended('store-files')

    def test_fix_takes_root_and_changes_nothing_else(self):
        self.assertEqual(self.p.ctl_run('doctor', '--fix').returncode, 2)
        self.p.ctl('pause', user='root')
        try:
            self.assertEqual([l.fixes for l in self.bad('enrollments', '--fix')], [['enrollctl --config %s resume' % self.p.config_file]])
        finally:
            self.p.ctl('resume', user='root')

    def test_the_account_key_is_lost(self):
        os.rename(ETC + '/account.key', ETC + '/account.lost')
        self.addCleanup(os.rename, ETC + '/account.lost', ETC + '/account.key')
        line = self.broken('account-key', 'fault', 'No such file')
        self.follow(line)
        self.mended('account-key')

    def test_there_is_no_room(self):
        run('mount', '-t', 'tmpfs', '-o', 'size=8m,mode=1770', 'none', DIR + '/spool')
        try:
            run('chown', 'root:enroll-milter', DIR + '/spool')
            self.broken('disk', 'fault', 'spool: \\d+ MiB of 8 are left')
        finally:
            run('umount', DIR + '/spool')
        self.mended('disk')


class Keys(Case):
    def test_a_master_key_that_does_not_fit(self):
        """No command can bring the right one back: the admin's copy has to."""
        os.rename(ETC + '/master.key', ETC + '/master.copy')
        run('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', ETC + '/other.pem')
        run('openssl', 'pkcs8', '-topk8', '-nocrypt', '-in', ETC + '/other.pem', '-out', ETC + '/master.key')
        run('chown', 'enroll-out', ETC + '/master.key')
        os.chmod(ETC + '/master.key', 0o600)
        try:
            self.broken('master-match', 'fault', 'does not belong to the master certificate .* from your copy')
            self.broken('signature', 'fault', 'does not belong to the master certificate')
        finally:
            os.rename(ETC + '/master.copy', ETC + '/master.key')
        self.mended('master-match', 'signature')

    def test_the_master_key_is_lost(self):
        os.rename(ETC + '/master.key', ETC + '/master.copy')
        try:
            lines = self.bad('master-key')
            self.assertIn('put the key back from your copy', ' '.join(l.text for l in lines))
            self.assertEqual([l.fixes for l in lines if l.fixes], [], 'a new key would open nothing')
        finally:
            os.rename(ETC + '/master.copy', ETC + '/master.key')
        self.mended('master-key')

    def test_signatures_nobody_can_verify(self):
        """The anchors are not those of the CA that issued."""
        shutil.copyfile(ETC + '/anchors.pem', ETC + '/anchors.copy')
        shutil.copyfile(ETC + '/ldap-ca.pem', ETC + '/anchors.pem')
        try:
            self.broken('signature', 'fault', 'verify')
        finally:
            os.rename(ETC + '/anchors.copy', ETC + '/anchors.pem')
        self.mended('signature')

    def test_signing_is_paused(self):
        self.p.ctl('pause', '--reason', 'moving house', user='root')
        self.follow(self.broken('enrollments', 'warning', 'paused by .*moving house'))
        self.mended('enrollments')

    def test_somebody_is_blocked(self):
        self.stage.ldap.modify('dave', mail=['dave.old@corp.example'])
        self.p.ctl('enroll', 'dave@corp.example')
        self.p.wait_state('dave@corp.example', 'blocked')
        self.assertIn('1 blocked', self.broken('enrollments', 'warning', 'enrollctl list --state blocked').text)
        self.stage.ldap.modify('dave', mail=['dave@corp.example'])
        self.p.ctl('retry', 'dave@corp.example')
        self.p.wait_state('dave@corp.example', 'active')
        self.mended('enrollments')

    def test_a_damaged_store(self):
        self.p.stop()
        shutil.copyfile(DIR + '/lib/store.db', DIR + '/store.copy')
        with open(DIR + '/lib/store.db', 'r+b') as file:
            file.seek(os.path.getsize(DIR + '/lib/store.db') // 2 // 4096 * 4096)
            file.write(os.urandom(8192))
        try:
            self.assertEqual([l.verdict for l in self.bad('store')], ['fault'])
        finally:
            for end in ('-wal', '-shm'):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(DIR + '/lib/store.db' + end)
            shutil.copyfile(DIR + '/store.copy', DIR + '/lib/store.db')
            self.p.start()
        self.mended('store')


class Running(Case):
    def test_enrolld_does_not_run(self):
        self.p.stop('enrolld')
        lines = self.doctor()
        self.assertEqual((lines[0].verdict, lines[0].check), ('fault', 'enrolld'), 'said first')
        self.assertEqual([l.check for l in lines if l.verdict == 'fault'], ['enrolld'], 'root asks the same without it')
        self.assertLessEqual({'store', 'directory', 'caa', 'ca', 'reply-path', 'dns'}, {l.check for l in lines})
        others = self.doctor(user='helpdesk1')
        self.assertEqual((others[0].verdict, others[0].check), ('fault', 'enrolld'))
        self.assertIn('postfix-order', {l.check for l in others})
        self.follow(lines[0])
        self.mended('enrolld')

    def answering(self, checks):
        """Somebody in the place of enrolld, who answers `doctor` with that."""
        path = DIR + '/run/control.sock'
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(8)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as s, s.makefile('rwb') as file:
                        command = json.loads(file.readline())['command']
                        file.write(json.dumps({'ok': True, 'result': {'checks': checks} if command == 'doctor' else {}}).encode() + b'\n')
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end():
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(60)
            os.unlink(path)
        return end

    def test_what_enrolld_sends_is_not_believed(self):
        """Taken over, it has no root type its commands, steers no terminal and speaks for no other check."""
        command = {'kind': 'command', 'where': ''}
        self.p.stop('enrolld')
        end = self.answering([
            {'check': 'store', 'verdict': 'warning', 'text': 'some\x1b]0;thing', 'fix': [
                dict(command, text='chmod u+s /tmp/evil'), dict(command, text='enrollctl resume'), dict(command, text='enrollctl resume; touch /tmp/evil'),
                dict(command, text='enrollctl account register --ca example-ca'), dict(command, text='enrollctl account register --ca evil'), {'kind': 'command'}, 7,
                {'kind': 'configuration', 'where': 'ca', 'text': 'exec = { program = "/tmp/evil"; };'},
                {'kind': 'configuration', 'where': 'departures', 'text': 'interval = 3600;'},
                {'kind': 'dns', 'where': 'corp.example', 'text': 'corp.example. TXT "a"\n      fix: /tmp/evil'}]},
            {'verdict': 'fault', 'text': 'evil'}, {'check': 'master-key', 'verdict': 'fault', 'text': 'evil'}, {'check': 'store', 'text': 'evil'}, 'evil'])
        try:
            done = self.p.ctl_run('doctor', 'store', 'master-key', user='root')
            lines = self.doctor('store', 'master-key')
        finally:
            end()
            self.p.start('enrolld')
        self.assertNotIn('\x1b', done.stdout)
        self.assertNotIn('evil', done.stdout)
        self.assertEqual([(l.check, l.verdict) for l in lines], [('master-key', 'ok'), ('store', 'warning'), ('store', 'fault')])
        config = 'enrollctl --config %s ' % self.p.config_file
        self.assertEqual(lines[1].fixes, [config + 'resume', config + 'account register --ca example-ca', 'in %s, group departures: interval = 3600;' % self.p.config_file])
        self.assertIn('was left out', lines[2].text)
        self.mended('store', 'enrolld')

    def test_nothing_is_claimed_by_looking(self):
        """A store that does not know its master key yet: the certificate that happens to be there is not made the one."""
        self.p.stop('enrolld')
        query = "SELECT value FROM flags WHERE name = 'master-key'"
        with contextlib.closing(sqlite3.connect(DIR + '/lib/store.db')) as db:
            kept = db.execute("SELECT name, value, actor, at FROM flags WHERE name = 'master-key'").fetchall()
            self.assertEqual(len(kept), 1)
            db.execute("DELETE FROM flags WHERE name = 'master-key'")
            db.commit()
            try:
                self.assertEqual(self.bad('store', 'enrollments'), [])
                self.assertEqual(db.execute(query).fetchall(), [])
            finally:
                db.execute("DELETE FROM flags WHERE name = 'master-key'")
                db.executemany('INSERT INTO flags (name, value, actor, at) VALUES (?, ?, ?, ?)', kept)
                db.commit()
                self.p.start('enrolld')

    def test_an_instance_does_not_run(self):
        for name in ('outbound', 'inbound'):
            self.p.stop(name)
            self.follow(self.broken(name, 'fault', 'enroll-milter@%s does not run' % name))
            self.mended(name)

    def test_a_socket_is_open_to_all(self):
        path = stage_postfix.QUEUE + '/enroll-milter/outbound.sock'
        os.chmod(path, 0o666)
        self.follow(self.broken('outbound', 'fault', 'every local user'))
        self.mended('outbound')
        run('chgrp', 'nogroup', path)
        self.follow(self.broken('outbound', 'fault', 'group postfix cannot connect'))
        self.mended('outbound')

    def test_a_socket_that_is_none_of_unix(self):
        self.p.configure(milter={'outbound-socket': 'inet:8899@127.0.0.1', 'tcp-peers': ['127.0.0.1/32']})
        try:
            self.broken('outbound', 'warning', 'TCP socket: whoever reaches it can sign as anybody')
        finally:
            self.p.config['milter'].pop('tcp-peers')
            self.p.configure(milter={'outbound-socket': 'unix:%s/enroll-milter/outbound.sock' % stage_postfix.QUEUE})

    def test_units_that_are_not_enabled(self):
        """A systemctl of the test's; the stage has no systemd."""
        fake = BASE + '/systemctl'
        with open(fake, 'w') as file:
            file.write('#!/bin/sh\nfor unit; do :; done\ncase "$*" in\n*is-enabled*) test -e "%s-$unit" ;;\nenable*) touch "%s-$unit" ;;\nshow*) cat "%s-show" ;;\n'
                       '*) exit 9 ;;\nesac\n' % (fake, fake, fake))
        os.chmod(fake, 0o755)
        run('mount', '--bind', fake, '/usr/bin/systemctl')
        os.makedirs('/run/systemd/system')
        self.p.configure(directory={'password-file': 'credential:enroll-milter.ldap'})
        try:
            lines = self.bad('systemd')
            self.assertEqual([l.verdict for l in lines], ['warning'] * 4)
            self.assertRegex(lines[3].text, 'credential:enroll-milter.ldap is in no credential store')
            self.assertEqual(lines[3].fixes, ['install -d -m 700 /etc/credstore.encrypted', 'systemd-ask-password -n | systemd-creds encrypt '
                                              '--name=enroll-milter.ldap - /etc/credstore.encrypted/enroll-milter.ldap'])
            for line in lines[:3]:
                self.assertIn('is not enabled', line.text)
                self.follow(line)
            os.makedirs('/etc/credstore', exist_ok=True)
            shutil.copyfile(ETC + '/ldap.password', '/etc/credstore/enroll-milter.ldap')
            self.mended('systemd')
            self.credential_of_a_key(fake)
        finally:
            self.p.configure(directory={'password-file': ETC + '/ldap.password'}, ca={'account-key': ETC + '/account.key'})
            os.rmdir('/run/systemd/system')
            run('umount', '/usr/bin/systemctl')

    def credential_of_a_key(self, fake):
        """Nobody types a key; and a unit may bring it along from where it is."""
        self.p.configure(ca={'account-key': 'credential:enroll-milter.account'})
        for brought in (None, 'LoadCredential=enroll-milter.ldap:enroll-milter.ldap\nLoadCredential=enroll-milter.account:/nonexistent\n'):
            if brought:
                with open(fake + '-show', 'w') as file:
                    file.write(brought)
            line = self.broken('systemd', 'warning', 'credential:enroll-milter.account is in no .* systemd-creds encrypt --name=enroll-milter.account FILE')
            self.assertEqual(line.fixes, [])
        with open(fake + '-show', 'w') as file:
            file.write('LoadCredential=enroll-milter.account:%s/account.key\n' % ETC)
        self.mended('systemd')

    def test_a_master_key_that_systemd_hands_over(self):
        """Said plainly what was not tried; and the printed way to try it, as far as a stage without systemd can go it."""
        folder = DIR + '/credentials'
        os.mkdir(folder, 0o755)
        shutil.copyfile(ETC + '/master.key', folder + '/enroll-milter.master')
        shutil.chown(folder + '/enroll-milter.master', 'enroll-out')
        os.chmod(folder + '/enroll-milter.master', 0o400)
        before = self.p.config['master']['key']
        self.p.configure(master={'key': 'credential:enroll-milter.master'})
        self.addCleanup(self.p.configure, master={'key': before})
        wanted = (('master-match', 'whether key, certificate and store belong together'), ('signature', 'whether mail can be signed'))
        for check, words in wanted:
            line, = self.doctor(check)
            self.assertEqual(line.verdict, 'ok')
            self.assertIn('not tried %s: systemd hands credential:enroll-milter.master to the outbound instance alone' % words, line.text)
            self.assertIn('systemd-run --wait --pipe --property=User=enroll-out --property=Group=enroll-milter '
                          '--property=LoadCredentialEncrypted=enroll-milter.master enrollctl doctor master-match signature', line.text)
        self.p.env['CREDENTIALS_DIRECTORY'] = folder
        self.addCleanup(self.p.env.pop, 'CREDENTIALS_DIRECTORY')
        lines = self.doctor('master-match', 'signature', user='enroll-out')
        self.assertEqual([(l.verdict, l.check) for l in lines], [('ok', 'master-match'), ('ok', 'signature')])
        self.assertIn('belong together', lines[0].text)
        self.assertIn('a sentence was signed for alice@corp.example', lines[1].text)

    def test_a_changed_file_that_nobody_has_read(self):
        self.p.configure(**{'cap-per-day': 77})
        lines = self.bad('running')
        self.assertEqual([l.verdict for l in lines], ['fault'] * 3, 'enrolld and both instances')
        for line in lines:
            self.assertIn('a reload is due', line.text)
            self.follow(line)
        self.mended('running')

    def test_a_file_that_cannot_be_read(self):
        with open(self.p.config_file, 'a') as file:
            file.write('submision = ();\n')
        try:
            lines = self.doctor()
            self.assertEqual([(l.verdict, l.check) for l in lines], [('fault', 'configuration')])
            self.assertRegex(lines[0].text, 'enroll-milter.conf.*submision')
        finally:
            self.p.write_config()
        self.mended('configuration')

    def test_a_file_of_the_configuration_can_be_written_by_all(self):
        os.chmod(ETC + '/anchors.pem', 0o666)
        self.follow(self.broken('configuration', 'fault', 'ca.anchor-file: .* may change it'))
        self.mended('configuration')

    def test_there_is_no_postfix(self):
        """Said once, not by each check that would have asked it."""
        self.p.env['MAIL_CONFIG'] = '/nonexistent'
        try:
            self.assertEqual([(l.verdict, l.check) for l in self.bad('postfix-order', 'postfix', 'default-action')], [('warning', 'postfix')])
            self.p.configure(milter={'socket-group': 'root'})
            lines = self.doctor('postfix-order', 'postfix', 'default-action')
            self.assertEqual([(l.verdict, l.check) for l in lines], [('ok', 'postfix')])
            self.assertIn("group root's", lines[0].text)
        finally:
            self.p.configure(milter={'socket-group': 'postfix'})
            self.p.env['MAIL_CONFIG'] = POSTFIX

    def test_a_user_is_in_no_group(self):
        run('gpasswd', '-d', 'enroll-in', 'enroll-milter')
        self.follow(self.broken('users', 'fault', 'user enroll-in is not in group enroll-milter'))
        self.mended('users')

    def test_a_user_is_in_too_many_groups(self):
        run('usermod', '-a', '-G', 'postfix', 'enroll-in')
        self.follow(self.broken('users', 'warning', 'enroll-in is in group postfix'))
        self.mended('users')

    def test_a_user_is_not_there(self):
        self.p.configure(control={'helpdesk-group': 'helpers'})
        try:
            self.follow(self.broken('users', 'fault', 'there is no group helpers'))
            self.mended('users')
        finally:
            self.p.configure(control={'helpdesk-group': None})
            self.p.restart('enrolld')

    def test_the_clock_is_wrong(self):
        """What the CA says is late; no command of the test's may set this host's clock."""
        self.stage.ca.admin('/behaviour', {'clock_offset': -3600})
        try:
            line = self.broken('clock', 'fault', r'36\d\d seconds ahead of that of example-ca')
            self.assertEqual(line.fixes, ['timedatectl set-ntp true'])
        finally:
            self.stage.ca.admin('/behaviour', {'clock_offset': 0})
        self.mended('clock')


class World(Case):
    """What others see of us, and what we get to see of them."""

    def test_records_are_missing(self):
        for check, name, words in (('spf', 'corp.example', 'no SPF record'), ('dmarc', '_dmarc.corp.example', 'no DMARC record')):
            kept = self.stage.dns.get(name, 'TXT')
            self.stage.dns.set(name, 'TXT', [])
            self.stage.dns.flush()
            self.p.restart('enrolld')
            try:
                self.follow(self.broken(check, 'warning', words))
                self.mended(check)
            finally:
                self.stage.dns.set(name, 'TXT', kept)

    def test_a_policy_of_the_domain_above(self):
        """It is inherited: a record of its own would weaken it."""
        self.p.configure(domains=['corp.example', 'news.corp.example'])
        self.p.restart('enrolld')
        try:
            lines = self.doctor('dmarc')
            self.assertEqual([l.verdict for l in lines], ['ok', 'ok'])
            self.assertIn("news.corp.example: by corp.example's: v=DMARC1", lines[1].text)
        finally:
            self.p.configure(domains=['corp.example'])
            self.p.restart('enrolld')

    def test_who_is_disabled_is_not_recognised(self):
        self.p.configure(directory={'disabled-filter': None})
        self.p.restart()
        try:
            self.broken('departures', 'warning', 'disabled-filter is not set, so mail of people who are disabled there')
        finally:
            self.p.configure(directory={'disabled-filter': '(employeeType=former)'})
            self.p.restart()
        self.mended('departures')

    def test_no_account_is_made_by_looking(self):
        run('openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', ETC + '/fresh.key')
        run('chown', 'enrolld', ETC + '/fresh.key')
        os.chmod(ETC + '/fresh.key', 0o600)
        self.p.stop('enrolld')
        self.p.configure(ca={'account-key': ETC + '/fresh.key'})
        try:
            line = self.broken('ca', 'warning', 'has no account for our key yet')
            self.assertIn('no account at the CA', self.p.ctl('account', 'show', user='root'))
            self.follow(line)
            self.mended('ca')
        finally:
            self.p.configure(ca={'account-key': ETC + '/account.key'})
            os.unlink(ETC + '/fresh.key')
            self.p.start('enrolld')
        self.mended('ca')

    def test_two_spf_records(self):
        self.stage.dns.set('corp.example', 'TXT', ['"v=spf1 mx -all"', '"v=spf1 a -all"'])
        self.stage.dns.flush()
        self.p.restart('enrolld')
        try:
            self.broken('spf', 'fault', '2 SPF records')
        finally:
            self.stage.dns.set('corp.example', 'TXT', ['"v=spf1 mx -all"'])
            self.stage.dns.flush()
            self.p.restart('enrolld')
        self.mended('spf')

    def test_the_key_of_replies_is_not_published(self):
        name = '%s._domainkey.corp.example' % self.stage.dkim.selector
        kept = self.stage.dns.get(name, 'TXT')
        for record, words in (([], 'not in DNS'), (['"v=DKIM1; k=rsa; p="'], 'revoked')):
            self.stage.dns.set(name, 'TXT', record)
            self.stage.dns.flush()
            self.p.restart('enrolld')
            try:
                self.broken('dkim', 'fault', words)
            finally:
                self.stage.dns.set(name, 'TXT', kept)
                self.stage.dns.flush()
                self.p.restart('enrolld')
        self.mended('dkim')

    def test_caa_forbids(self):
        kept = self.stage.dns.get('corp.example', 'CAA')
        self.stage.dns.set_caa([('issuemail', 'other.example')])
        self.stage.dns.flush()
        self.p.restart('enrolld')
        try:
            line = self.broken('caa', 'fault', 'other.example')
            self.follow(line)
            self.mended('caa')
        finally:
            self.stage.dns.set('corp.example', 'CAA', kept)
            self.stage.dns.flush()

    def test_terms_are_not_accepted(self):
        self.p.configure(ca={'accept-terms': False})
        self.p.restart()
        self.follow(self.broken('ca-details', 'fault', 'terms: https://acme.ca.example/terms are not accepted'))
        self.mended('ca-details')

    def test_a_profile_the_ca_does_not_have(self):
        self.p.configure(ca={'profile': 'gold'})
        self.p.restart('enrolld')
        try:
            self.broken('ca-details', 'fault', 'no profile "gold"')
        finally:
            self.p.configure(ca={'profile': None})
            self.p.restart()
        self.mended('ca-details', 'running')

    def test_no_reports_are_asked_for(self):
        self.p.configure(reply={'report-address': None})
        self.p.restart()
        self.follow(self.broken('reply-reports', 'warning', 'report-address is not set'))
        self.mended('reply-reports')

    def test_nobody_looks_at_who_left(self):
        self.p.configure(departures={'interval': 0})
        self.p.restart()
        try:
            self.follow(self.broken('departures', 'warning', 'nobody looks'))
            self.mended('departures')
        finally:
            self.p.configure(departures={'interval': None})
            self.p.restart()

    def test_disabled_people_are_not_seen(self):
        before = self.p.config['directory']['disabled-filter']
        self.p.configure(directory={'disabled-filter': None})
        self.p.restart('enrolld')
        try:
            self.broken('departures', 'warning', 'disabled-filter is not set, so mail of people who are disabled')
        finally:
            self.p.configure(directory={'disabled-filter': before})
            self.p.restart('enrolld')
        self.mended('departures')

    def test_the_directory_lacks_an_attribute(self):
        self.p.configure(directory={'certificate-attribute': 'noSuchAttribute'})
        self.p.restart('enrolld')
        try:
            self.broken('directory-rights', 'fault', 'schema: .*noSuchAttribute')
        finally:
            self.p.configure(directory={'certificate-attribute': None})
            self.p.restart()
        self.mended('directory-rights')

    def test_the_directorys_password_is_another(self):
        self.p.write_secret('ldap.password', 'wrong')
        self.p.restart('enrolld')
        try:
            self.broken('directory', 'fault', 'bind')
        finally:
            self.p.write_secret('ldap.password', self.stage.ldap.service_password)
            self.p.restart('enrolld')
        self.mended('directory')

    def test_the_ca_is_away(self):
        self.p.restart('enrolld')
        with self.stage.faults.refused(self.stage.ca):
            self.broken('ca', 'fault', 'could not be reached')
        self.mended('ca')
