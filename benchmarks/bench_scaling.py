"""How do training time and memory grow with the pairs, the features and the units?

``DivergenceRegularizedINN`` with Adam in batches of 250, on smooth signals without an operator.
Seconds of an epoch, seconds of the set-up (all of ``fit`` but the epochs), peak memory of ``fit``
beyond what the process had once the data were made, and how much of it the epochs add to the
set-up. Each measurement is a process of its own.

Exits with status 1 when an epoch grows faster than n^1.05 or d^1.3, fitted over the larger half of
the sizes, or when the epochs add more than 64 MB for the largest n. A sweep ends where a fit takes
more than a minute or fails, with a note in its row.
"""

import multiprocessing
import os
import resource
from time import perf_counter
from unittest import mock

import numpy as np
from measuring import Report, arguments

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.training.adam import Adam

SWEEPS = {  # what varies: its sizes, and the others
    "n": ((1000, 10_000, 100_000, 1_000_000), {"d": 16, "units": 128}),
    "d": ((2, 16, 64, 256, 1024, 4096), {"n": 2000, "units": 128}),
    "units": ((32, 64, 128, 256, 512, 1024), {"d": 64, "n": 4000}),
}
EXPONENT_LIMITS = {"n": 1.05, "d": 1.3}
EPOCHS_MEMORY = 64  # MB
BATCH_SIZE = 250
STEPS, EPOCHS = 200, 3  # of Adam at least, roughly
LONG, LIMIT = 60, 300  # seconds of a fit that end a sweep, and after which it is stopped
MEGABYTE = 2**20
COLUMNS = [
    *("varied", "n", "d", "units", "epoch, s", "set-up, s"),
    *("data, MB", "memory, MB", "epochs, MB", "note"),
]


