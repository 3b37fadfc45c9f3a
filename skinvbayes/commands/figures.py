"""The figures of the paper: each function trains, draws, and returns a figure and its numbers.

The published summary of the paper names the figures; the data and constants are choices of this
package: the two-dimensional prior of :func:`skinvbayes.datasets.bimodal_prior`, and the noise
levels below. The paper's ε, with a noise level matched to it, can be read in two ways, and both are
shown: ε is the small singular value of A = diag(1, ε), with δ² the weight of the regularisation; or
A = I and ε itself is the weight, with δ = √ε.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

from functools import partial

import numpy as np

from .. import DivergenceRegularizedINN, ReconstructionINN
from ..oracles import map_estimate, measurement_distribution, posterior_mean
from ..plotting import DeformedGridDisplay, ErrorTradeOffDisplay, VectorFieldDisplay
from .options import FIGURE_NUMBERS
from .study import ESTIMATORS, REGULARIZED, Study

__all__ = ["FIGURES", "figure_1", "figure_3", "figure_4", "figure_5"]

_COLOURS = {
    "ApproximationINN": "tab:grey",
    "ReconstructionINN": "tab:blue",
    "LogDetRegularizedINN": "tab:orange",
    "DivergenceRegularizedINN": "tab:green",
}
_OUTSIDE = 5.0  # larger errors, relative to the posterior mean's, are written, not drawn
_SWEEP = 2.0 ** np.arange(-4, 4)  # weights of the regularisation, relative to δ²


def figure_1(run, *, noise_level=0.4):
    """How the four trainings map an equidistant grid, A = I."""
    return _grids(
        [Study(run, None, noise_level)],
        "Where reconstruction sends an equidistant grid of measurements "
        f"(A = I, δ = {noise_level})",
    )


def figure_3(run, *, noise_level=0.3):
    """MAP and posterior mean as implicit and explicit Euler steps on the score."""
    import matplotlib.pyplot as plt

    study = Study(run, None, noise_level)
    prior, epsilon = study.prior, noise_level**2
    density = measurement_distribution(prior, noise_level=noise_level)
    (mean, mean_seconds), (maximum, maximum_seconds) = (
        study.fit(cls) for cls in (ReconstructionINN, DivergenceRegularizedINN)
    )
    # reconstruction, vector of the step at the reconstructed points, whether it is explicit
    panels = {
        "explicit: x̂ = y + δ² ∇log p(y)": (
            *(partial(study.oracle, posterior_mean), lambda Y, X: epsilon * density.score(Y), True),
        ),
        "implicit: x̂ = y + δ² ∇log p(x̂)": (
            *(partial(study.oracle, map_estimate), lambda Y, X: epsilon * prior.score(X), False),
        ),
        "ReconstructionINN": (mean.predict, lambda Y, X: mean.prior_term(X), True),
        "DivergenceRegularizedINN": (maximum.predict, lambda Y, X: maximum.prior_term(X), False),
    }
    nodes = DeformedGridDisplay.grid(n_lines=11, n_points=11)[: 11**2]
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 10), layout="constrained")
    for ax, (title, (reconstruct, step, explicit)) in zip(axes.flat, panels.items(), strict=True):
        found = reconstruct(nodes)
        DeformedGridDisplay.from_function(reconstruct, n_lines=11, ax=ax, title=title)
        foot = nodes if explicit else found
        ax.plot(*foot.T, "k.", markersize=3, label="where the steps start")
        VectorFieldDisplay.from_predictions(foot, step(nodes, found), ax=ax, width=0.003)
        _mark_peaks(ax, prior)
    axes[0, 0].set_ylabel("oracles: $x_2$")
    axes[1, 0].set_ylabel("trained networks: $x_2$")
    figure.suptitle(
        f"Denoising as an Euler step on the score (δ = {noise_level}). Lines: the deformed grid. "
        "Arrows: the step,\nleft at the measurements (explicit), right at the reconstructed points "
        "(implicit)"
    )
    _add_legend(figure, axes[0, 0])
    rows = [
        *study.oracle_rows(),
        study.row(mean, mean_seconds),
        study.row(maximum, maximum_seconds),
    ]
    return figure, rows


def figure_4(run, *, noise_level=0.3):
    """Reconstruction error against forward error, noise included."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        *(1, 3), figsize=(14.5, 5.4), layout="constrained", sharex=True, sharey=True
    )
    rows = []
    for ax, singular in zip(axes, (1 / 8, 1 / 2), strict=False):
        study = Study(run, np.diag([1, singular]), noise_level)
        rows += study.oracle_rows()
        for cls in ESTIMATORS:
            row = study.row(*study.fit(cls))
            rows.append(row)
            _draw_errors(ax, study, row)
        ax.set_title(f"A = diag(1, 1/{1 / singular:.0f}), weight δ² = {noise_level**2:.2g}")
    rows += _draw_sweep(axes[2], Study(run, None, np.sqrt(1 / 8)))
    for ax in axes:
        ax.axvline(1, color="k", linestyle=":", linewidth=1, label="posterior mean (oracle)")
        ax.axhline(1, color="k", linestyle="--", linewidth=1, label="noise of z")
        ax.set(xlim=(0.93, 1.72), ylim=(0.93, 2.05))
        ax.set_xlabel("reconstruction error / posterior mean's")
        ax.set_ylabel("forward error / noise of z")
        ax.legend(fontsize="small", loc="upper right")
    figure.suptitle(
        "Filled: φ as trained; hollow: the prior's term taken out, φ(x) + t(x). Left and middle: ε "
        "is the small singular value of A; right: the weight of the regularisation"
    )
    return figure, rows


