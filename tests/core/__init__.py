"""The promises of the heart, held with a clock that is moved by hand."""
