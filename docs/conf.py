"""The documentation site: `sphinx-build -W docs site`. It needs no network, to build or to read."""

import sys
from pathlib import Path

from scratchopt import __version__ as release

sys.path.append(str(Path(__file__).parent / "extensions"))

project = "scratchopt"
author = "the authors of scratchopt"
project_copyright = "the authors of scratchopt"
html_title = f"scratchopt {release}"

extensions = [
    "myst_nb",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "chapters",
    "checkout_links",
    "playground_file",
    "docstrings",
    "public_names",
    "name_links",
    "configuration",
    "tags",
    "search_words",
]
exclude_patterns = ["**/.ipynb_checkpoints"]
highlight_language = "none"  # of a block that names none

# Pages are Markdown. A tutorial chapter's cells are executed; an error in one breaks the build.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # links to headings, as on GitHub
myst_links_external_new_tab = False
nb_execution_mode = "force"
nb_execution_in_temp = True  # what a chapter writes is not left in docs/
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ |In \[\d*\]: "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos"

nitpicky = True  # a link to a public name leads somewhere; there are none to other packages
nitpick_ignore_regex = [
    ("py:.*", r"(?!scratchopt\.((lightning|zero|schedules|notebook)\.)?\w+$).*")
]
autodoc_member_order = "bysource"
autoclass_content = "both"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
napoleon_use_rtype = False
