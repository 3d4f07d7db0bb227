"""Malformed notebooks, each a few lines that spoil a right one, with what must come of it.

`@full(note)`: the right answers in it get full marks, and staff read the note. `@refused(why)`: it
is refused with a sentence that holds `why`.
"""

import json

from tests.marking.intake.class_work import (
    answer,
    as_bytes,
    at,
    code,
    place,
    release,
    source,
    text,
    twin,
)

MALFORMED = {}  # name → (make, "full" or "refused", part of the note or of the sentence)


def _listed(outcome: str, words: str):
    def add(make):
        MALFORMED[make.__name__] = (make, outcome, words)
        return make

    return add


def full(note: str = ""):
    return _listed("full", note)


def refused(why: str):
    return _listed("refused", why)


# --- cells moved, copied, renamed, deleted, split -------------------------------------------------


@full("softmax-answer was there 2 times")
def answer_cell_copied_before_it_was_written(nb):
    stub = twin(at(nb, "softmax-answer"), source="def softmax(x, dim):\n    raise KeyError", id="x")
    nb["cells"].insert(place(nb, "softmax-answer"), stub)
    return nb


@full("softmax-answer was there 2 times")
def untouched_copy_below_the_answer(nb):
    stub = source(at(release(), "softmax-answer"))
    nb["cells"].insert(place(nb, "softmax-check"), twin(at(nb, "softmax-answer"), source=stub))
    return nb


@full()
def check_cell_copied(nb):
    nb["cells"].insert(place(nb, "softmax-check"), twin(at(nb, "softmax-check")))
    return nb