def make_data(n, d):
    """Smooth signals and noisy measurements of them, made in place."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((n, d)), rng.standard_normal((n, d))
    np.tanh(X, out=X)
    Y *= 0.3
    Y += X
    return X, Y


def fit(X, Y, units, max_iter):
    """Seconds of an epoch (the median), of the set-up and of all; bytes that the epochs add."""
    estimator = DivergenceRegularizedINN(
        noise_level=0.3,
        prior_bandwidth=0,
        hidden_layer_sizes=(units,),
        solver="adam",
        batch_size=BATCH_SIZE,
        max_iter=max_iter,
        tol=0,
        random_state=0,
    )
    steps = max(1, len(X) // BATCH_SIZE)  # of an epoch
    n_steps = 0
    ticks, memory, peaks = [], [], []  # at the first step of every epoch

    def counted_step(optimizer):
        nonlocal n_steps
        if n_steps % steps == 0:
            ticks.append(perf_counter())
            memory.append(resident())
            peaks.append(peak())
        n_steps += 1
        step(optimizer)

    step, start = Adam.step, perf_counter()
    with mock.patch.object(Adam, "step", counted_step):
        estimator.fit(X, Y)
    seconds = perf_counter() - start
    # A peak of the epochs below the peak of the set-up cannot be seen, but needs no memory either.
    highest = peaks[-1] if peaks[-1] > peaks[0] else max(memory)
    epoch = float(np.median(np.diff(ticks)))
    return epoch, seconds - len(ticks) * epoch, seconds, highest - memory[0]


def measure(n, d, units):
    """What ``fit`` gives, the bytes of the data and those beyond them at the peak."""
    fit(*make_data(300, 2), 32, 2)  # the first fit of a process takes longer
    X, Y = make_data(n, d)
    before = resident()
    figures = fit(X, Y, units, max(EPOCHS, STEPS * BATCH_SIZE // n))
    return *figures, X.nbytes + Y.nbytes, peak() - before


def peak():
    """The most bytes of memory that the process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident():
    """Bytes of memory that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_own_process(*size):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply_async(measure, size).get(LIMIT)


def sweep(report, varied, sizes):
    """Measure size after size."""
    others = SWEEPS[varied][1]
    for size in sizes:
        case = {"n": others.get("n"), "d": others.get("d"), "units": others.get("units")}
        case[varied] = size
        try:
            epoch, setup, seconds, added, data, beyond = in_own_process(*case.values())
        except multiprocessing.TimeoutError:
            report.add(varied, *case.values(), *5 * ["–"], f"stopped after {LIMIT} s: ends here")
            return
        except Exception as error:
            report.add(varied, *case.values(), *5 * ["–"], f"failed: {error!r:.60}")
            return
        note = f"fit took {seconds:.0f} s: ends here" if seconds > LONG else ""
        memory = (data / MEGABYTE, beyond / MEGABYTE, added / MEGABYTE)
        report.add(varied, *case.values(), epoch, setup, *memory, note)
        if note:
            return


def measured(rows, varied, column):
    """Sizes and figures of a sweep, as far as it got."""
    found = [row for row in rows if row["varied"] == varied and row[column] != "–"]
    return np.array([row[varied] for row in found]), np.array([row[column] for row in found])


def power_law(sizes, values):
    """Exponent and factor over the larger half of the sizes, by least squares of logarithms."""
    n_used = max(2, len(sizes) // 2)
    exponent, intercept = np.polyfit(np.log(sizes[-n_used:]), np.log(values[-n_used:]), 1)
    return exponent, np.exp(intercept)


def judge(report):
    """Compare exponents and memory with their thresholds."""
    for varied in SWEEPS:
        for column in ("epoch, s", "set-up, s"):
            exponent = power_law(*measured(report.rows, varied, column))[0]
            print(f"{column[:-3]} grows like {varied}^{exponent:.2f}")
            if column == "epoch, s" and varied in EXPONENT_LIMITS:
                limit = EXPONENT_LIMITS[varied]
                report.require(f"exponent of an epoch in {varied}", exponent, limit)
    sizes, beyond = measured(report.rows, "n", "memory, MB")
    data = measured(report.rows, "n", "data, MB")[1][-1]
    print(f"memory at n = {sizes[-1]:,} beyond the data: {beyond[-1] / data:.1f} times the data")
    added = measured(report.rows, "n", "epochs, MB")[1][-1]
    report.require(f"MB that the epochs add at n = {sizes[-1]:,}", added, EPOCHS_MEMORY)


def draw(plt, rows):
    """Seconds and memory against each of the sizes, on log axes."""
    figure, axes = plt.subplots(2, len(SWEEPS), figsize=(13, 8), layout="constrained", sharex="col")
    names = {"n": "pairs n", "d": "features d", "units": "hidden units"}
    for (upper, lower), varied in zip(axes.T, SWEEPS, strict=True):
        for i, column in enumerate(("epoch, s", "set-up, s")):
            sizes, values = measured(rows, varied, column)
            exponent, factor = power_law(sizes, values)
            label = f"{column[:-3]} (slope {exponent:.2f})"
            upper.loglog(sizes, values, "o", color=f"C{i}", label=label)
            fitted = sizes[-max(2, len(sizes) // 2) :]
            upper.loglog(fitted, factor * fitted**exponent, "-", color=f"C{i}")
        for i, column in enumerate(("memory, MB", "data, MB")):
            label = ("peak beyond the data", "data")[i]
            lower.loglog(*measured(rows, varied, column), "o-", color=f"C{i + 2}", label=label)
        fixed = ", ".join(f"{name} = {size:,}" for name, size in SWEEPS[varied][1].items())
        upper.set(title=fixed, ylabel="seconds")
        lower.set(xlabel=names[varied], ylabel="MB")
        lower.set_xticks(sizes, [f"{size:,}" for size in sizes])
        lower.minorticks_off()
        upper.legend()
        lower.legend()
    return figure


def main():
    options = arguments(__doc__.splitlines()[0])
    report = Report("scaling", COLUMNS, options.quick)
    for varied, (sizes, _) in SWEEPS.items():
        sweep(report, varied, sizes[: len(sizes) // 2] if options.quick else sizes)
    judge(report)
    report.finish(draw)


if __name__ == "__main__":
    main()
