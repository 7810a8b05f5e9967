"""The figures of the benchmarks: what is asked of the load, and which round counts."""

from benchmarks.cluster import CLUSTERS
from benchmarks.figures import GROUPS, MORE, THROUGHPUT, prepare
from benchmarks.goals import OUR_KINDS
from benchmarks.growth import AXES, CURVES, bounds
from benchmarks.load import Result, limited_by_load
from benchmarks.peers import FIREHOSE
from benchmarks.rounds import median


def test_the_median_round_counts_with_the_faults_of_all() -> None:
    """One bad round moves no figure, and none of its faults is lost."""
    results: list[Result] = [
        {"p99_ms": 90.0, "faults": 2, "first_fault": "twice"},
        {"p99_ms": 3.0},
        {"p99_ms": 4.0},
        {"error": "gone"},
    ]
    chosen = median(results, "p99_ms")
    assert chosen["p99_ms"] == 4.0
    assert chosen["faults"] == 3
    assert chosen["first_fault"] == "twice"
    assert chosen["rounds"] == [3.0, 4.0, 90.0]


def test_what_cannot_be_measured_is_a_result() -> None:
    """A peer that fails in every round is shown with its error."""
    assert median([{"error": "no"}, {"error": "neither"}], "p99_ms") == {"error": "no"}


def test_a_busy_load_is_the_limit_only_where_the_server_is_not() -> None:
    """A figure is the load's where the load has no time left, and the server has."""
    assert limited_by_load({"load_cpu_share": 0.99, "server_cpu_share": 0.5})
    assert not limited_by_load({"load_cpu_share": 0.99, "server_cpu_share": 0.97})
    assert not limited_by_load({"load_cpu_share": 0.5, "server_cpu_share": 0.5})


def test_no_load_of_a_curve_overflows_a_queue() -> None:
    """What is in flight fits into a client's queue: 20000 messages and 4 MiB."""
    for axis in AXES:
        for point in axis.points.values():
            load = {"clients": 100, "senders": 10, "size": 64, "rooms": 1, **point}
            bound = bounds(load)
            senders = -(-load["senders"] // load["rooms"])
            in_flight = senders * max(bound["window"] // load["senders"], bound["batch"])
            assert in_flight <= 20000
            assert in_flight * (load["size"] + 100) <= 4 << 20


def test_every_figure_has_a_title_of_its_own_and_begins_with_ours() -> None:
    """Results are found by group, figure and peer."""
    for group in (*GROUPS, *CLUSTERS, *MORE, *CURVES):
        titles = [figure.title for figure in group.figures]
        assert len(set(titles)) == len(titles)
        assert all(figure.peers[0].kind in (*OUR_KINDS, FIREHOSE.kind) for figure in group.figures)
        assert all(figure.of in ("", *titles) for figure in group.figures)


def test_every_goal_is_of_a_column_and_of_a_peer_in_the_same_run() -> None:
    """Otherwise it would never be judged, or not be shown."""
    for group in (*GROUPS, *CLUSTERS, *MORE):
        keys = {column.key for column in group.columns}
        for figure in group.figures:
            assert all(goal.key in keys for goal in figure.goals)
            assert all(goal.peer in (None, *figure.peers) for goal in figure.goals)
            assert not figure.goals or any(peer.kind in OUR_KINDS for peer in figure.peers)


def test_each_engine_is_measured_in_turn() -> None:
    """Our gRPC server is there once for each engine, next to each other; the peers stay, and rounds alternate."""
    group = prepare(THROUGHPUT, ["native", "grpcio"], 3)
    assert group.rounds == 3
    for figure, plain in zip(group.figures, THROUGHPUT.figures, strict=True):
        assert [peer.name for peer in figure.peers[:2]] == ["bcast_grpc native", "bcast_grpc grpcio"]
        assert figure.peers[2:] == plain.peers[1:]
        assert list(figure.peers[0].command[-2:]) == ["--grpc-engine", "native"]


def test_without_engines_the_server_runs_as_it_is_by_default() -> None:
    """No option is passed that a server may not know."""
    assert prepare(THROUGHPUT, [], 1) == THROUGHPUT
