"""What does a training step cost, beside one that only fits a plain residual network?

One step of Adam (256 pairs, hidden layers of 128 units) for every loss and branch of this package,
relative to the step of an unconstrained residual network with as many blocks and hidden layers on
½‖φ(x) − z‖² alone, measured in turns. Peers take the log-determinant. Beside every time stands how
far the gradient is from a finite difference, in double precision, and the exact bound of Lip(f),
which has to stay below the 0.9 asked for. "closed form" is the branch of ReconstructionINN: the
gradient branch as the inverse itself, of 8 units with 16 pieces. Exits with status 1 where a ratio
is past its threshold.
"""

from functools import partial

import torch
from measuring import Report, arguments, medians
from peers import PEERS, Plain, exact_bound

from skinvbayes.losses import ApproximationLoss, DivergenceLoss, LogDetLoss, ReconstructionLoss
from skinvbayes.networks import ExplicitInverse, IResNet

LIPSCHITZ, BATCH, EPSILON, WARM_UP = 0.9, 256, 0.09, 20
HIDDEN = {"gradient": (128,), "mlp": (128, 128)}
CLOSED_FORM, UNITS, PIECES = "closed form", 8, 16
LOSSES = {
    "approximation": ApproximationLoss(),
    "divergence": DivergenceLoss(EPSILON),
    "log-determinant": LogDetLoss(EPSILON),
    "reconstruction": ReconstructionLoss(),
}
# loss, branch, number of features: largest ratio, of one block
LIMITS = {
    ("divergence", "gradient"): {2: 1.5, 64: 1.5, 784: 1.5},
    ("divergence", "mlp"): {2: 2, 64: 2, 784: 2},
    ("log-determinant", "gradient"): {2: 3, 64: 4, 784: 3},
    ("log-determinant", "mlp"): {2: 3, 64: 4, 784: 3},
    ("reconstruction", "gradient"): {2: 5, 64: 10, 784: 9},
    ("reconstruction", "mlp"): {2: 5, 64: 10, 784: 9},
    ("reconstruction", CLOSED_FORM): {2: 1.5, 64: 1.5, 784: 1.5},
}
LARGEST_ERROR = 1e-3  # of a gradient


def data(n_features):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, n_features, generator=generator)
    return x, x + 0.3 * torch.randn(x.shape, generator=generator)


def step_of(network, mean_loss, prepare=lambda: None):
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        mean_loss(network).backward()
        optimizer.step()
        prepare()

    return step


def squared_error(network, x, z):
    return 0.5 * (network(x) - z).square().sum(1).mean()


def peer_loss(network, x, z):
    image, logabsdet = network.call_and_logabsdet(x)
    return 0.5 * (image - z).square().sum(1).mean() - EPSILON * logabsdet.mean()


def gradient_error(network, mean_loss):
    """Relative difference of the gradient from a central difference, along a random direction."""
    parameters = list(network.parameters())
    mean_loss(network).backward()
    gradient = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).ravel() for p in parameters]
    )
    network.zero_grad()
    vector = torch.nn.utils.parameters_to_vector(parameters).detach()
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(vector.shape, generator=generator, dtype=vector.dtype)
    direction = direction / direction.norm() + gradient / gradient.norm()
    values = []
    for length in (1e-5, -1e-5):
        torch.nn.utils.vector_to_parameters(vector + length * direction, parameters)
        values.append(mean_loss(network).item())
    torch.nn.utils.vector_to_parameters(vector, parameters)
    difference = (values[0] - values[1]) / 2e-5
    return abs(float(gradient @ direction) / difference - 1)


