"""What a user runs first, with the package that is installed and without any extra."""

import importlib.metadata

import skinvbayes
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_bimodal

problem = make_bimodal(200, random_state=0)
model = DivergenceRegularizedINN(max_iter=5, random_state=0).fit(problem.X, problem.Y)
found = model.predict(problem.Y)
assert found.shape == problem.X.shape
assert skinvbayes.__version__ == importlib.metadata.version("skinvbayes")
print("skinvbayes", skinvbayes.__version__, "from", skinvbayes.__file__)
