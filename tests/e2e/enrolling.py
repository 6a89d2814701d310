"""Many enrollments on one product, and what the CA saw of each.

    many = Enrolling(stage, product)
    user = many.user()                      # one of the stage's people (STAGE = {'users': N})
    many.behave(challenge_trigger='newOrder')
    many.enroll(user)
    many.wait_state([user], 'active')
"""

import json
import os

import mailtools
import service


def address(user):
    return user + '@corp.example'


class Enrolling:
    def __init__(self, stage, product):
        self.stage, self.product = stage, product
        self._users = iter(['user%05d' % n for n in range(stage.users)])

    def user(self):
        """The next of the stage's people that nobody has used."""
        return next(self._users)

    # -- the CA ----------------------------------------------------------

    def behave(self, **switches):
        """Exactly these switches of the CA, everything else back to its default."""
        return self.stage.ca.admin('/reset-behaviour', switches)

    def change(self, **switches):
        """These switches, the others as they are."""
        return self.stage.ca.admin('/behaviour', switches)

    def ca_log(self, event=None, user=None, **fields):
        """Records of the CA's log, of one event and one user's address if named."""
        found = self.stage.ca.admin('/log?since=0')
        if user is not None:
            wanted = address(user)
            ours = {r[k] for r in found if r.get('address') == wanted or wanted in r.get('addresses', ())
                    for k in ('authz', 'order') if k in r}
            found = [r for r in found if ours & {r.get('authz'), r.get('order')} or
                     r.get('address') == wanted or wanted in r.get('addresses', ())]
        fields['event'] = event or None
        return [r for r in found if all(v is None or r.get(k) == v for k, v in fields.items())]

    def authorizations(self, user):
        """All the CA has for the address, oldest first."""
        found = self.stage.ca.admin('/state')['authorizations']
        return [a for a in found if a['identifier']['value'] == address(user)]

    def violations(self):
        """What the client did wrong, by the CA's word, and bugs of the CA itself."""
        return [r for e in ('violation', 'internal_error') for r in self.ca_log(e)]

    def genuine(self, user, hold=False):
        """One more challenge mail from the CA for the newest order; with hold it is made, but stays there.
        Returns its bytes, Message-ID and first token."""
        if hold:
            self.change(challenge_mail_delay=10 ** 6)
        try:
            newest = self.authorizations(user)[-1]['id']
            sent = self.stage.ca.admin('/send-challenge', {'authz': newest})[0]
        finally:
            if hold:
                self.change(challenge_mail_delay=0)
        return dict(sent, raw=self.made(sent['message_id']))

    def made(self, message_id):
        """The bytes of a mail the CA made, whether it left or not."""
        folder = self.stage.ca.state + '/mail'

        def look():
            for name in sorted(os.listdir(folder), reverse=True):
                if name.startswith('out-'):
                    with open(os.path.join(folder, name), 'rb') as file:
                        raw = file.read()
                    if message_id.encode() in mailtools.split(raw)[0]:
                        return raw
            return None
        return service.until(look, 60, 'the CA has made ' + message_id)

    # -- the product -----------------------------------------------------

    def enroll(self, user):
        self.product.ctl('enroll', address(user))

    def enroll_all(self, users):
        """Thousands, quickly."""
        for user in users:
            self.product.ask('enroll', address=address(user))

    def retry(self, user):
        self.product.ctl('retry', address(user))

    def show(self, user):
        return self.product.show(address(user)) or {}

    def state(self, user):
        return self.show(user).get('enrollment', {}).get('state')

    def states(self):
        """{user: state} of all enrollments, by one question for a thousand of them."""
        rows, more = [], []
        while True:
            page = self.product.json('list', '--limit', '1000', *more)
            rows += page['enrollments']
            if 'more_after' not in page:
                return {r['address'].split('@')[0]: r['state'] for r in rows}
            more = ['--after', page['more_after']]

    def wait_state(self, users, *wanted, seconds=300):
        """Until every one of the users is in one of the states; {user: what show says}."""
        left = set(users)

        def there():
            states = self.states()
            left.difference_update([u for u in left if states.get(u) in wanted])
            return not left
        service.until(there, seconds, 'enrollments are ' + '/'.join(wanted), every=0.2,
                      say=lambda: '\n'.join(self.story(u) for u in sorted(left)[:5]))
        return {u: self.shown(u) for u in users}

    def shown(self, user):
        """The same as show, of one that there is, and quickly."""
        return self.product.ask('show', address=address(user))

    def story(self, user):
        """What happened to a user's enrollment, for a test that failed."""
        shown = self.show(user)
        lines = ['%s: %s' % (user, json.dumps(shown.get('enrollment')))]
        lines += ['  %s %s: %s' % (e['at'], e['event'], e.get('text'))
                  for e in shown.get('events', [])]
        return '\n'.join(lines)

    def events(self, user):
        """Names of the events of a user's enrollment, oldest first."""
        return [e['event'] for e in sorted(self.show(user)['events'], key=lambda e: e['id'])]


__all__ = ['Enrolling', 'address']
