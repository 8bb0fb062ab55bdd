"""Tasks: what an optimizer is asked to solve. One file a task, its LightningModule and its data."""

from pkgutil import extend_path

# With the other folders of that name on the path: a user's own package may be called tasks, too.
__path__ = extend_path(__path__, __name__)
