"""What the docstrings of the four estimators share."""

from inspect import cleandoc
from typing import Any, TypeVar

__all__ = ["documented"]

Estimator = TypeVar("Estimator", bound=type[Any])


def documented(cls: Estimator) -> Estimator:
    """Replace ``{parameters}`` in the docstring of an estimator by the shared sections."""
    epsilon = _EPSILON if "epsilon" in cls._parameter_constraints else ""
    epsilon += _METRIC if "metric" in cls._parameter_constraints else ""
    sections = _SECTIONS.strip().replace("{epsilon}", epsilon)
    cls.__doc__ = cleandoc(cls.__doc__ or "").replace("{parameters}", sections)
    return cls


_EPSILON = """epsilon : "auto" or float, default="auto"
    Weight of the penalty, in the units of y squared; "auto" is δ², the Bayesian choice. With
    ``residual="conv"`` the divergence loss is trained with δ², and its prior then gets the weight
    for which the training pairs are reconstructed best, δ² at most: ``epsilon_`` tells it, and
    other noise levels and operators keep its ratio to δ².
"""

_METRIC = """metric : {"auto", "natural", "euclidean"}, default="auto"
    The metric M of the square; "auto" takes the natural one in the normal equation, and the paper's
    Euclidean one in the original problem.
"""

