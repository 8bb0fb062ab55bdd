"""Words by which the site's search finds a section first that does not have them in its title.

The keys of a run and of a comparison are such words of their rows in the tables, too
(`configuration`). A second build into the same folder forgets those of pages that it does not write
again, as Sphinx does not keep them; a build into a new folder has them all.
"""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

WORDS = {  # of a page, or of a section of it
    "how-to/lightning": ("fsdp", "fsdp2"),
    "how-to/schedules": ("warmup", "schedule warmup", "learning rate schedule"),
    "how-to/train#accumulation-and-clipping": ("gradient clipping", "gradient accumulation"),
    "how-to/train#stop-and-resume": ("resume", "checkpoint"),
    "how-to/your_code#options-of-every-method-but-newton": ("weight decay",),
    "reference/optimizers": ("betas", "hyperparameters"),
    "reference/run_files#tensorboard-s-tags": ("tensorboard tags",),
}


class SearchWords(SphinxTransform):
    """Puts the words into the index, from which the search has them."""

    default_priority = 900

    def apply(self, **_: Any) -> None:
        for place, words in WORDS.items():
            docname, *section = place.split("#")
            if docname != self.env.docname:
                continue
            sections = list(self.document.findall(nodes.section))
            found = [one for one in sections if set(section) <= set(one["ids"])]
            if not found:
                logger.warning(f"search_words: there is no section {place}")
                continue
            found[0].insert(1, make_entries(words, found[0]["ids"][0]))


def make_entries(words: tuple[str, ...], target: str) -> addnodes.index:
    """Makes entries of the index, which lead to an id of the page."""
    return addnodes.index(entries=[("single", word, target, "main", None) for word in words])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(SearchWords)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
