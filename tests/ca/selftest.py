#!/usr/bin/python3
"""Test of the test CA: right exchanges succeed, every wrong one is refused and written down.

    /usr/bin/python3 tests/ca/selftest.py [-v] [Class.case]

Starts the CA as a process on loopback ports and drives it with an ACME client of its own.
"""

import unittest

from selftest_acme import Binding, Documentation, Load, Misbehaviour, Protocol
from selftest_issue import Certificates
from selftest_mail import Exchange, Replies

__all__ = ["Binding", "Certificates", "Documentation", "Exchange", "Load", "Misbehaviour", "Protocol",
           "Replies"]

if __name__ == "__main__":
    unittest.main()
