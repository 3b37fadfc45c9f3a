"""The page of an estimator in the API reference, to which its HTML representation links."""

__all__ = ["DocLink"]

DOCUMENTATION = "https://skinvbayes.readthedocs.io/en/stable"


class DocLink:
    """An estimator whose HTML representation in notebooks links to its page.

    scikit-learn reads these attributes. It makes no link for subclasses that live in other
    packages, which have no page here.
    """

    _doc_link_module = __name__.partition(".")[0]
    _doc_link_template = f"{DOCUMENTATION}/reference/generated/skinvbayes.{{estimator_name}}.html"
