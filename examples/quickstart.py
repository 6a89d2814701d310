#!/usr/bin/python3
"""The main job on real parts, told step by step; run by quickstart.sh, which installs and builds.

    quickstart.py [--keep]        the story
    quickstart.py --send USER     inside a kept stage: one more mail of this user
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests', 'e2e'))
sys.dont_write_bytecode = True

import namespace  # noqa: E402

ALICE = 'alice@corp.example'
FRIEND = 'friend@outside.example'
ARRIVED = namespace.BASE + '/outside'      # --keep: mail that reached the outside, one file each
COLOR = sys.stdout.isatty() and os.environ.get('TERM', 'dumb') != 'dumb'
BEGAN = time.monotonic()
PLAIN = ('ordered', 'validated', 'finalized', 'active')     # states whose headline says it all
POLICIES = {'2.23.140.1.5.1.3': 'S/MIME BR, mailbox-validated, strict'}


def paint(code, text):
    return '\033[%sm%s\033[0m' % (code, text) if COLOR else text


def step(text):
    """A new fact, with the time since the beginning."""
    print('%s %s' % (paint('36', '[%6.2f s]' % (time.monotonic() - BEGAN)), paint('1', text)), flush=True)


def detail(text):
    for line in str(text).splitlines():
        for piece in textwrap.wrap(line.strip(), 100) or ['']:
            print('            ' + piece, flush=True)


class Wrong(Exception):
    """The story does not go as it should."""


def expect(true, sentence):
    if not true:
        raise Wrong(sentence)


# ---- inside the namespace: the story --------------------------------------------------------------------------------------

def words_of(state, event, text):
    """(headline, detail) of an event of the enrollment, None for those that are no news here."""
    if event in ('intent', 'flag'):
        return None
    heads = {
        ('requested', None): 'alice has no certificate: one is requested, her mail does not wait for it',
        ('eligible', 'state'): 'the directory knows alice: she may have one',
        ('caa-checked', 'state'): 'CAA looked up in DNS: this CA may issue for corp.example mail',
        (None, 'key'): None,
        ('ordering', 'state'): 'her key is made, and stored wrapped for the master certificate',
        ('ordered', 'state'): 'order opened at the CA by ACME',
        ('challenge-awaited', 'state'): 'the CA mails a challenge to alice (RFC 8823)',
        (None, 'challenge_received'): 'challenge mail seen by the inbound filter, authentic, taken out of the mail',
        (None, 'reply_sent'): 'reply mail sent in her name, by the listener that only DKIM-signs',
        (None, 'challenge_posted'): 'the CA is told to look',
        ('validated', 'state'): 'the CA holds the address for proven',
        ('finalized', 'state'): 'certificate request sent',
        ('issued', 'state'): 'certificate issued',
        ('checked', 'state'): 'certificate checked: our key, her address, the profile asked for, the chain',
        (None, 'published'): 'certificate published in the directory',
        ('published', 'state'): None,
        ('active', 'state'): 'from now on her mail is signed',
    }
    for key in ((state, event), (None, event), (state, None)):
        if key in heads:
            return heads[key] and (heads[key], text)
    return '%s (%s)' % (state, event), text


def follow(product, seconds=180):
    """Tell each event as it comes, until alice's enrollment is active."""
    seen, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        shown = product.show(ALICE)
        for event in sorted((shown or {}).get('events', []), key=lambda e: e['id']):
            if event['id'] <= seen:
                continue
            seen = event['id']
            words = words_of(event.get('state'), event['event'], re.sub(r'\s+', ' ', event.get('text', '')))
            if words:
                step(words[0])
                if event.get('state') not in PLAIN:
                    detail(words[1])
        if shown and shown['enrollment']['state'] == 'active':
            return shown
        if shown and shown['enrollment']['state'] in ('blocked', 'failed'):
            raise Wrong('the enrollment is %(state)s: %(why)s' % shown['enrollment'])
        time.sleep(0.05)
    raise Wrong('no certificate after %d s' % seconds)


def mail(stage, user, subject, body):
    """Send as this user, wait for it outside; returns (what was sent, what arrived, seconds)."""
    import mailtools

    address = user + '@corp.example'
    subject = mailtools.unique(subject)
    raw = mailtools.message(address, FRIEND, subject, body)
    began = time.monotonic()
    stage.submit(user, address, [FRIEND], raw)
    arrived = stage.outside.wait_subject(subject).content
    return raw, arrived, time.monotonic() - began


def tell_reply(stage):
    replies = stage.ca.admin('/log?since=0&event=reply_received')
    expect(replies, 'the CA got no reply')
    reply = replies[-1]
    expect(reply['verdict'] == 'good', 'the CA did not like the reply: %r' % reply)
    step("the CA's own record: reply %s, %d violations of the protocol" % (
        reply['verdict'], sum(1 for k in stage.ca.admin('/counters') if k.startswith('violation'))))
    for dkim in reply['dkim']:
        detail('DKIM as the CA saw it: %s, d=%s, %d header fields covered' % (
            'passed' if dkim['passed'] else 'failed', dkim['domain'], len(set(dkim['fields']))))


