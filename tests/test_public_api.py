"""What is public is listed in public_api.txt; who changes it says so in the changelog.

After a change of public names, write it into the newest section of CHANGELOG.md, and then run
``python tests/test_public_api.py``, which refuses to list names that are not told there.
"""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import skinvbayes

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("public_api.txt")
PUBLIC = [
    *("callbacks", "datasets", "diagnostics", "estimators", "inversion", "losses", "networks"),
    *("operators", "oracles", "plotting", "priors", "problem"),
]
INTERNAL = [  # may change in any version; what one can use of them, public rooms hand on
    *("commands", "inference", "noise", "numerics", "training"),
    *("reconstructor", "units"),  # old places, kept for files of earlier versions
]
ADVICE = "Tell it in CHANGELOG.md, then run `python tests/test_public_api.py`."


class Elided:
    """A default value that has no short text."""

    def __repr__(self):
        return "…"


def surface():
    """All public names with their parameters, one in each line."""
    described = {}
    for module in ["skinvbayes", *(f"skinvbayes.{room}" for room in PUBLIC)]:
        found = importlib.import_module(module)
        for name in sorted(found.__all__):
            value, place = getattr(found, name), f"{module}.{name}"
            if callable(value) and value in described:
                yield f"{place} is {described[value]}"
                continue
            if callable(value):
                described[value] = place
            yield from lines_of(place, value)


def lines_of(place, value):
    if not callable(value):
        yield place
        return
    yield place + parameters(value)
    if inspect.isclass(value):
        ours = [cls for cls in value.__mro__ if cls.__module__.startswith("skinvbayes")]
        for member in sorted({key for cls in ours for key in vars(cls) if is_public(key)}):
            attribute = getattr(value, member)
            arguments = parameters(attribute, skip=1) if inspect.isroutine(attribute) else ""
            yield f"{place}.{member}{arguments}"


def is_public(member):
    """Whether it is ours and public: scikit-learn adds ``set_*_request`` by itself."""
    return member[0] != "_" and not re.fullmatch(r"set_\w+_request", member)


def parameters(function, skip=0):
    """The signature as text, without annotations and, for methods, without ``self``."""
    signature = inspect.signature(function)
    found = list(signature.parameters.values())
    plain = [shown(one) for one in found[0 if inspect.ismethod(function) else skip :]]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


def shown(parameter):
    has_text = isinstance(parameter.default, (bool, int, float, str, type(None), type))
    default = parameter.default if has_text else Elided()
    return parameter.replace(annotation=parameter.empty, default=default)


def changes(before, after):
    """Lines that were removed or added, with a sign."""
    removed, added = set(before) - set(after), set(after) - set(before)
    return sorted([f"- {line}" for line in removed] + [f"+ {line}" for line in added])


def untold(changed, changelog):
    """Names that changed and do not occur in the newest section of the changelog."""
    newest = re.split(r"^## ", changelog, flags=re.MULTILINE)[1]
    names = {line[2:].partition("(")[0].rpartition(".")[2] for line in changed}
    return sorted(name for name in names if not re.search(rf"\b{name}\b", newest))


def test_what_is_public_is_listed():
    changed = changes(LIST.read_text(encoding="utf-8").splitlines(), surface())
    assert changed == [], ADVICE


def test_every_room_is_public_or_internal():
    package = Path(skinvbayes.__file__).parent
    rooms = {path.stem for path in package.iterdir() if path.stem[0] != "_" and path.suffix != ""}
    rooms |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms - {"py"} == {*PUBLIC, *INTERNAL}


def test_changes_that_are_not_told_are_found():
    before, after = ["a.f(x)", "a.g(x)"], ["a.f(x, y=1)", "a.g(x)", "a.new"]
    changed = changes(before, after)
    assert changed == ["+ a.f(x, y=1)", "+ a.new", "- a.f(x)"]
    assert untold(changed, "# Log\n\n## Next\n\n- `new` is new.\n\n## Last\n\n- f") == ["f"]


def test_defaults_and_kinds_are_part_of_it():
    def function(a, *, b=1, c=(), **more):
        pass

    assert parameters(function) == "(a, *, b=1, c=…, **more)"


def test_the_reference_has_all_public_names():
    reference = ROOT / "docs" / "api.rst"
    if not reference.exists():
        pytest.skip("The documentation is not here.")
    text = reference.read_text(encoding="utf-8")
    rooms = [importlib.import_module(f"skinvbayes.{room}") for room in PUBLIC]
    names = [name for room in rooms for name in room.__all__]
    missing = {name for name in names if not re.search(rf"\b{name}\b", text)}
    assert missing == set()


if __name__ == "__main__":
    new = list(surface())
    old = LIST.read_text(encoding="utf-8").splitlines() if LIST.exists() else new
    changed = changes(old, new)
    missing = untold(changed, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if missing:
        sys.exit(f"The newest section of CHANGELOG.md does not tell of: {', '.join(missing)}")
    LIST.write_text("\n".join(new) + "\n", encoding="utf-8")
    print(*changed, sep="\n")
