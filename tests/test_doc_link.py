"""The HTML representation of an estimator links to its page of the API reference."""

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skinvbayes
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
    Reconstructor,
)

PAGES = "https://skinvbayes.readthedocs.io/en/stable/reference/generated/"
ESTIMATORS = [
    *(ApproximationINN, DivergenceRegularizedINN, LogDetRegularizedINN, ReconstructionINN),
    Reconstructor,
]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_html_links_to_the_page(cls):
    page = f"{PAGES}skinvbayes.{cls.__name__}.html"
    assert hasattr(skinvbayes, cls.__name__)
    assert cls()._get_doc_link() == page
    assert f'href="{page}' in cls()._repr_html_()
    assert 'href="https://scikit-learn.org' not in cls()._repr_html_()


def test_parts_of_a_pipeline_link_to_pages_of_their_own():
    html = Reconstructor(make_pipeline(StandardScaler(), ReconstructionINN()))._repr_html_()
    for name in ("Reconstructor", "ReconstructionINN"):
        assert f'href="{PAGES}skinvbayes.{name}.html' in html
    assert 'href="https://scikit-learn.org' in html


class OfAnotherPackage(DivergenceRegularizedINN):
    pass


def test_subclasses_of_other_packages_have_no_page():
    assert OfAnotherPackage()._get_doc_link() == ""
    assert "readthedocs" not in OfAnotherPackage()._repr_html_()
