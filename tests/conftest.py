"""What holds for all tests."""

from hypothesis import settings

from tests import inherited

inherited.prepare()

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
