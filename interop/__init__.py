"""The clients of all languages against each other: ``make interop``."""
