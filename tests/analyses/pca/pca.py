"""Principal components of a multichannel recording, by singular value decomposition."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import yaml


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a .npy array, samples x channels")
    parser.add_argument("config", type=Path, help="a YAML file with n_components and standardize")
    parser.add_argument("--results", type=Path, required=True, help="folder for pcaresults.npz")
    parser.add_argument("--summary", type=Path, required=True, help="folder for summary.json")
    args = parser.parse_args()

    try:
        config = read_config(args.config)
        recording = read_recording(args.data, config["n_components"])
    except (OSError, ValueError, yaml.YAMLError) as error:
        sys.exit(f"pca: {error}")

    samples, channels = recording.shape
    print(f"read {args.data.name}: {samples} samples x {channels} channels")

    print(f"fitting {config['n_components']} components")
    fit = principal_components(recording, **config)
    for number, share in enumerate(fit["explained_variance_ratio"], start=1):
        print(f"component {number:2d} explains {share:6.1%} of the variance")
    print(f"together they explain {fit['explained_variance_ratio'].sum():.1%}")

    args.results.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.results / "pcaresults.npz", **fit)
    args.summary.mkdir(parents=True, exist_ok=True)
    summary = {
        "dataset": args.data.name,
        "samples": samples,
        "channels": channels,
        **config,
        "explained_variance_ratio": [round(float(share), 6) for share in fit["explained_variance_ratio"]],
    }
    (args.summary / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    print("wrote pcaresults.npz and summary.json")


def read_config(path):
    """The settings that this analysis knows. The platform's own (`__duration__`) may stand beside them."""
    config = yaml.safe_load(path.read_text()) or {}
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} holds no settings: `n_components: 15`")
    n_components = config.get("n_components")
    if type(n_components) is not int or n_components < 1:
        raise ValueError(f"n_components in {path.name} is {n_components!r}: it must be a whole number from 1")
    return {"n_components": n_components, "standardize": bool(config.get("standardize", False))}


def read_recording(path, n_components):
    """A samples x channels array of float64 with at least `n_components` on either axis."""
    try:
        recording = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path.name} is not a .npy array") from error
    if not isinstance(recording, np.ndarray) or recording.dtype.kind not in "iuf":
        raise ValueError(f"{path.name} does not hold one array of numbers")
    if recording.ndim != 2:
        raise ValueError(f"{path.name} has {recording.ndim} dimensions: it must be samples x channels")
    if n_components > min(recording.shape):
        raise ValueError(f"n_components is {n_components}, but {path.name} is only {recording.shape}")
    recording = recording.astype(np.float64)
    if not np.isfinite(recording).all():
        raise ValueError(f"{path.name} holds values that are not finite numbers")
    return recording


def principal_components(recording, n_components, standardize):
    """Components (n_components x channels, orthonormal rows), scores (samples x n_components), and their variances."""
    mean = recording.mean(axis=0)
    scale = recording.std(axis=0) if standardize else np.ones_like(mean)
    scale[scale == 0] = 1.0  # a dead channel stays zero
    left, singular, components = np.linalg.svd((recording - mean) / scale, full_matrices=False)

    # The sign of a component is arbitrary: its largest weight is made positive, so that runs can be compared.
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    scores, components = left * singular * signs, components * signs[:, np.newaxis]

    variance = singular**2 / max(len(recording) - 1, 1)
    total = variance.sum() or 1.0
    return {
        "components": components[:n_components],
        "scores": scores[:, :n_components],
        "explained_variance": variance[:n_components],
        "explained_variance_ratio": variance[:n_components] / total,
        "mean": mean,
        "scale": scale,
    }


if __name__ == "__main__":
    main()