def ours(n_features, n_blocks, branch, loss, x, z):
    """Step, error of the gradient and exact bound."""

    def mean_loss(network, x, z):
        return loss(network.for_step(), x, z).mean()

    def make():
        sizes = {"n_blocks": n_blocks, "lipschitz": LIPSCHITZ}
        if branch != CLOSED_FORM:
            return IResNet(n_features, residual=branch, hidden_layer_sizes=HIDDEN[branch], **sizes)
        options = {"n_pieces": PIECES, "n_subtracted": 0}
        return ExplicitInverse(
            IResNet(n_features, hidden_layer_sizes=(UNITS,), block_options=options, **sizes)
        )

    network = make().train()
    step = step_of(network, partial(mean_loss, x=x, z=z))
    for _ in range(WARM_UP):
        step()
    exact = make().double()
    exact.load_state_dict(network.state_dict())
    few = slice(None, 32)  # the finite difference needs no more
    error = gradient_error(exact, partial(mean_loss, x=x[few].double(), z=z[few].double()))
    with torch.no_grad():
        return step, error, float(exact.lipschitz().max())


def cases(n_features, n_blocks, quick):
    """Name of the method: loss, branch, step, error of the gradient, exact bound."""
    x, z = data(n_features)
    found = {}
    for n_hidden in (1, 2):
        network = Plain(n_features, n_hidden * (128,), n_blocks)
        step = step_of(network, partial(squared_error, x=x, z=z))
        found[f"plain, {n_hidden} hidden"] = (step, 0.0, float("nan"))
    for branch in HIDDEN:
        for name, loss in LOSSES.items():
            several = n_blocks > 1 and name in ("divergence", "reconstruction")
            if several and n_features > 2:
                continue  # the exact divergence of a composition needs its Jacobian
            found[name, branch] = ours(n_features, n_blocks, branch, loss, x, z)
    if n_blocks == 1:
        name = "reconstruction"
        found[name, CLOSED_FORM] = ours(n_features, n_blocks, CLOSED_FORM, LOSSES[name], x, z)
    for name, peer in {} if quick else PEERS.items():
        try:
            network = peer(n_features, (128, 128), n_blocks)
        except ImportError:
            print(f"{name} is not installed and left out")
            continue
        step = step_of(network, partial(peer_loss, x=x, z=z), network.prepare)
        for _ in range(WARM_UP):
            step()
        found["log-determinant", name] = (step, float("nan"), exact_bound(network))
    return found


def draw(plt, rows):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    for ax, n_features in zip(axes, (2, 64, 784), strict=True):
        shown = [row for row in rows if row["d"] == n_features and row["blocks"] == 1]
        names = [f"{row['loss']}, {row['branch']}" for row in shown]
        ax.barh(names, [row["ratio"] for row in shown], color="C0")
        ax.axvline(1, color="k", linewidth=1)
        ax.set(xscale="log", title=f"d = {n_features}", xlabel="time over a plain step")
    axes[0].invert_yaxis()
    return figure


def main():
    options = arguments(__doc__.splitlines()[0])
    columns = ["d", "blocks", "loss", "branch", "ms", "ratio", "gradient error", "exact bound"]
    report = Report("step", columns, options.quick)
    for n_features in (2, 64) if options.quick else (2, 64, 784):
        for n_blocks in (1, 4):
            found = cases(n_features, n_blocks, options.quick)
            steps = {name: step for name, (step, _, _) in found.items()}
            times = medians(steps, 0.3 if options.quick else 1.0)
            for name, (_, error, bound) in found.items():
                if isinstance(name, str):
                    loss, branch, n_hidden = "approximation", name, int(name[7])
                else:
                    loss, branch = name
                    n_hidden = 1 if branch in ("gradient", CLOSED_FORM) else 2
                ratio = times[name] / times[f"plain, {n_hidden} hidden"]
                report.add(
                    *(n_features, n_blocks, loss, branch, 1e3 * times[name], ratio, error, bound)
                )
                where = f"{loss}, {branch}, d = {n_features}, {n_blocks} blocks"
                if n_blocks == 1 and name in LIMITS:
                    report.require(f"ratio, {where}", ratio, LIMITS[name][n_features])
                if branch in (*HIDDEN, CLOSED_FORM):
                    report.require(f"gradient error, {where}", error, LARGEST_ERROR)
                    report.require(f"exact bound, {where}", bound, LIPSCHITZ)
    report.finish(draw if not options.quick else None)


if __name__ == "__main__":
    main()
