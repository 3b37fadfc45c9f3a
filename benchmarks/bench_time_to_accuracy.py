"""How long until the reconstruction is as good as it can be, to 1 %?

Four 2-D problems with 4,000 pairs: seconds of training until the RMSE of the reconstruction is at
most 1 % above that of the exact posterior mean. The package's default estimators, fitted afresh
with more and more iterations, against plain loops of Adam over the same two losses: the package's
classical branch with the fixed-point iteration as its inverse, and normflows' residual blocks.
Where the MAP estimate itself is more than 1 % above, the divergence loss, whose optimum that is,
is left out. On blurred digits: seconds until Ridge's RMSE is reached.

The plain loops are judged in between, with the clock stopped, by an inversion to convergence. The
peer has autograd's exact divergence, and for the reconstruction loss one implicit step with
explicit Jacobians.

Exits with status 1 when a default is less than ten times faster than another method, on a 2-D
problem. A method that is stopped at the cap is judged only if the cap is ten times the default's
time.
"""

from functools import partial
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import torch
from measuring import Report, arguments
from peers import NormFlows
from sklearn.linear_model import RidgeCV

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import load_deblurring_digits, make_bimodal
from skinvbayes.inversion.invert import invert
from skinvbayes.losses import DivergenceLoss, ReconstructionLoss
from skinvbayes.networks import IResNet
from skinvbayes.numerics.errors import row_rmse
from skinvbayes.numerics.jacobians import solve
from skinvbayes.oracles import map_estimate, posterior_mean

PROBLEMS = {  # operator, noise level
    "A = I, δ = 0.15": (None, 0.15),
    "A = I, δ = 0.4": (None, 0.4),
    "A = diag(1, 1/2), δ = 0.3": (np.diag([1, 0.5]), 0.3),
    "A = diag(1, 1/8), δ = 0.3": (np.diag([1, 0.125]), 0.3),
}
QUICK = ("A = I, δ = 0.15", "A = diag(1, 1/2), δ = 0.3")
N_PAIRS = 4000
MAX_ITER = (3, 5, 10, 20, 40, 80, 160)
DIGITS_EPOCHS = (1, 2, 5, 10, 20, 40)
ESTIMATORS = {"reconstruction": ReconstructionINN, "divergence": DivergenceRegularizedINN}
MARK = 1.0  # per cent above the posterior mean
FASTER = 10
BATCH_SIZE = 128
DEFAULT, CLASSICAL, PEER = "default", "classical branch, Adam", "normflows, Adam"
COLUMNS = ["problem", "loss", "method", "seconds", "excess, %", "times the default's"]
fixed_point = partial(invert, method="fixed_point")


class Task:
    """Pairs to train with and to test with, the RMSE to come close to, and the excess allowed."""

    def __init__(self, train, test, operator, noise_level, best, mark):
        (self.X, self.Y), (self.X_test, self.Y_test) = train, test
        self.operator, self.best, self.mark = operator, best, mark
        A = np.eye(self.X.shape[1]) if operator is None else operator
        Z, Z_test = self.Y @ A, self.Y_test @ A
        self.mean, self.scale = self.X.mean(axis=0), self.X.std(axis=0).mean()
        self.epsilon = (noise_level / self.scale) ** 2
        self.x = self._tensor((self.X - self.mean) / self.scale)
        self.z, self.z_test = (self._tensor((z - Z.mean(0)) / self.scale) for z in (Z, Z_test))

    def excess(self, found):
        """RMSE above the best, in per cent."""
        return float(100 * row_rmse(found, self.X_test) / self.best - 100)

    def unit_excess(self, found):
        """The same of signals in unit scale."""
        return self.excess(self.mean + self.scale * found.numpy())

    @staticmethod
    def _tensor(values):
        return torch.from_numpy(values).to(torch.float32)


class Classical:
    """The package's classical branch with exact norms; the fixed-point iteration inverts it."""

    def __init__(self, task, loss):
        self.network = IResNet(
            task.x.shape[1], residual="mlp", hidden_layer_sizes=(128, 128), lipschitz=0.99
        )
        divergence = DivergenceLoss(task.epsilon)
        self._loss = divergence if loss == "divergence" else ReconstructionLoss()

    def loss(self, x, z):
        with patch("skinvbayes.inversion.invert.invert", fixed_point):
            return self._loss(self.network, x, z).mean()

    def prepare(self):
        """Nothing to do."""

    def inverse(self, z):
        return fixed_point(self.network, z, tol=1e-4, max_iter=1000).x


