"""Orders that must not be given up, and one that must: what a CA says of the question, what it
says of the order, and another CA in the configuration."""

from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase
import service

STAGE = {'ca': True, 'users': 10}
TAKES, BUSY = 9, 5


def setUpModule():
    require()


class Orders(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, ca={'challenge-trigger': 'post-first', 'poll-seconds': 1},
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

    def test_an_order_that_the_ca_made_invalid_is_over_at_once(self):
        user = self.many.user()
        self.many.behave(authz_valid=True, order_invalid={'type': 'badCSR', 'detail': 'no such key', 'count': 1})
        self.many.enroll(user)
        self.said(user, 'no such key')
        self.many.retry(user)
        self.many.wait_state([user], 'active')
        self.assertEqual(self.count(user, 'order_created'), 2)

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
