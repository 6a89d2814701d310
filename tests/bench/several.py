"""Several enrolld on one database, on this host: each with another host name (by that they know whose leases are whose), control socket and configuration.

    crowd = several.Crowd(product)
    crowd.start(4)
    ...
    crowd.stop()
"""

import os

import service
from product import DIR, document, merge

WHO = 'hostname "$1" && shift && exec "$@"'


class Crowd:
    def __init__(self, product):
        self.product, self.daemons = product, []

    def start(self, number):
        for n in range(number):
            self.daemons.append(self._one(n))
        for n, daemon in enumerate(self.daemons):
            daemon.start()
        for n, daemon in enumerate(self.daemons):
            service.until(lambda: daemon.check() and os.path.exists(self._socket(n)), 120, 'enrolld %d listens' % n, say=daemon.tail)

    @staticmethod
    def _socket(n):
        return '%s/run/control%s.sock' % (DIR, '-%d' % n if n else '')

    def _config(self, n):
        """The first is the product's own: enrollctl speaks to it."""
        if n == 0:
            return self.product.config_file
        control = {'socket': self._socket(n)}
        if 'instance-file' in self.product.config['control']:
            control['instance-file'] = '%s-%d' % (self.product.config['control']['instance-file'], n)
        path = '%s.%d' % (self.product.config_file, n)
        with open(path, 'w') as file:
            file.write(document(merge(self.product.config, {'control': control})))
        os.chmod(path, 0o644)
        return path

    def _one(self, n):
        argv = service.as_user('enrolld', [self.product.program('enrolld'), '--config', self._config(n)])
        return service.Service('enrolld-%d' % n, ['unshare', '--uts', '--', 'sh', '-c', WHO, 'sh', 'gw%d.corp.example' % n, *argv], cwd=DIR)

    def stop(self):
        codes = [daemon.stop() for daemon in self.daemons]
        self.daemons = []
        return codes
