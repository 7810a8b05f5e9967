"""Any value that can flow, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from bcast_grpc.errors import ErrorCode
from bcast_grpc.events import (
    Ack,
    Author,
    Closing,
    Detail,
    Entry,
    Error,
    Event,
    Gap,
    GapReason,
    Kind,
    Member,
    Members,
    Request,
    Welcome,
)

TEXTS = st.text(max_size=20)
SEQS = st.integers(0, 2**64 - 1)
COUNTS = st.integers(0, 2**32 - 1)
TIMES_NS = st.integers(0, 4_000_000_000 * 10**9)
SECONDS = st.integers(0, 10**12).map(lambda microseconds: microseconds / 10**6)
SESSIONS = st.text("abcdefXYZ0123456789-_", min_size=12, max_size=12)

AUTHORS = st.builds(lambda session, name: Author(session, name, session), TEXTS, TEXTS)
"""As a client sees them: it is told no key, so the session id stands for it."""

ACKS = st.builds(Ack, SEQS, TEXTS, st.booleans(), COUNTS, COUNTS)

DETAILS: st.SearchStrategy[Detail] = st.one_of(
    st.builds(Welcome, TEXTS, TEXTS, TEXTS, st.booleans(), COUNTS),
    ACKS,
    st.builds(Error, st.sampled_from(ErrorCode), TEXTS, st.booleans(), SECONDS),
    st.builds(Gap, SEQS, SEQS, st.sampled_from(GapReason)),
    st.builds(Members, st.lists(st.builds(Member, TEXTS, TEXTS, TIMES_NS), max_size=3).map(tuple), st.booleans()),
    st.builds(Closing, TEXTS, SECONDS),
)

EVENTS = st.builds(
    Event,
    st.sampled_from([kind for kind in Kind if kind >= 0]),
    TEXTS,
    AUTHORS,
    SEQS,
    TIMES_NS,
    st.binary(max_size=20),
    TEXTS,
    st.none() | DETAILS,
)

REQUESTS = st.builds(
    Request,
    st.sampled_from(["", "broadcast", "join", "who"]) | TEXTS,
    TEXTS,
    st.binary(max_size=20),
    TEXTS,
    st.just(""),
)

ENTRIES = st.builds(
    Entry,
    st.builds(lambda session, name: Author(session, name, session), SESSIONS, st.text(max_size=64)),
    st.text(max_size=300),
    st.binary(max_size=300),
)
"""As a server makes them."""