def tell_certificate(der):
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    key = certificate.public_key()
    step('what she got')
    detail('addresses: ' + ', '.join(names.get_values_for_type(x509.RFC822Name)))
    for policy in policies:
        oid = policy.policy_identifier.dotted_string
        detail('policy:    %s (%s)' % (oid, POLICIES.get(oid, 'not one this page knows')))
    detail('key:       %s %d bits, %s' % ('RSA' if isinstance(key, rsa.RSAPublicKey) else 'EC', key.key_size,
                                          'only for signatures' if not usage.key_encipherment else 'also for encryption'))
    detail('valid:     %s to %s' % (certificate.not_valid_before.date(), certificate.not_valid_after.date()))
    detail('issuer:    ' + certificate.issuer.rfc4514_string())


def verify(stage, arrived):
    import mailtools

    verdicts = mailtools.verify_all(arrived, stage.ca.root)
    names = {'openssl': 'openssl cms -verify', 'gpgsm': 'gpgsm (GnuPG)', 'nss': "NSS (Thunderbird's library)"}
    expect('openssl' in verdicts, 'openssl is not installed')
    for name, verdict in verdicts.items():
        said = ' '.join(verdict.text.split())[-70:]
        detail('%-28s %s' % (names[name], 'good signature' if verdict else 'cannot verify it: ' + said))
    expect(verdicts['openssl'], 'OpenSSL does not verify the signature: ' + verdicts['openssl'].text)
    expect(any(verdicts[n] for n in verdicts if n != 'openssl'), 'neither GnuPG nor NSS verifies the signature')
    good, _tags = stage.dkim.verify(arrived)
    expect(good, 'the DKIM signature does not verify')
    detail('%-28s good signature: OpenDKIM came after us' % 'DKIM')


def warm_up(stage):
    """A stranger's mail to bob: every part of Postfix has run once, so that times below are those of daily life."""
    import mailtools

    stage.inject('friend@outside.example', ['bob@corp.example'], mailtools.message(FRIEND, 'bob@corp.example', 'hello'))
    stage.dovecot.wait_mailbox('bob')
    with mailtools.Session((namespace.GATEWAY, 587)):
        pass


def story(stage, product):
    import mailtools

    print()
    _raw, arrived, seconds = mail(stage, 'alice', 'first', 'Dear friend,\nthis is my first mail.\n')
    expect(not mailtools.is_signed(arrived), 'the first mail is signed already')
    expect(mailtools.differences(_raw, arrived) == [], 'the first mail was changed')
    step("alice's first mail arrived outside: unsigned, unchanged, %.2f s after she sent it" % seconds)
    shown = follow(product)
    tell_reply(stage)
    expect(stage.mailbox('alice') == [], 'the challenge mail reached alice')
    step("alice's mailbox is empty: she saw nothing of all that")
    entries = stage.ldap.certificates('alice')
    expect(len(entries) == 1, 'the directory holds %d certificates of alice' % len(entries))
    tell_certificate(entries[0])
    detail('directory: userCertificate;binary at ' + shown['certificates'][0]['directory_dn'])
    print()
    _raw, arrived, seconds = mail(stage, 'alice', 'second', 'Dear friend,\nthis one is signed.\n')
    expect(mailtools.is_signed(arrived), 'the second mail is not signed')
    expect(mailtools.differences(_raw, arrived) == [], 'the second mail says something else than the first')
    step("alice's second mail arrived outside: signed, %.2f s after she sent it" % seconds)
    verify(stage, arrived)
    print()
    step('enrollctl show ' + ALICE)
    print(textwrap.indent(product.ctl('show', ALICE).rstrip(), '            '), flush=True)
    print()


def inside(keep, told):
    """All of it; the exit code."""
    from product import Product
    from service import tail
    from stage import Stage

    stage = Stage(ca=True)
    product = None
    doing = 'start the surroundings'
    try:
        step('Starting a gateway and its surroundings in a private namespace ...')
        stage.start()
        detail('Postfix, OpenDKIM, slapd, DNS with DNSSEC, Dovecot, a CA and an outside mail server, in %.1f s' % stage.startup)
        doing = 'start enroll-milter and enrolld'
        product = Product(stage, log={'level': 'info'})
        product.prepare()
        step('enrollctl init')
        detail(product.init())
        product.start()
        step('enroll-milter@outbound, enroll-milter@inbound and enrolld run, each as its own user')
        warm_up(stage)
        step("a stranger's mail to bob was delivered")
        doing = 'get alice a certificate and sign her mail'
        story(stage, product)
    except Exception as trouble:
        print('\n%s could not %s: %s' % (paint('31;1', 'FAILED:'), doing, trouble), flush=True)
        for name in ('enrolld', 'milter-outbound', 'milter-inbound', 'mail', 'ca'):
            log = '%s/log/%s.log' % (namespace.BASE, name)
            if os.path.exists(log):
                print('--- the end of %s.log\n%s' % (name, tail(log, 12)), flush=True)
        return 1
    step('done')
    with open(told, 'w') as file:
        file.write('\n'.join((product.config_file, product.build)))
    if keep:
        stay(stage)
    return 0


