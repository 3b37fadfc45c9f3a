"""What does an inversion cost, in forward passes of the same network?

1,000 points are inverted in single precision to a residual of 1e-6 times max(‖z‖, 1) of each point,
after training, beside the time of one forward pass of the same points. Peers run to the same
residual where their interface lets them (normflows, tightened and with its default), else with
their default number of iterations. Exits with status 1 where a ratio or a residual is past its
threshold.
"""

from functools import partial

import torch
from measuring import Report, arguments, medians
from peers import PEERS

from skinvbayes.inversion.invert import invert
from skinvbayes.losses import ApproximationLoss, DivergenceLoss
from skinvbayes.networks import IResNet

N_POINTS, TOLERANCE, NOISE = 1000, 1e-6, 0.3
# branch, number of blocks, hidden layers
NETWORKS = [("gradient", 1, (128,)), ("mlp", 1, (128, 128)), ("mlp", 4, (128, 128))]
LIMITS = {2: {0.9: 8, 0.999: 20}, 64: {0.9: 8, 0.999: 20}, 784: {0.9: 15, 0.999: 15}}


def data(n_features, n_samples):
    """Three clusters of variance one, seen through a map with slopes from 0.2 to 1.6 and noise."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, n_features, generator=generator)
    x = means[torch.randint(0, 3, (n_samples,), generator=generator)]
    x = x + 0.3 * torch.randn(x.shape, generator=generator)
    x = (x - x.mean(0)) / x.std()
    z = torch.linspace(0.5, 1.3, n_features) * x + 0.15 * (2 * x).sin()
    return x, z + NOISE * torch.randn(x.shape, generator=generator)


def train(network, mean_loss, x, z, n_steps, prepare=lambda: None):
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(n_steps):
        rows = torch.randint(0, len(x), (256,), generator=generator)
        optimizer.zero_grad()
        mean_loss(network, x[rows], z[rows]).backward()
        optimizer.step()
        prepare()
    return network.eval()


def ours(n_features, branch, n_blocks, hidden, lipschitz, x, z, n_steps):
    """A trained network: by the divergence loss, of several blocks by the approximation loss."""
    loss = DivergenceLoss(NOISE**2) if n_blocks == 1 else ApproximationLoss()
    network = IResNet(
        n_features,
        residual=branch,
        n_blocks=n_blocks,
        hidden_layer_sizes=hidden,
        lipschitz=lipschitz,
    )
    network.reference = x[: len(network.reference)]  # as an estimator chooses them
    return train(network, lambda network, x, z: loss(network, x, z).mean(), x, z, n_steps)


def squared_error(network, x, z):
    return 0.5 * (network(x) - z).square().sum(1).mean()


def main():
    options = arguments(__doc__.splitlines()[0])
    report = Report(
        "inverse",
        ["d", "L", "method", "blocks", "forward, ms", "inverse, ms", "ratio", "residual / scale"],
        options.quick,
    )
    seconds = 0.3 if options.quick else 1.0

    def measure(n_features, lipschitz, method, network, inverse, z):
        @torch.no_grad()
        def forward():
            frozen(z)

        frozen = network.frozen() if isinstance(network, IResNet) else network
        functions = {"forward": forward, "inverse": lambda: inverse(z)}
        times = medians(functions, seconds)
        with torch.no_grad():
            residual = (network(inverse(z)) - z).norm(dim=1) / z.norm(dim=1).clamp(min=1)
            residual = float(residual.max())
        ratio = times["inverse"] / times["forward"]
        report.add(
            *(n_features, lipschitz, method, len(network.blocks)),
            *(1e3 * times["forward"], 1e3 * times["inverse"], ratio, residual),
        )
        return ratio, residual

    for n_features in (2, 64) if options.quick else (2, 64, 784):
        x, z = data(n_features, 4000)
        points = z[:N_POINTS]
        n_steps = 100 if options.quick else 400 if n_features < 784 else 200
        for branch, n_blocks, hidden in NETWORKS:
            for lipschitz in (0.9, 0.99, 0.999):
                network = ours(n_features, branch, n_blocks, hidden, lipschitz, x, z, n_steps)
                ratio, residual = measure(
                    *(n_features, lipschitz, branch, network),
                    lambda z, network=network: invert(network, z, tol=TOLERANCE).x,
                    points,
                )
                where = f"{branch}, {n_blocks} blocks, d = {n_features}, L = {lipschitz}"
                report.require(f"residual, {where}", residual, 1.1 * TOLERANCE)
                if lipschitz in LIMITS[n_features]:
                    report.require(f"ratio, {where}", ratio, LIMITS[n_features][lipschitz])
        for name, peer in {} if options.quick else PEERS.items():
            try:
                network = peer(n_features, (128, 128), 4)
            except ImportError:
                print(f"{name} is not installed and left out")
                continue
            train(network, squared_error, x, z, n_steps, network.prepare)
            inverses = {name: network.inverse}
            if name == "normflows":  # it stops where the squared steps are below its tolerance
                inverses["normflows, tight"] = partial(network.inverse, atol=1e-13)
            for method, inverse in inverses.items():
                measure(n_features, 0.9, method, network, inverse, points)
    report.finish(None if options.quick else draw)


def draw(plt, rows):
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    for ax, n_features in zip(axes, (2, 64, 784), strict=True):
        shown = [row for row in rows if row["d"] == n_features]
        names = [f"{row['method']}, {row['blocks']} blocks, L = {row['L']}" for row in shown]
        ax.barh(names, [row["ratio"] for row in shown], color="C0")
        for position, row in enumerate(shown):
            if row["residual / scale"] > 1.1 * TOLERANCE:
                ax.text(row["ratio"], position, f" residual {row['residual / scale']:.0e}")
        ax.set(title=f"d = {n_features}", xlabel="time over a forward pass")
    axes[0].invert_yaxis()
    return figure


if __name__ == "__main__":
    main()
