"""A student's source, looked at but never run: what it defines or checks, and magics taken out."""

import ast
import re
import warnings

MOST_MAGICS = 50
MOST_PARSED = 1 << 17  # characters; a longer source is not looked into
MOST_REPEATED = 1 << 22
_CELL_MAGIC = re.compile(r"\A\s*%%\s*(\w*)[^\n]*\n?")
_LINE_MAGIC = re.compile(r"^([ \t]*+)(?:[\w, ]+=\s*)?(?:[%!?]|[\w.]+\?{1,2}\s*$)")
_CHECK = re.compile(r"""\bcheck\(\s*["']([\w.]+)["']""")
_HARMLESS = ("time", "capture")  # cell magics that run the cell as it is


def parse(source: str) -> ast.Module | SyntaxError | None:
    """Its syntax tree; the error if it is not Python; None if it is too tangled to tell."""
    if len(source) > MOST_PARSED:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except SyntaxError as error:
            return error
        except (ValueError, MemoryError, RecursionError):
            return None


def checked(source: str) -> str | None:
    """The id that a check names, as in check("attention.softmax", softmax); None without one."""
    found = _CHECK.search(source)
    return found[1] if found else None


def is_python(source: str) -> bool:
    return isinstance(parse(source), ast.Module)


def defines(source: str) -> set[str]:
    """The functions that it defines at the top level, by `def` or by `name = …`."""
    tree = parse(source)
    if not isinstance(tree, ast.Module):
        return set(re.findall(r"^(?:async )?def (\w+)", source, re.MULTILINE))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def is_stub(source: str) -> bool:
    """Whether it only defines functions that raise NotImplementedError, and does nothing else."""
    tree = parse(source)
    return isinstance(tree, ast.Module) and bool(tree.body) and all(map(_not_written, tree.body))


def _not_written(node: ast.stmt) -> bool:
    if not isinstance(node, ast.FunctionDef) or not isinstance(node.body[-1], ast.Raise):
        return False
    before = node.body[:-1]
    docstring = all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in before)
    raised = node.body[-1].exc
    raised = raised.func if isinstance(raised, ast.Call) else raised
    named = isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return named and docstring and not node.decorator_list


def without_magics(source: str) -> tuple[str, str]:
    """The source as plain Python, and a note ("" if there was nothing to take out).

    `%%time` and `%%capture` are dropped; any other cell magic makes the whole cell a comment. Line
    magics (`%…`, `!…`, `name?`) become `pass` where they stand: only lines that keep the source
    from being Python, so that a line of a string that begins with % is left alone.
    """
    notes = []
    while magic := _CELL_MAGIC.match(source):
        if magic[1] not in _HARMLESS:
            comment = "\n".join(f"# {line}".rstrip() for line in source.splitlines())
            return comment, f"a cell with %%{magic[1]} was made a comment"
        notes.append(f"%%{magic[1]} was taken out")
        source = source[magic.end() :]
    source, count = _without_line_magics(source)
    if count:
        notes.append(f"{count} line magic{'s were' if count > 1 else ' was'} taken out")
    return source, "; ".join(notes)


def _without_line_magics(source: str) -> tuple[str, int]:
    lines, count = source.split("\n"), 0
    while count < MOST_MAGICS and count * len(source) < MOST_REPEATED:
        error = parse("\n".join(lines))
        if not isinstance(error, SyntaxError):
            break
        at = (error.lineno or 0) - 1
        magic = _LINE_MAGIC.match(lines[at]) if 0 <= at < len(lines) else None
        if magic is None:
            break
        kept = lines[at].strip().replace("\\", "/")
        lines[at] = f"{magic[1]}pass  # {kept}"
        count += 1
    return "\n".join(lines), count