@full()
def grade_ids_renamed(nb):
    for cell in nb["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] += "-copy"
    return nb


@full()
def nbgrader_metadata_stripped(nb):
    for cell in nb["cells"]:
        cell["metadata"] = {}
    return nb


@full()
def cell_ids_missing(nb):
    for cell in nb["cells"]:
        del cell["id"]
    return nb


@full()
def cell_ids_all_the_same(nb):
    for cell in nb["cells"]:
        cell["id"] = "a"
    return nb


@full("was found by the function that it defines")
def all_metadata_and_ids_stripped(nb):
    for cell in nb["cells"]:
        cell["metadata"] = {}
        del cell["id"]
    return nb


@full("was found by the function that it defines")
def pasted_into_an_empty_notebook(nb):
    """Nothing of ours is left but the code, one cell a function, in another order."""
    answers = [source(c) for c in nb["cells"] if c["id"].endswith("-answer")]
    setup = source(at(nb, "given"))
    return {"cells": [code(s) for s in [setup, *answers[-2::-1]]], "nbformat": 4, "metadata": {}}


@full("is answered in another answer's cell")
def everything_in_one_cell(nb):
    parts = [source(c) for c in nb["cells"] if c["id"].endswith("-answer")][:-1]
    return {"cells": [code("import math\nimport torch\n\n" + "\n\n\n".join(parts))], "metadata": {}}


@full("causal_mask-answer was missing")
def another_answer_deleted(nb):
    nb["cells"].remove(at(nb, "causal_mask-answer"))
    return nb


@full()
def locked_cells_deleted(nb):
    nb["cells"] = [c for c in nb["cells"] if c["id"].endswith("-answer")]
    return nb


@full("given had been changed")
def imports_of_the_given_cell_deleted(nb):
    at(nb, "given")["source"] = "# emptied"
    return nb


@full("softmax-check had been changed")
def check_cell_rewritten(nb):
    at(nb, "softmax-check")["source"] = "4.0"
    return nb


@full("softmax-answer was found by the function that it defines")
def answer_written_into_the_check_cell(nb):
    whole = source(at(nb, "softmax-answer"))
    at(nb, "softmax-check")["source"] = whole + "\n\n" + source(at(nb, "softmax-check"))
    return answer(nb, "softmax", "def softmax(x, dim):\n    raise NotImplementedError()")


@full("softmax-answer was found by the function that it defines")
def answer_written_into_a_new_cell_above_the_untouched_one(nb):
    mine = code(source(at(nb, "softmax-answer")), id="mine")
    at(nb, "softmax-answer")["source"] = at(release(), "softmax-answer")["source"]
    nb["cells"].insert(place(nb, "softmax-answer"), mine)
    return nb


@full()
def helper_in_a_cell_of_its_own(nb):
    lines = "def softmax(x, dim):\n    return helper(x, dim)"
    helper = source(at(nb, "softmax-answer")).replace("def softmax", "def helper")
    nb["cells"].insert(place(nb, "softmax-answer"), code(helper, id="mine"))
    return answer(nb, "softmax", lines)


@full()
def helper_that_runs_at_once_between_two_answers(nb):
    """It needs the answer before it, and the answer after it needs what it computed."""
    nb["cells"].insert(place(nb, "causal_mask-task"), code("ONES = softmax(torch.zeros(1), 0)"))
    whole = source(at(nb, "causal_mask-answer"))
    return answer(nb, "causal_mask", "assert float(ONES) == 1\n" + whole)


@full("a cell that had been split was joined again")
def function_split_in_the_middle(nb):
    lines = source(at(nb, "softmax-answer")).splitlines()
    nb["cells"].insert(place(nb, "softmax-check"), code("\n".join(lines[2:])))
    return answer(nb, "softmax", "\n".join(lines[:2]))


@full("softmax-answer was there 2 times")
def function_split_behind_its_helper_with_the_metadata_on_both(nb):
    helper = source(at(nb, "softmax-answer")).replace("def softmax", "def helper")
    mine = twin(at(nb, "softmax-answer"), source="softmax = lambda x, dim: helper(x, dim)")
    nb["cells"].insert(place(nb, "softmax-check"), mine)
    return answer(nb, "softmax", helper)


@full("softmax-answer was a markdown cell: read as code")
def answer_cell_turned_into_text(nb):
    at(nb, "softmax-answer")["cell_type"] = "markdown"
    return nb


@full("softmax-answer was a raw cell: read as code")
def answer_cell_turned_raw_and_fenced(nb):
    cell = at(nb, "softmax-answer")
    cell |= {"cell_type": "raw", "source": f"```python\n{source(cell)}\n```"}
    return nb


@full("why_faster-answer was a code cell: read as text")
def written_answer_turned_into_code(nb):
    at(nb, "why_faster-answer")["cell_type"] = "code"
    return nb


@full()
def cells_in_the_reverse_order(nb):
    nb["cells"].reverse()
    return nb


# --- magics ---------------------------------------------------------------------------------------


@full("%%time was taken out")
def timed_cell(nb):
    return answer(nb, "softmax", "%%time\n" + source(at(nb, "softmax-answer")))


@full("2 line magics were taken out")
def line_magics_and_shell(nb):
    whole = source(at(nb, "softmax-answer"))
    return answer(nb, "softmax", f"%matplotlib inline\n{whole}\n\nfiles = !ls /")


@full("a cell with %%bash was made a comment")
def bash_cell(nb):
    nb["cells"].insert(3, code("%%bash\nrm -rf /\nexit 1"))
    return nb


@full()
def get_ipython_calls_fail_alone(nb):
    nb["cells"].insert(3, code("get_ipython().run_line_magic('autoreload', '2')"))
    return nb


@full()
def a_string_that_looks_like_magic(nb):
    whole = source(at(nb, "softmax-answer"))
    return answer(nb, "softmax", whole + '\n\n\nNOTE = """\n%time is a magic\n!ls too\n"""')


# --- formats --------------------------------------------------------------------------------------


@full()
def nbformat_3(nb):
    cells = []
    for cell in nb["cells"]:
        old = {"cell_type": cell["cell_type"], "metadata": cell["metadata"]}
        old["input" if cell["cell_type"] == "code" else "source"] = source(cell)
        cells.append(old)
    cells.insert(0, {"cell_type": "heading", "level": 1, "source": "Mine", "metadata": {}})
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}


@full()
def nbformat_4_0_as_colab_writes_it(nb):
    for cell in nb["cells"]:
        cell["metadata"] = {"id": cell.pop("id"), "outputId": "0-1"}
    badge = '<a href="https://colab.research.google.com/github/x/y"><img src="b.svg"/></a>'
    nb["cells"].insert(0, text(badge, metadata={"id": "view-in-github", "colab_type": "text"}))
    nb["metadata"]["colab"] = {"provenance": [], "gpuType": "T4"}
    return nb | {"nbformat_minor": 0}