def figure_5(run, *, noise_level=0.3):
    """Grids of the optimised networks for ε = 1/2 beside the oracles."""
    studies = [
        Study(run, np.diag([1, 1 / 2]), noise_level),
        Study(run, None, np.sqrt(1 / 2)),
    ]
    return _grids(
        studies,
        "Where reconstruction sends the noise-free measurements A x of an equidistant grid of x",
    )


FIGURES = dict(zip(FIGURE_NUMBERS, (figure_1, figure_3, figure_4, figure_5), strict=True))


def _grids(studies, title):
    """Six panels for each problem: four trained networks and two oracles."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2 * len(studies), 3, figsize=(10.5, 7.2 * len(studies)), layout="constrained", squeeze=False
    )
    all_rows = []
    for block, study in zip(np.split(axes, len(studies)), studies, strict=True):
        fitted = [study.fit(cls) for cls in ESTIMATORS]
        mean, maximum = (partial(study.oracle, f) for f in (posterior_mean, map_estimate))
        approximation, reconstruction, logdet, divergence = (
            (type(estimator).__name__, estimator.predict) for estimator, _ in fitted
        )
        panels = [
            *(approximation, reconstruction, ("posterior mean (oracle)", mean)),
            *(logdet, divergence, ("MAP (oracle)", maximum)),
        ]
        for ax, (name, reconstruct) in zip(block.flat, panels, strict=True):
            heading = name if len(studies) == 1 else f"{name}\n{study.name}"
            image = reconstruct(DeformedGridDisplay.grid() @ study.A.T)
            DeformedGridDisplay.from_predictions(image, ax=ax, title=heading)
            _mark_peaks(ax, study.prior)
        all_rows += [*study.oracle_rows(), *(study.row(*each) for each in fitted)]
    figure.suptitle(title)
    _add_legend(figure, axes[0, 0])
    return figure, all_rows


def _mark_peaks(ax, prior):
    """Mark the means of the prior's components."""
    ax.plot(*prior.means.T, "k+", markersize=10, label="peaks of the prior")


def _add_legend(figure, ax):
    """One legend below all panels, for what is drawn in each of them."""
    handles, labels = ax.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    for handle in legend.legend_handles:
        handle.set_linewidth(2)


def _draw_errors(ax, study, row):
    """The two points of an estimator: as trained, and with the prior's term taken out."""
    name, error = row["method"], row["reconstruction RMSE"]
    ratio = error / study.limits[0]
    if ratio > _OUTSIDE:  # drawn at the edge, with the number
        ax.annotate(f"{name}: {ratio:.0f} × →", (0.98, 0.02), xycoords="axes fraction", ha="right")
        return
    style = {"color": _COLOURS[name], "reference": study.limits, "ax": ax}
    ErrorTradeOffDisplay(error, row["forward RMSE to z"], name=name).plot(**style)
    hollow = {"markerfacecolor": "none", "markersize": 9}
    ErrorTradeOffDisplay(error, row["recovered"]).plot(**style, **hollow)


def _draw_sweep(ax, study):
    """The paths of the two regularised losses over the weight, and the two others."""
    rows = study.oracle_rows()
    matched = study.noise_level**2
    for cls in ESTIMATORS:
        path = []
        weights = matched * _SWEEP if cls in REGULARIZED else [None]
        for weight in weights:
            row = study.row(*study.fit(cls, **({"epsilon": weight} if weight else {})))
            rows.append(row)
            path.append([row["reconstruction RMSE"], row["forward RMSE to z"]])
            if weight in (None, matched):
                _draw_errors(ax, study, row)
        path = np.transpose(path / np.array(study.limits))
        ax.plot(*path, ".-", color=_COLOURS[cls.__name__], linewidth=1, markersize=4)
    ax.set_title(f"A = I, δ² = {matched:.3g}; lines: weights δ²/16 … 8 δ²")
    return rows
