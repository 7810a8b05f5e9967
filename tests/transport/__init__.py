"""The doors, with the other side of each call in the test's hands and a clock that costs no time."""