@full()
def as_kaggle_writes_it(nb):
    for number, cell in enumerate(nb["cells"]):
        del cell["id"]
        cell["source"] = source(cell)
        cell["metadata"]["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        cell["metadata"] |= {"_uuid": str(number), "_cell_guid": str(number), "trusted": True}
    return nb | {"nbformat_minor": 4}


@full()
def as_vs_code_writes_it(nb):
    for number, cell in enumerate(nb["cells"]):
        cell["id"] = f"{number:08x}"
        cell["source"] = source(cell).replace("\n", "\r\n").splitlines(keepends=True)
        cell["metadata"]["vscode"] = {"languageId": "python"}
    return nb | {"nbformat_minor": 2}


@full()
def byte_order_mark(nb):
    return b"\xef\xbb\xbf" + as_bytes(nb)


@full()
def utf_16_from_a_windows_shell(nb):
    return json.dumps(nb, ensure_ascii=False).encode("utf-16")


@full("bytes that are not UTF-8 were replaced")
def an_essay_in_another_encoding(nb):
    at(nb, "why_faster-answer")["source"] = "Because of tiles: caf\u00e9."
    return json.dumps(nb, ensure_ascii=False).encode().replace(b"\xc3\xa9", b"\xe9")


@full()
def crlf_line_ends(nb):
    whole = json.dumps(nb, indent=1).replace("\\n", "\\r\\n")
    return whole.replace("\n", "\r\n").encode()


@full("3 cells could not be read")
def cells_that_are_none(nb):
    nb["cells"][2:2] = [None, 7, {"cell_type": "code", "source": {"a": 1}}]
    return nb


@full()
def metadata_of_the_wrong_types(nb):
    at(nb, "softmax-answer")["metadata"] = None
    at(nb, "causal_mask-answer")["metadata"] = {"nbgrader": [1]}
    return nb | {"metadata": "none", "nbformat": "4"}


@full()
def half_a_surrogate_pair_and_a_nul(nb):
    whole = source(at(nb, "softmax-answer"))
    nb["cells"].append(text("\ud83d half of an emoji"))
    return answer(nb, "softmax", whole + "\n# \ud83d\0")


@full()
def stored_fake_outputs(nb):
    fake = {"output_type": "execute_result", "data": {"text/plain": "3.0"}, "metadata": {}}
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [fake, {"output_type": "stream", "text": "<script>1</script>"}]
    return nb


@full("HTML, pictures from elsewhere or scripts are kept as text")
def html_in_the_essay(nb):
    at(nb, "why_faster-answer")["source"] = "<script>alert(1)</script> ![x](http://a.example/p.png)"
    return nb


# --- files that are no notebook -------------------------------------------------------------------


@refused("The file is empty")
def empty_file(nb):
    return b""


@refused("cut off")
def upload_cut_off(nb):
    return as_bytes(nb)[:-2000]


@refused("git merge")
def merge_conflict(nb):
    whole = json.dumps(nb, indent=1).splitlines()
    return "\n".join([*whole[:40], "<<<<<<< HEAD", *whole[40:]]).encode()


@refused("web page")
def a_login_page(nb):
    return b"<!DOCTYPE html><html><body>Sign in</body></html>"


@refused("PDF")
def a_pdf(nb):
    return b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"


@refused("not JSON")
def a_python_script(nb):
    return b"def softmax(x, dim):\n    return x.softmax(dim)\n"


@refused("not an object")
def a_json_list(nb):
    return json.dumps(nb["cells"]).encode()


@refused("no cells")
def json_of_something_else(nb):
    return b'{"name": "ada"}'


@refused("no cell of the assignment")
def a_notebook_of_something_else(nb):
    return {"cells": [code("print('hello')"), text("# My trip")], "nbformat": 4, "metadata": {}}


@refused("no cell of the assignment")
def a_notebook_of_another_chapter(nb):
    kept = [c for c in nb["cells"] if c["id"] in ("title", "install", "given", "status", "end")]
    return {"cells": [*kept, code("def lora(x):\n    return x", id="lora-answer")]}


@refused("nested too deeply")
def deep_json(nb):
    return b'{"cells": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@refused("values")
def too_many_values(nb):
    return b'{"cells": [' + b"[]," * 700_000 + b"[]]}"


@refused("larger than 32 MiB")
def two_hundred_megabytes(nb):
    return as_bytes(nb) + b" " * (200 << 20)


@refused("a number that is too long")
def an_endless_number(nb):
    return b'{"cells": [], "n": ' + b"9" * 100_000 + b"}"


@refused("2,000 cells")
def too_many_cells(nb):
    nb["cells"] += [code("1")] * 2000
    return nb


@refused("code cells hold more")
def a_megabyte_of_code(nb):
    return answer(nb, "softmax", "x = 1\n" * 200_000)
