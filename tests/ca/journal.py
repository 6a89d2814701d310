"""The CA's own log: one JSON object a line, each line on disk before anything goes on.

Tests read it instead of the product's log, so that both sides of an exchange can be
compared. Every record has `n` (counting from 1), `time` (seconds since 1970) and `event`.
"""

import collections
import json
import threading
import time


class Journal:
    """Append-only log with counters. All methods may be called from any thread."""

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8")
        self._changed = threading.Condition()
        self._records = []
        self.counters = collections.Counter()

    def event(self, name, **fields):
        with self._changed:
            record = {"n": len(self._records) + 1, "time": round(time.time(), 3), "event": name}
            record.update((key, value) for key, value in fields.items() if value is not None)
            self._records.append(record)
            self.counters[name] += 1
            if "kind" in fields:
                self.counters[f"{name}:{fields['kind']}"] += 1
            if not self._file.closed:
                self._file.write(json.dumps(record, default=str) + "\n")
                self._file.flush()
            self._changed.notify_all()
        return record

    def violation(self, kind, **fields):
        """Something a client that keeps to the RFCs never does."""
        return self.event("violation", kind=kind, **fields)

    def since(self, number, wanted=None, wait=0.0):
        """Records after `number`, waiting up to `wait` seconds for the first (of event `wanted`)."""
        deadline = time.monotonic() + wait
        with self._changed:
            while True:
                found = [r for r in self._records[number:] if wanted in (None, r["event"])]
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                self._changed.wait(left)

    def last_number(self):
        with self._changed:
            return len(self._records)

    def counts(self):
        with self._changed:
            return dict(self.counters)

    def close(self):
        with self._changed:
            self._file.close()
