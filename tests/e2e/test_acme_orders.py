"""Orders that must not be given up, and one that must: what a CA says of the question, what it
says of the order, and another CA in the configuration."""

from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase
import service

STAGE = {'ca': True, 'users': 10}
TAKES, BUSY = 25, 7
TIMEOUT = 6               # ca.timeout-seconds


def setUpModule():
    require()


class Orders(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, ca={'challenge-trigger': 'post-first', 'poll-seconds': 1, 'timeout-seconds': TIMEOUT},
                        certificate={'key-type': 'ec:p256'})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)

    def said(self, user, words):
        """Until the history of the user's enrollment has these words; they are in its text."""
        def there():
            return any(words in (e.get('text') or '') for e in self.many.show(user).get('events', []))
        service.until(there, 120, '%s is told: %s' % (user, words), say=lambda: self.many.story(user))

    def count(self, user, event):
        return len(self.many.ca_log(event, user))

    def test_a_refused_question_does_not_give_up_a_finalized_order(self):
        """Its certificate may be there already: another order would be a second certificate."""
        user = self.many.user()
        self.many.behave(authz_valid=True, issuance_held=True)
        self.many.enroll(user)
        self.many.wait_state([user], 'finalized')
        self.many.change(faults={'order': {'status': 403, 'type': 'unauthorized', 'detail': 'not today', 'count': 2,
                                           'address': address(user)}})
        self.said(user, 'not today')
        self.many.behave(authz_valid=True)
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.assertEqual((self.count(user, 'order_created'), self.count(user, 'issued')), (1, 1), self.many.story(user))

    def test_a_request_that_arrives_twice_gives_no_second_order(self):
        """The first was under way when it was given up, and the order was looked at before it arrived: the CA refuses the second with orderNotReady."""
        user = self.many.user()
        self.many.behave(authz_valid=True, faults={'finalize': [{'hang': TIMEOUT + 4, 'address': address(user)}, {'hang': TIMEOUT - 1, 'address': address(user)}]})
        self.many.enroll(user)
        self.many.wait_state([user], 'waiting')
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        answers = [r['status'] for r in self.many.ca_log('request', user, endpoint='finalize')]
        self.assertEqual((len(answers), 403 in answers), (2, True), self.many.story(user))
        self.assertEqual([self.count(user, e) for e in ('order_created', 'finalized', 'issued')], [1, 1, 1], self.many.story(user))
        self.assertEqual([e['event'] for e in self.many.show(user)['events'] if e['event'] in ('blocked', 'failed', 'order_abandoned')], [])

    def test_an_order_that_the_ca_made_invalid_is_over_at_once(self):
        user = self.many.user()
        self.many.behave(authz_valid=True, order_invalid={'type': 'badCSR', 'detail': 'no such key', 'count': 1})
        self.many.enroll(user)
        self.said(user, 'no such key')
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.assertEqual(self.count(user, 'order_created'), 2)

    def test_who_changes_a_row_in_the_middle_of_a_step_stops_it_no_longer_than_that(self):
        """The worker finds it changed and leaves it to the next one, lease and all."""
        user = self.many.user()
        self.many.behave(authz_valid=True, faults={'newOrder': {'hang_after': 3}})
        self.many.enroll(user)
        service.until(lambda: self.count(user, 'order_created') == 1, 60, 'the CA has the order', say=lambda: self.many.story(user))
        mark = self.p.log_mark()
        self.p.ctl('disable', address(user), '--yes')
        self.p.ctl('enable', address(user))
        self.p.wait_log(60, mark, event='enrollment_stale', address=address(user))
        self.many.wait_state([user], 'active')

    def test_z_an_order_of_another_ca_is_over(self):
        """Last, as the product has another CA's name from then on."""
        user = self.many.user()
        self.many.behave(challenge_trigger='never')
        self.many.enroll(user)
        self.many.wait_state([user], 'challenge-awaited')
        asked = len(self.many.ca_log('request', user, endpoint='order')) + len(self.many.ca_log('request', user, endpoint='authz'))
        self.many.behave(authz_valid=True)
        self.p.configure(ca={'name': 'second-ca'})
        self.p.restart('enrolld')
        self.said(user, 'the order was opened at "example-ca", and the configuration now names "second-ca"')
        first = self.many.ca_log('order_created', user)[0]['order']
        later = [r for r in self.many.ca_log('request', user) if r.get('order') == first]
        self.many.retry(user)
        shown = self.many.wait_state([user], 'active')[user]
        self.assertEqual(shown['enrollment']['ca'], 'second-ca')
        self.assertEqual(self.count(user, 'order_created'), 2)
        self.assertEqual([r for r in self.many.ca_log('request', user) if r.get('order') == first], later,
                         'the new CA is not asked for what it never had')
        self.assertGreater(asked, 0)