class Peer:
    """normflows' residual blocks, with a learned scale and shift after them."""

    def __init__(self, task, loss):
        self.network = torch.nn.Module()
        self.network.body = NormFlows(task.x.shape[1], (128, 128), n_blocks=2)
        self.network.log_scale = torch.nn.Parameter(torch.zeros(()))
        self.network.shift = torch.nn.Parameter(torch.zeros(task.x.shape[1]))
        self.epsilon = task.epsilon
        self.loss = self._divergence if loss == "divergence" else self._reconstruction
        self.prepare()

    def forward(self, x):
        return self.network.log_scale.exp() * self.network.body(x) + self.network.shift

    def prepare(self):
        self.network.body.prepare()

    def inverse(self, z, atol=1e-10):
        with torch.no_grad():
            z = (z - self.network.shift) / self.network.log_scale.exp()
        return self.network.body.inverse(z, atol=atol)

    def _divergence(self, x, z):
        image, jacobian = self._image_and_jacobian(x, create_graph=True)
        divergence = jacobian.diagonal(dim1=1, dim2=2).sum(1)
        return (half_square(image - z) - self.epsilon * divergence).mean()

    def _reconstruction(self, x, z):
        found = self.inverse(z, atol=1e-5)  # their default, compared with squares of steps
        image, jacobian = self._image_and_jacobian(found, retain_graph=True)
        return half_square(found - solve(jacobian, image - z) - x).mean()

    def _image_and_jacobian(self, x, **graph):
        x = x.clone().requires_grad_()
        image = self.forward(x)
        rows = [torch.autograd.grad(column.sum(), x, **graph)[0] for column in image.T]
        return image, torch.stack(rows, dim=1)


def half_square(difference):
    return 0.5 * difference.square().sum(1)


def fit_default(task, cls, sweep):
    """Seconds of the shortest fit that gets there, or None; its excess, or the lowest."""
    lowest = np.inf
    for max_iter in sweep:
        estimator = cls(operator=task.operator, max_iter=max_iter, random_state=0)
        seconds = fit_seconds(estimator, task)
        excess = task.excess(estimator.predict(task.Y_test))
        if excess <= task.mark:
            return median([seconds, *(fit_seconds(estimator, task) for _ in range(2))]), excess
        lowest = min(lowest, excess)
    return None, lowest


def fit_seconds(estimator, task):
    start = perf_counter()
    estimator.fit(task.X, task.Y)
    return perf_counter() - start


def train_loop(task, method, cap):
    """Seconds of training until it gets there, or None; its excess, or the lowest."""
    optimizer = torch.optim.Adam(method.network.parameters(), lr=1e-3)
    seconds, judge_at, lowest = 0.0, 0.1, np.inf
    while seconds < cap:
        start = perf_counter()
        for rows in torch.randperm(len(task.x)).split(BATCH_SIZE):
            optimizer.zero_grad()
            method.loss(task.x[rows], task.z[rows]).backward()
            optimizer.step()
            method.prepare()
        seconds += perf_counter() - start
        if seconds >= judge_at:
            judge_at = max(seconds + 0.1, 1.05 * seconds)
            excess = task.unit_excess(method.inverse(task.z_test))
            lowest = min(lowest, excess)
            if excess <= task.mark:
                return seconds, excess
    return None, lowest


def compare(report, name, loss, task, sweep, cap, peers):
    """Rows of the default and of the others; returns the default's seconds and the others'."""
    default, excess = fit_default(task, ESTIMATORS[loss], sweep)
    report.add(name, loss, DEFAULT, default or "–", excess, "–" if default is None else 1.0)
    found = {}
    for label, cls in ({CLASSICAL: Classical} | peers).items():
        torch.manual_seed(0)
        seconds, excess = train_loop(task, cls(task, loss), cap)
        above = "> " if seconds is None else ""
        ratio = "–" if default is None else f"{above}{(seconds or cap) / default:.3g}"
        report.add(name, loss, label, seconds or f"> {cap}", excess, ratio)
        found[label] = seconds
    return default, found


