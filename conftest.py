"""What holds for all tests: those of ``tests`` and those of ``interop``."""

from tests import inherited

inherited.prepare()

pytest_plugins = ["tests.engine", "tests.freezes", "tests.nats_server", "tests.parallel"]
