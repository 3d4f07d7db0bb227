"""Every hostile submission in `submissions/`, against the real container and the real judge.

After each: its score is what its file says, the host is as before, nothing of it still runs, and
the next submission in the same container, an honest one, scores full.
"""

import socket
from collections import Counter

import psutil
import pytest
from tests.marking.attacks.submission import attacks, honest_cells, read, says

from marking.grading.judge import judge
from marking.grading.outputs import for_student
from marking.grading.sandbox import Container
from marking.registry import exercises, find

pytestmark = pytest.mark.bubblewrap


class Host:
    """What there is to steal and to spoil: a gradebook, the solutions, a secret, a server."""

    def __init__(self, folder):
        self.folder = folder
        self.book = folder / "gradebook.db"
        self.book.write_bytes(b"SQLite format 3\0 the scores")
        (folder / "solution.py").write_text("def answer(x, dim): return x.softmax(dim)\n")
        (folder / "secret").write_bytes(b"a secret of the course")
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0)

    def files(self) -> dict:
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in self.folder.iterdir()}

    def was_called(self) -> bool:
        try:
            self.server.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("host"))
    yield host
    host.server.close()


@pytest.fixture(scope="module")
def container():
    before = running()  # another module's containers may still stand
    container = Container()
    yield container
    container.stop()
    assert running() <= before


def running() -> set[int]:
    """What runs below this process, whoever started it: a child's child keeps its place there."""
    below = psutil.Process().children(recursive=True)
    return {p.pid for p in below if p.status() != psutil.STATUS_ZOMBIE}


def idle(container: Container) -> bool:
    """Only bubblewrap, the forkserver in it and its servers are there, which have no children."""
    if container._process is None:
        return True
    (forkserver,) = psutil.Process(container._process.pid).children()
    servers = forkserver.children()
    sets = {exercise.forbidden for exercise in exercises().values()}
    return len(servers) <= len(sets) and not any(server.children() for server in servers)


@pytest.mark.parametrize("path", attacks(), ids=lambda path: path.stem)
def test_a_hostile_submission_scores_what_it_deserves_and_leaves_no_trace(path, host, container):
    attack = read(path, planted=str(host.book), port=host.server.getsockname()[1])
    exercise = find(attack.facts["Exercise"])
    before = host.files()
    limits = {"case_seconds": 1.0} if attack.facts.get("Status") == "timed out" else {}
    if "Seconds" in attack.facts:
        limits["total_seconds"] = float(attack.facts["Seconds"])

    result = judge(container, exercise, attack.cells, f"seed of {attack.name}", **limits)

    check_result(attack, result)
    assert host.files() == before
    assert not host.was_called()
    assert idle(container), running()
    next_one = judge(container, exercise, honest_cells(exercise.chapter), "the next one")
    assert (next_one.status, next_one.share) == ("right", 1.0), next_one


def check_result(attack, result):
    facts = attack.facts
    if facts["Score"] == "not full":
        assert 0.0 <= result.share < 1.0, result
    else:
        assert result.share == float(facts["Score"]), result
    assert result.status == facts.get("Status", result.status), result
    assert "MANAGED" not in result.note + result.says
    assert facts.get("Says", "") in result.says
    if "Not in says" in facts:
        assert says(facts["Not in says"]) not in result.says
    if "Not in feedback" in facts:
        assert facts["Not in feedback"] not in for_student(facts["Exercise"], result.says)
    smells = " ".join(result.smells)
    if facts.get("Smells") == "nothing":
        assert not smells
    else:
        assert all(smell in smells for smell in facts.get("Smells", "").split(", "))


def test_there_are_at_least_sixty_attacks_and_each_says_what_must_happen():
    read_ones = [read(path) for path in attacks()]
    kinds = Counter(attack.honest for attack in read_ones)
    assert kinds[False] >= 60
    assert kinds[True] >= 6
    for attack in read_ones:
        assert {"Exercise", "Score"} <= attack.facts.keys(), attack.name