_SECTIONS = """
Parameters
----------
{epsilon}operator : None, "estimate" or linear operator, default=None
    The operator A of shape (n_measurements, n_features): a matrix, a data frame, a sparse matrix or
    a LinearOperator, of real numbers. Clones share an operator that cannot be copied; among the
    values of a search, give it as ``skinvbayes.operators.as_operator(A)``. With it the network
    learns the normal equation, z = Aᵀ y. None learns from x to y directly (z = y) where they have
    the same size and the linear fit is close to symmetric positive definite. Otherwise it means
    "estimate", ridge least squares from the pairs, with a warning where the sizes are the same.
    DivergenceRegularizedINN takes nonlinear ones too.
noise_level : "auto", float or array-like of shape (n_measurements,), default="auto"
    Standard deviation δ of the noise, in the units of y, of all measurements or of each. "auto"
    takes the root mean square residual of the pairs where it is white. Where the residuals of up to
    1,000 measurements are surely unequal or correlated, their covariance is the noise's. Readings
    that cannot be Gaussian do not count, with a warning that says how many there are and where.
noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
    Covariance Σ of the noise, in place of ``noise_level="auto"``. Noise that is not white is made
    white, with W = δ Σ^(−1/2) and the root mean square δ of the standard deviations: the normal
    equation is then that of W A and W y, and z = AᵀW² y. No measurement counts as more than ten
    times more precise than the median one, relative to what the signals make of it.
prior_bandwidth : "auto" or float, default="auto"
    Standard deviation, in the units of x, of the Gaussian that smooths the prior: jitter on x, and
    its image on z, fresh at every step of Adam. "auto" is 0 where the signals fill their space, and
    otherwise a nearest neighbour's distance for each coordinate. It is half of the noise of a
    feature, and no more than neighbours are apart, where signals repeat, take few values, or lie on
    a curve or in tight clusters. With "conv" it is 0.7 of the noise of a pixel, 0.5 in the first
    stage of the reconstruction loss, and 0.35 where ``fit`` weighs the prior of the divergence
    loss. The reconstruction loss needs less smoothing, because it learns no score: "auto" gives it
    half of this bandwidth, and none with "conv" or where signals repeat. Where held-out pairs say
    that it is better, that loss draws its signals from Gaussian kernels with the covariances of
    clusters instead (then ``prior_bandwidth_`` is 0); their number and their width are chosen on
    held-out pairs too. So does the divergence loss, whose kernels the bandwidth widens unless there
    is one for each cluster (then ``prior_bandwidth_`` is 0 again).
residual : {"gradient", "mlp", "conv"} or a subclass of ResidualBlock, default="gradient"
    The residual branch: the gradient of a strongly convex function, the paper's multilayer
    perceptron, the gradient of a strongly convex function of images with the same filters at every
    pixel (needs the operator and ``image_shape``), or your own.
n_blocks : int, default=1
    Number of residual blocks.
hidden_layer_sizes : "auto", int or tuple of int, default="auto"
    Units of each hidden layer; "auto" takes 8 for each feature, between 32 and 512, in one layer
    ("mlp": in two), and for the reconstruction loss four or eight units of many pieces, or scale
    units alone where a trial finds these better. With "conv" the number of filters, each with its
    mirror image; "auto" takes 24, or half the square of ``kernel_size`` if that is less.
n_pieces : "auto" or int, default="auto"
    Pieces of each unit of the gradient branch, the gradient of a log-sum-exp of so many linear
    functions; "auto" takes 32 for the reconstruction loss (fewer with more units) and otherwise 2,
    which makes softplus units.
image_shape : tuple of one or two int, default=None
    Height and width of the images that the rows of X are, for ``residual="conv"``; for signals
    such as spectra and time series, ``(n_features,)``.
kernel_size : int, default=7
    Height and width of the filters of ``residual="conv"``, an odd number.
lipschitz : float, default=0.999
    Bound L of the Lipschitz constant of each branch, in (0, 1). The smallest slope of the
    forward map is about (1 − L)/2 of its largest.
solver : {"auto", "lbfgs", "adam"}, default="auto"
    Full-batch L-BFGS or mini-batch Adam; "auto" takes L-BFGS for up to 32 features and 2¹⁸ numbers
    in X, unless few pairs need a bandwidth.
max_iter : int, default=200
    Iterations of L-BFGS or epochs of Adam. Reconstruction and log-determinant spend half
    (L-BFGS) or three quarters (Adam; with "conv" one quarter) of them on the divergence loss, a
    cheap first guess. With "conv" a thousand steps of Adam are mostly enough, a few epochs of
    many pairs.
tol : float, default=1e-5
    Least improvement of the loss that counts, relative to its size.
batch_size : "auto" or int, default="auto"
    Pairs in each step of Adam; "auto" is 128, for the reconstruction loss 256, with "conv" as many
    as have 2¹⁴ pixels.
learning_rate_init : "auto" or float, default="auto"
    First step size of Adam, which falls to zero along a cosine; "auto" is 0.003, for the
    reconstruction loss 0.01, with "conv" 0.02.
early_stopping : bool, default=False
    Set pairs aside, stop when their loss no longer improves, and restore the best weights.
validation_fraction : float, default=0.1
    Part of the pairs set aside by early stopping.
n_iter_no_change : int, default=10
    Training stops after this many iterations without improvement. With early stopping, the best
    validation loss must improve; otherwise, the mean training loss over the last
    ``n_iter_no_change`` iterations must be below the mean over those before.
warm_start : bool, default=False
    Start the next fit from the weights of the last one; ``loss_curve_`` and ``n_iter_`` go on.
device : str or torch.device, default="cpu"
    Where to train and to compute, as torch names it: "cpu", "cuda", "cuda:1". It must have double
    precision, in which all but Adam computes; "mps" has none. Arrays come and go on the CPU. A
    stored estimator whose device is not there when it is loaded computes on the CPU. Training that
    goes on (``warm_start``, ``partial_fit``) stays on the device of the fit.
random_state : int, RandomState instance or None, default=None
    Source of initial weights, batches and jitter. The same seed gives the same model.
verbose : bool or int, default=False
    Show the progress of training, and of other methods that take longer than a moment: a bar on a
    terminal (drawn by rich, where that is installed) or in a notebook, elsewhere a line per tenth.
    The logger "skinvbayes" gets the lines too; where its handlers write on the screen, they take
    the place of the bar.

Attributes
----------
network_ : IResNet or ExplicitInverse
    The trained network, in the coordinates of ``problem_.coordinates``. The reconstruction loss
    trains the inverse itself: prediction and covariance are evaluated, and ``transform`` is what
    takes an inversion. With "conv", "mlp", a branch of your own or many features it trains φ.
problem_ : InverseProblem
    What the pairs say about the problem: the operator A, the forward map G, the noise level, the
    bandwidth and the coordinates the network works in.
operator_ : Operator or None
    The operator, given or estimated; None for the original problem z = y. A NonlinearOperator where
    that was given; ``problem_`` then has the linear one that stands for it in training.
epsilon_, noise_level_, prior_bandwidth_ : float
    The values that were used; the noise level is the root mean square one where levels differ.
noise_std_ : ndarray of shape (n_measurements,)
    Standard deviations of the noise of the measurements.
noise_covariance_ : ndarray of shape (n_measurements, n_measurements) or None
    Covariance of the noise; None where the noise of the measurements is not correlated.
loss_curve_, validation_loss_curve_ : list of float
    The loss above after every iteration of all stages, in squared units of y. Squares are taken in
    the metric of the coordinates the network works in, ½ (φ(x) − z)ᵀ P⁻¹ (φ(x) − z) and
    ½ (φ⁻¹(z) − x)ᵀ P (φ⁻¹(z) − x) with ``P = problem_.coordinates.precision``, and the divergence
    is that of P⁻¹ φ; in the Euclidean metric of the log-determinant loss there is no P. With a
    linear operator, all losses but the reconstruction's are computed with E[z|x] in place of z: the
    optimum is the same, and the noise of z adds no variance. Without early stopping the validation
    curve is None.
best_loss_ : float
    The lowest loss, on the validation pairs where there are any.
training_stages_ : list of tuple (str, int)
    Name of the loss of each stage of the training, and the number of its iterations; an estimator
    that an older version stored does not know that name, which is None then.
n_iter_ : int
    Number of iterations of all stages, the length of ``loss_curve_``.
lipschitz_ : ndarray of shape (n_blocks,)
    Certified Lipschitz bound of each residual branch.
n_features_in_, n_measurements_in_ : int
    Sizes of a signal and of a measurement.
feature_names_in_, measurement_names_in_ : ndarray of str
    Names of the features of a signal and of the measurements; only where X, or y, was a data frame
    whose column names are strings. Everything that takes measurements checks them by name then.

See Also
--------
ApproximationINN, ReconstructionINN, LogDetRegularizedINN, DivergenceRegularizedINN, Reconstructor

Notes
-----
``predict`` takes measurements. In searches and cross-validation, use ``scoring=None``, which
calls the method ``score``. With ``scoring="r2"``, scikit-learn would compare predict(X) with Y; it
would raise no error where signals and measurements have the same size, and pick a wrong epsilon.
For other metrics use :func:`reconstruction_scorer`, or :class:`Reconstructor` with scikit-learn's
own scorers.

In a pipeline the first steps scale the signals, but ``Pipeline.predict(Y)`` would apply them to
the measurements: use ``Reconstructor(pipeline)``. Scaling is not needed: the estimators do it, and
an operator is for signals in their own units.

Methods that take rows of dask arrays (extra ``dask``) return dask arrays, which are computed chunk
by chunk when they are asked for. A wrong number of columns raises at once. Warnings come with the
results, and count rows from the start of their chunk.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""
