EXTRA_DIST += .ci/run tests/run.sh tests/lib.sh tests/packages.txt tests/structure.py tests/tsan.supp tests/valgrind.supp tests/ca tests/e2e

# The two folders are taken whole; what Python left in them is not.
dist-hook:
	find '$(distdir)' -name __pycache__ -prune -exec rm -rf {} +
