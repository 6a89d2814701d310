"""How many orders a CA gets: caps of the configuration, and limits that the CA names."""

import service
from enrolling import Enrolling, address
from product import Product, require
from stage import Stage, StageCase

STAGE = {'ca': True, 'users': 40}
TAKES, BUSY = 110, 7

JUST_NOW = 'another one took the last place just now'      # two counted at one moment; it looks again in two seconds


def setUpModule():
    require()


def limited(retry_after, identifiers=()):
    """A fault of tests/ca: the next newOrder is refused, for these identifiers or for the account."""
    fault = {'status': 429, 'type': 'rateLimited', 'detail': 'too many certificates this week',
             'retry_after': retry_after}
    if identifiers:
        fault['subproblems'] = [{'type': 'urn:ietf:params:acme:error:rateLimited', 'detail': 'this one',
                                 'identifier': {'type': 'email', 'value': i}} for i in identifiers]
    return {'newOrder': fault}


class Limits(StageCase):
    @classmethod
    def setUpClass(cls):
        require()
        cls.p = Product(Stage.current, ca={'orders-in-flight': 500}, certificate={'key-type': 'ec:p256'})
        cls.p.start()
        cls.many = Enrolling(Stage.current, cls.p)

    def setUp(self):
        self.many.behave(authz_valid=True)

    def configure(self, **ca):
        self.p.configure(ca=ca)
        self.p.restart('enrolld')

    def orders(self, *users):
        """newOrder requests of these users, by the CA's log, answered well or not."""
        return sum(len([r for r in self.many.ca_log('request', u) if r['endpoint'] == 'newOrder']) for u in users)

    def wait_all(self, users, state='active'):
        return self.many.wait_state(users, state)

    def test_orders_in_flight_are_bounded(self):
        self.configure(**{'orders-in-flight': 3})
        try:
            self.many.behave(authz_valid=True, finalize_processing=8, poll_retry_after=1)
            users = [self.many.user() for _n in range(8)]
            for user in users:
                self.many.enroll(user)
            shown = self.wait_all_of(users, {'finalized': 3, 'waiting': 5})
            for row in shown.values():
                if row['state'] == 'waiting':
                    self.assertRegex(row['why'], 'ca.orders-in-flight = 3 are open already|' + JUST_NOW)
            self.assertEqual(sum(self.orders(u) for u in users), 3)
        finally:
            self.configure(**{'orders-in-flight': 500})
        self.many.behave(authz_valid=True)
        # What waits goes on by itself; nobody has to say anything.
        self.wait_all(users)
        self.assertEqual(sum(self.orders(u) for u in users), 8, 'one order each')

    def wait_all_of(self, users, counts):
        def there():
            states = self.many.states()
            found = [states.get(u) for u in users]
            return all(found.count(s) == n for s, n in counts.items())
        service.until(there, 120, 'states are %r' % counts, say=lambda: '\n'.join(self.many.story(u) for u in users))
        return {u: self.many.show(u)['enrollment'] for u in users}

    def test_orders_per_hour_are_bounded(self):
        before = self.p.json('status')['orders_in_24h']
        self.configure(**{'orders-per-hour': before + 2})
        try:
            users = [self.many.user() for _n in range(5)]
            for user in users:
                self.many.enroll(user)
            shown = self.wait_all_of(users, {'active': 2, 'waiting': 3})
            waiting = [u for u, row in shown.items() if row['state'] == 'waiting']
            for user in waiting:
                self.assertRegex(shown[user]['why'], 'ca.orders-per-hour = %d is reached|%s' % (before + 2, JUST_NOW))
                self.assertEqual(self.orders(user), 0)
                told = self.many.events(user).count('waiting')
                self.many.retry(user)
                self.many.retry(user)
                self.assertLessEqual(self.many.events(user).count('waiting'), told, 'said once, not at every look')
        finally:
            self.configure(**{'orders-per-hour': 0})
        for user in waiting:
            self.many.retry(user)
        self.wait_all(users)

    def test_a_limit_of_the_account_holds_everybody(self):
        first, others = self.many.user(), [self.many.user() for _n in range(5)]
        self.many.change(faults=limited(20))
        self.many.enroll(first)
        row = self.wait_all([first], 'waiting')[first]['enrollment']
        self.assertIn('too many certificates this week (rateLimited)', row['why'])
        for user in others:
            self.many.enroll(user)
        shown = self.wait_all(others, 'waiting')
        for user in others:
            self.assertRegex(shown[user]['enrollment']['why'],
                             'the CA takes no orders until .*, as it said at .*too many certificates this week')
        self.assertEqual(sum(self.orders(u) for u in others), 0, 'nobody else asked the CA in vain')
        # The time is over: all go on by themselves, the one that was refused first among them.
        self.wait_all([first] + others)

    def test_a_limit_of_one_address_holds_nobody_else(self):
        first, other = self.many.user(), self.many.user()
        self.many.change(faults=limited(3600, [address(first)]))
        self.many.enroll(first)
        row = self.wait_all([first], 'waiting')[first]['enrollment']
        self.assertIn('this one', row['why'])
        self.many.enroll(other)
        self.wait_all([other])
        asked = len(self.many.ca_log('request', endpoint='newOrder'))
        self.many.retry(first)

        def held():
            return 'the CA takes no orders for ' + address(first) in self.many.show(first)['enrollment'].get('why', '')
        service.until(held, 60, 'the first one is told of the limit', say=lambda: self.many.story(first))
        self.assertEqual(len(self.many.ca_log('request', endpoint='newOrder')), asked,
                         'not asked again before the time the CA named')

    def test_a_limit_of_a_domain_holds_its_addresses(self):
        first, other = self.many.user(), self.many.user()
        self.many.change(faults=limited(15, ['corp.example']))
        self.many.enroll(first)
        self.wait_all([first], 'waiting')
        self.many.enroll(other)
        shown = self.wait_all([other], 'waiting')[other]['enrollment']
        self.assertIn('the CA takes no orders for corp.example until', shown['why'])
        self.assertEqual(self.orders(other), 0)
        self.wait_all([first, other])

    def test_a_ca_that_is_down_for_long_blocks_nobody(self):
        """Each answer to newOrder is lost, more often than ca.max-orders: nobody refused anything, so no admin has to come."""
        user = self.many.user()
        self.many.change(faults={'newOrder': {'status': 500, 'type': 'serverInternal', 'count': -1, 'address': address(user)}})
        self.many.enroll(user)
        for n in range(1, 8):
            if n > 1:
                self.many.retry(user)
            service.until(lambda: self.many.show(user).get('enrollment', {}).get('abandoned_orders') == n, 60,
                          'order %d is lost' % n, say=lambda: self.many.story(user))
        self.assertEqual(self.many.state(user), 'waiting')
        self.many.change(faults={'newOrder': None})
        self.many.retry(user)
        self.wait_all([user])
