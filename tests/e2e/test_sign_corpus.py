"""Some hundred mails as people and programs send them (corpus.py): none is lost, none says anything else, each signature is good."""

import collections

import corpus
from product import require
from survival import ENCODED, OPAQUE, SAME, UNTOUCHED, Mail, Survival

STAGE = {'ca': True}
TAKES, BUSY = 33, 25

# kind: how many are signed as they came, signed after re-encoding, left untouched
CLASSES = {
    'text': (44, 54, 0),
    'attachments': (16, 19, 0),
    'alternative': (7, 9, 0),
    'inline images': (9, 3, 0),
    'flowed': (2, 14, 0),
    'calendar': (1, 1, 12),
    'tnef': (4, 2, 0),
    'pgp': (3, 2, 3),
    'smime': (2, 1, 10),
    'list': (0, 0, 12),
    'report': (2, 2, 8),
    'automatic': (1, 0, 8),
    'forwarded': (9, 7, 6),
    'long lines': (4, 8, 0),
    'clients': (28, 14, 0),
    'empty': (5, 2, 0),
    'odd': (16, 17, 1),
}


def setUpModule():
    require()


class Corpus(Survival):
    key_type = 'ec:p256'

    def test_every_mail_arrives_unchanged_in_meaning_and_verifies(self):
        samples = list(corpus.corpus())
        mails = [Mail(s.name, s.raw, s.expected, s.reason, sender=s.sender) for s in samples]
        self.assertGreaterEqual(len(mails), 300)
        self.assertGreaterEqual(sum(m.expected == ENCODED for m in mails), 0.4 * len(mails), 'how many have to be encoded')
        self.send(mails)
        self.check_all(mails)
        counts = collections.defaultdict(collections.Counter)
        for sample, mail in zip(samples, mails):
            counts[sample.kind][mail.log['reason'] if mail.log['verdict'] == 'signed' else mail.log['verdict']] += 1
        self.assertEqual({k: (c[SAME], c[ENCODED], c[UNTOUCHED]) for k, c in counts.items()}, CLASSES)
        print('# %d mails: %s' % (len(mails), dict(collections.Counter(m.log['reason'] for m in mails))), flush=True)

    def test_every_third_opaque_with_protected_header(self):
        """Invitations, lists and automatic mail, too: here they are to be signed."""
        self.configure_signing(form='opaque', header_protection=True, **{k: 'detached' for k in ('calendar', 'list_mail', 'auto_submitted')})
        mails = [Mail(s.name, s.raw, s.expected, s.reason, sender=s.sender) for s in list(corpus.corpus())[::3]]
        for mail in mails:
            mail.becomes_opaque(OPAQUE)
            if mail.reason in ('calendar mail', 'list mail', 'auto-submitted'):
                mail.expected, mail.reason = OPAQUE, None
        self.send(mails)
        self.check_all(mails)
