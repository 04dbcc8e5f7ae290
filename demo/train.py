"""Trains a small network on half of scikit-learn's digits: `python -m demo.train VERSION_DIR`."""

import sys

import keras
from sklearn.datasets import load_digits


def main(version_dir: str) -> None:
    digits = load_digits()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8), name="image"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(digits.images[::2], digits.target[::2], epochs=30, verbose=0)
    model.export(version_dir, verbose=False)


if __name__ == "__main__":
    main(sys.argv[1])
