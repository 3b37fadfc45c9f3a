"""
Can what was learned from small patches denoise a whole photo?
==============================================================

With ``residual="conv"`` the network has the same filters at every pixel. It learns from patches of
some photos and is then used for others, of any size. Total variation, with the weight that is best
in hindsight, is what one would take without training.
"""

import os

import matplotlib.pyplot as plt
import numpy as np
from skimage.restoration import denoise_tv_chambolle

from skinvbayes import ReconstructionINN
from skinvbayes.datasets import load_photos
from skinvbayes.plotting import ImagesDisplay

n_patches = int(os.environ.get("SKINVBAYES_EXAMPLE_SAMPLES", 1200)) // 4
size = 96
data = load_photos(n_patches=n_patches, patch_size=24, test_size=size)
estimator = ReconstructionINN(
    operator=data.operator,
    noise_level=data.noise_level,
    residual="conv",
    image_shape=data.image_shape,
    kernel_size=5,
    batch_size=4,
    learning_rate_init=0.02,
    max_iter=4 if n_patches >= 300 else 1,
    random_state=0,
).fit(data.X_train, data.Y_train)

# %%
# The same filters, for images of another size. Nothing is trained.
whole = estimator.adapt(image_shape=(size, size), operator=data.operator_test)
found = whole.predict(data.Y_test)


# %%
# How far from the truth is each, in decibel?
def psnr(images):
    return -10 * np.log10(((images - data.X_test) ** 2).mean(axis=1)).mean()


def total_variation(weight):
    images = data.Y_test.reshape(-1, size, size)
    return np.array([denoise_tv_chambolle(image, weight).ravel() for image in images])


smoothed = max((total_variation(weight) for weight in (0.06, 0.08, 0.1, 0.12)), key=psnr)
for name, images in {
    "noisy": data.Y_test,
    "total variation, best weight": smoothed,
    "ReconstructionINN": found,
}.items():
    print(f"{name}: {psnr(images):.2f} dB")

# %%
# What each makes of the photos.
rows = {
    "truth": data.X_test,
    "noisy": data.Y_test,
    "total variation": smoothed,
    "ReconstructionINN": found,
}
ImagesDisplay.from_predictions(
    rows, image_shape=(size, size), errors=["total variation", "ReconstructionINN"]
)
plt.show()
