"""nbgrader's formgrader on the graded class, in headless Chromium with the network blocked."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

pytest.importorskip("nbgrader", reason="pip install -e '.[grade]'")

from tests.marking.nbgrader_course import NAME, POINTS
from tests.plugin_requirements import ROOT, chromium

pytestmark = [pytest.mark.bubblewrap, pytest.mark.chromium]
START_SECONDS = 120
FILLED = """() => [...document.querySelectorAll("input.score")]
    .filter(input => input.value || input.placeholder).length >= 10"""


@contextlib.contextmanager
def formgrader(folder):
    """A Jupyter server on the course's folder: its address and token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    command = ["-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}"]
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "HOME": str(home)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "server.log")
        yield f"http://127.0.0.1:{port}", token
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(address: str, server, log) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"no server: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def pages(written_course, tmp_path_factory):
    return visit(written_course.copied(tmp_path_factory.mktemp("formgrader") / "course"))


def visit(course) -> dict:
    """Formgrader's list of submissions, two of its pages, and what they asked for elsewhere."""
    from playwright.sync_api import sync_playwright

    asked, dialogs = [], []
    with formgrader(course.folder) as (address, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        header = {"Authorization": f"token {token}"}
        context = browser.new_context(extra_http_headers=header)

        def only_here(route):
            if route.request.url.startswith((address, "data:")):
                return route.continue_()
            asked.append(route.request.url)
            return route.abort()

        context.route("**/*", only_here)
        page = context.new_page()
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{address}/formgrader/gradebook/{NAME}/{NAME}")
        page.wait_for_selector("#main-table tr:nth-child(8)", timeout=90_000)
        listed = page.inner_text("table")
        with course.book() as book:
            ids = {
                student: book.find_submission_notebook(NAME, NAME, student).id
                for student in ("half", "scripts")
            }
        shown = {}
        for student, number in ids.items():
            page.goto(f"{address}/formgrader/submissions/{number}/?index=0")
            page.wait_for_function(FILLED, timeout=90_000)  # the scores come after the page
            shown[student] = {
                "text": page.inner_text("body"),
                "scores": page.eval_on_selector_all(
                    "input.score", "all => all.map(i => [i.value, i.placeholder])"
                ),
            }
        browser.close()
    return {"course": course, "listed": listed, "shown": shown, "asked": asked, "dialogs": dialogs}


def test_the_list_of_submissions_shows_every_score(pages):
    rows = pages["course"].rows()
    # Formgrader hides names: each line is "Submission #n  score / most …".
    for student, row in rows.items():
        points = f"{row['score']:g} / {sum(POINTS.values()) + 2}"
        assert points in pages["listed"], f"{student}: {points}"


def test_a_submission_shows_its_points_and_what_was_said(pages):
    half = pages["shown"]["half"]
    values = [value or placeholder for value, placeholder in half["scores"]]
    grades = pages["course"].rows()["half"]["grades"]
    assert {f"{grades[cell][0]:g}" for cell in POINTS} <= {f"{float(v):g}" for v in values if v}
    assert "nan-on-empty" in half["text"]


def test_no_script_of_a_student_runs_in_front_of_a_grader(pages):
    assert pages["dialogs"] == []
    assert not [url for url in pages["asked"] if "evil.example" in url]


def test_the_one_address_that_formgrader_asks_is_the_one_that_the_book_names(pages):
    """nbgrader's template has no option for it; formulas are MathML and do without."""
    book = (ROOT / "chapters" / "teaching.md").read_text(encoding="utf-8")
    places = {url.split("/")[2] for url in pages["asked"]}
    assert places <= {"cdnjs.cloudflare.com"}
    assert "cdnjs.cloudflare.com" in book