def stay(stage):
    """Keep what arrives outside as files, until the namespace is ended."""
    os.makedirs(ARRIVED)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    kept = 0
    while True:
        for message in stage.outside.messages[kept:]:
            kept += 1
            with open('%s/%03d.new' % (ARRIVED, kept), 'wb') as file:
                file.write(message.content)
            os.rename('%s/%03d.new' % (ARRIVED, kept), '%s/%03d.eml' % (ARRIVED, kept))
        time.sleep(0.1)


# ---- inside a kept stage: one more mail --------------------------------------------------------------------------------------

def send(user):
    import mailtools
    import stage_ca
    import stage_ldap

    if not os.path.isdir(ARRIVED):
        sys.exit('quickstart.py --send works inside a stage that quickstart.sh --keep left running')
    before = set(os.listdir(ARRIVED))
    address, subject = user + '@corp.example', mailtools.unique('one more')
    try:
        mailtools.send((namespace.GATEWAY, 587), address, [FRIEND], mailtools.message(address, FRIEND, subject), user=user,
                       password=stage_ldap.password_of(user))
    except mailtools.Refused as refusal:
        sys.exit('Postfix said: %s' % refusal)
    for _wait in range(600):
        for name in sorted(set(os.listdir(ARRIVED)) - before):
            if not name.endswith('.eml'):
                continue
            with open(os.path.join(ARRIVED, name), 'rb') as file:
                raw = file.read()
            if subject.encode() in raw:
                signed = mailtools.is_signed(raw)
                good = signed and mailtools.verify_openssl(raw, stage_ca.Ca.root)
                print('%s/%s arrived, %s' % (ARRIVED, name, 'signed, and openssl cms -verify says it is good' if good else
                                             'signed, but it does not verify' if signed else 'unsigned'))
                return 0
        time.sleep(0.1)
    sys.exit('it has not arrived within a minute; see %s/log/mail.log' % namespace.BASE)


# ---- outside: start the namespace, wait, clean up ----------------------------------------------------------------------------

def first_process(child):
    """Process 1 of the namespace, by its number out here."""
    with open('/proc/%d/task/%d/children' % (child.pid, child.pid)) as file:
        return int(file.read().split()[0])


def say_how(child, told):
    pid = first_process(child)
    with open(told) as file:
        config, build = file.read().split('\n')
    enter = 'nsenter -a -t %d' % pid
    print(textwrap.dedent('''
        It goes on running.  Configuration, keys, store, logs: %(base)s, seen from inside only.

          look around       %(enter)s bash
          ask enrolld       %(enter)s %(build)s/enrollctl -c %(config)s status
          one more mail     %(enter)s /usr/bin/python3 -B %(me)s --send bob
                            (logins: alice bob carol dave; the first mail enrolls, the next is signed)
          its log           %(enter)s tail -f %(base)s/log/enrolld.log %(base)s/log/milter-outbound.log
          end it            kill %(stop)d
        ''') % {'enter': enter, 'build': build, 'config': config, 'me': os.path.abspath(__file__), 'base': namespace.BASE, 'stop': child.pid})


def main():
    keep = sys.argv[1:] == ['--keep']
    if sys.argv[1:] and not keep:
        sys.exit(__doc__)
    reason = namespace.why_not()
    if reason:
        sys.exit('quickstart: this cannot run here: ' + reason)
    folder = tempfile.mkdtemp(prefix='enroll-quickstart-')
    told = folder + '/told'
    argv = [sys.executable, '-B', os.path.abspath(__file__), '--inside', told] + ['--keep'] * keep
    child = namespace.in_namespace(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    left_running = False
    try:
        while child.poll() is None and not (keep and os.path.exists(told)):
            time.sleep(0.1)
        left_running = child.poll() is None
        if left_running:
            say_how(child, told)
        else:
            print('Nothing is left running; your machine is as it was, but for installed packages and %s.'
                  % os.environ.get('ENROLL_BUILD', 'build/'))
        return 0 if left_running or child.returncode == 0 else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not left_running and child.poll() is None:
            child.kill()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--inside']:
        sys.exit(inside('--keep' in sys.argv, sys.argv[2]))
    if sys.argv[1:2] == ['--send'] and len(sys.argv) == 3:
        sys.exit(send(sys.argv[2]))
    sys.exit(main())
