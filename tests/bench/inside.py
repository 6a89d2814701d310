"""A bench in a namespace of its own, with a folder on a disk; import it before anything of tests/e2e."""

import os
import shutil
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'e2e')]
sys.dont_write_bytecode = True


def run(program, arguments=None):
    """Once more inside: with --inside FOLDER before its arguments; the exit code."""
    import gateway
    import namespace
    reason = namespace.why_not()
    if reason:
        sys.exit('the benches cannot run here: ' + reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix='enroll-bench-', dir=gateway.disk_folder())
    try:
        os.chmod(folder, 0o755)
        child = namespace.in_namespace([sys.executable, '-B', os.path.abspath(program), '--inside', folder, *(sys.argv[1:] if arguments is None else arguments)])
        try:
            return child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
