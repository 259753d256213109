#!/usr/bin/env python3
"""Draws a two-dimensional map of proteins from an embeddings.h5 of protalbert_embed: a dot a protein, at the two
directions in which the mean vectors differ most (principal components)."""

import argparse
import sys

import h5py
import matplotlib
import numpy

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Directions change little with more proteins than this, and 100,000 vectors of 4096 elements take 1.6 GB.
MOST_FOR_DIRECTIONS = 20000


def read_labels(path):
    """{id: label} of a text file with an id, white space and a label a line."""
    labels = {}
    with open(path) as lines:
        for number, line in enumerate(lines, 1):
            words = line.split(maxsplit=1)
            if len(words) != 2:
                sys.exit(f"error: {path}, line {number}: expected an id and a label")
            labels[words[0]] = words[1].strip()
    return labels


def principal_components(vectors):
    """Projections [N, 2] on the two main directions, and the shares of the variance that lie along them."""
    centred = vectors - vectors.mean(axis=0)
    step = max(1, -(-len(centred) // MOST_FOR_DIRECTIONS))
    _, sizes, directions = numpy.linalg.svd(centred[::step], full_matrices=False)
    return centred @ directions[:2].T, sizes[:2] ** 2 / (sizes**2).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embeddings", help="HDF5 file of protalbert_embed, flat, with --pool mean")
    parser.add_argument("--labels", help="text with an id and a label a line: colours (default: the length's logarithm)")
    parser.add_argument("--output", default="map.png", help="PNG to write (default: %(default)s)")
    arguments = parser.parse_args()

    with h5py.File(arguments.embeddings, "r") as file:
        if "mean" not in file:
            sys.exit(f"error: {arguments.embeddings} has no /mean; embed with --layout flat and --pool mean")
        vectors = file["mean"][()].astype(numpy.float32)
        lengths = file["lengths"][()]
        ids = file["ids"].asstr()[()]
    there = numpy.isfinite(vectors).all(axis=1)  # not those without residues, too long or skipped
    vectors, lengths, ids = vectors[there], lengths[there], ids[there]
    if len(vectors) < 3:
        sys.exit(f"error: {arguments.embeddings} has {len(vectors)} embedded proteins; a map needs three")
    places, shares = principal_components(vectors)

    figure, axes = plt.subplots(figsize=(8, 6))
    size = min(20.0, max(1.0, 20000 / len(places)))
    if arguments.labels:
        labels = read_labels(arguments.labels)
        names = numpy.array([labels.get(name, "no label") for name in ids])
        for number, name in enumerate(sorted(set(names))):
            chosen = places[names == name]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=size, color=f"C{number % 10}", label=f"{name} ({len(chosen)})")
        axes.legend(markerscale=max(1, 4 / size**0.5), fontsize="small")
    else:
        dots = axes.scatter(places[:, 0], places[:, 1], s=size, c=numpy.log10(lengths), cmap="viridis")
        figure.colorbar(dots, label="length (log10 of residues)")
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({shares[1]:.0%})")
    axes.set_title(f"{len(places)} proteins")
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=150)
    print(f"{arguments.output}: {len(places)} proteins; the two directions hold {shares.sum():.0%} of the variance")


if __name__ == "__main__":
    main()