def judge(report, what, default, found, cap):
    """Note the methods that the default is not ten times faster than."""
    default = np.inf if default is None else default
    for label, seconds in found.items():
        if seconds is not None:
            report.require(f"{what}, {label}: {FASTER} × default", FASTER * default, seconds)
        elif FASTER * default > cap:
            print(f"not judged: {what}, {label} was stopped at {cap} s")


def plane(report, name, cap, peers):
    """One of the 2-D problems."""
    operator, noise_level = PROBLEMS[name]
    known = {"operator": operator, "noise_level": noise_level}
    train, test = (make_bimodal(N_PAIRS, random_state=seed, **known) for seed in (0, 1))
    best = row_rmse(posterior_mean(test.prior, test.Y, **known), test.X)
    task = Task((train.X, train.Y), (test.X, test.Y), operator, noise_level, best, MARK)
    optimum = task.excess(map_estimate(test.prior, test.Y, tol=1e-5, **known))
    for loss in ESTIMATORS:
        if loss == "divergence" and optimum > MARK:
            report.add(name, loss, "the MAP estimate itself", "–", optimum, "–")
            continue
        default, found = compare(report, name, loss, task, MAX_ITER, cap, peers)
        judge(report, f"{name}, {loss}", default, found, cap)


def digits(report, cap):
    """The blurred digits, against Ridge."""
    data = load_deblurring_digits()
    train, test = (data.X_train, data.Y_train), (data.X_test, data.Y_test)
    start = perf_counter()
    ridge = RidgeCV(np.logspace(-1, 3, 9)).fit(data.Y_train, data.X_train)
    seconds = perf_counter() - start
    best = row_rmse(ridge.predict(data.Y_test), data.X_test)
    report.add("digits", "–", "RidgeCV", seconds, 0.0, "–")
    task = Task(train, test, data.operator, data.noise_level, best, mark=0.0)
    compare(report, "digits", "divergence", task, DIGITS_EPOCHS, cap, {})


def available_peers():
    """The peer, if it is installed."""
    try:
        NormFlows(2, (8,), 1)
    except ImportError as error:
        print(f"normflows left out: {error}")
        return {}
    return {PEER: Peer}


def warm_up():
    """What only the first fit takes, before any clock runs."""
    data = make_bimodal(200, noise_level=0.3, random_state=0)
    for cls in ESTIMATORS.values():
        cls(max_iter=5, random_state=0).fit(data.X, data.Y)


def draw(plt, rows):
    """Bars of seconds on a log axis; hatched where a method was stopped at the cap."""
    rows = [row for row in rows if row["seconds"] != "–" and row["loss"] != "–"]
    groups = list(dict.fromkeys((row["problem"], row["loss"]) for row in rows))
    figure, ax = plt.subplots(figsize=(2.2 * len(groups) + 2, 5), layout="constrained")
    for i, label in enumerate((DEFAULT, CLASSICAL, PEER)):
        for row in (row for row in rows if row["method"] == label):
            capped = isinstance(row["seconds"], str)
            seconds = float(row["seconds"].strip("> ")) if capped else row["seconds"]
            x = groups.index((row["problem"], row["loss"])) + 0.28 * (i - 1)
            style = {"color": f"C{i}", "hatch": "//" if capped else None, "edgecolor": "white"}
            ax.bar(x, seconds, 0.26, **style)
            text = row["seconds"] if capped else f"{seconds:.2g}"
            ax.annotate(text, (x, seconds), ha="center", va="bottom", fontsize="small")
        ax.bar(0, 0, color=f"C{i}", label=label)
    ax.set_xticks(range(len(groups)), [f"{problem}\n{loss}" for problem, loss in groups])
    ax.set(yscale="log", ylabel="seconds of training", title=f"time to {MARK:g} % excess")
    ax.margins(y=0.12)
    title = "hatched: stopped before it got there"
    figure.legend(loc="outside lower center", ncols=3, title=title)
    return figure


def main():
    options = arguments(__doc__.splitlines()[0])
    cap = 15 if options.quick else 60
    peers = available_peers()
    warm_up()
    report = Report("time_to_accuracy", COLUMNS, options.quick)
    for name in QUICK if options.quick else PROBLEMS:
        plane(report, name, cap, peers)
    digits(report, cap)
    report.finish(draw)


if __name__ == "__main__":
    main()
