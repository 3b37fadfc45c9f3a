"""How Sphinx builds the documentation: ``make docs``."""

import re
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from skinvbayes import __version__

HERE = Path(__file__).parent
BUILD = HERE / "_build"
sys.path.insert(0, str(HERE))  # gallery

project, author = "skinvbayes", "The skinvbayes developers"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = "literal"

# ----------------------------------------------------------------------- pages in Markdown

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Titles of releases in the changelog begin at the second level
suppress_warnings = ["myst.header"]

# ----------------------------------------------------------------------- reference

autosummary_generate = True
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False  # the templates list the methods
numpydoc_xref_param_type = False


def inventories(sites):
    """Objects of other packages that may be linked: downloaded once, and left out where offline."""
    folder, found = BUILD / "inventories", {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, site in sites.items():
        file = folder / f"{name}.inv"
        if not file.exists():
            try:
                with urlopen(f"{site}objects.inv", timeout=5) as answer:
                    content = answer.read()
            except (OSError, URLError):
                continue
            if not content.startswith(b"# Sphinx inventory"):
                continue
            file.write_bytes(content)
        found[name] = (site, str(file))
    return found


intersphinx_mapping = inventories(
    {
        "matplotlib": "https://matplotlib.org/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "sklearn": "https://scikit-learn.org/stable/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }
)

# ----------------------------------------------------------------------- gallery

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "gallery.by_name",
    "backreferences_dir": "reference/generated/backreferences",
    "doc_module": ("skinvbayes",),
    "capture_repr": (),
    "abort_on_example_error": False,
    "parallel": 2,
    "reset_modules": ("matplotlib", "gallery.begin"),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "plot_gallery": "True",
}


# ----------------------------------------------------------------------- look

html_theme = "pydata_sphinx_theme"
html_title = "skinvbayes"
html_static_path = ["_static"]
html_css_files = ["skinvbayes.css"]
_NO_SECTION = ["install", "get_started", "which_estimator", "is_it_good", "recipes", "benchmarks"]
# Lines of code are 100 characters long: the pages of examples are wide, too
html_sidebars = {page: [] for page in [*_NO_SECTION, "auto_examples/*"]}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skinvbayes"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


# ----------------------------------------------------------------------- contributing


def append_contributing(app, docname, source):
    """Show the repository's own page for contributors below ours, where there is one.

    Files of the repository that it links to are no pages here: their names stay.
    """
    page = HERE.parent / "CONTRIBUTING.md"
    if docname == "contributing" and page.exists():
        _, text = page.read_text(encoding="utf-8").split("\n", 1)
        source[0] += re.sub(r"\[([^]]+)\]\((\w+\.md)\)", r"\1 (`\2`)", text)


def setup(app):
    app.connect("source-read", append_contributing)
