#!/usr/bin/env bash
# What the platform runs in the container, once for each dataset.
set -euo pipefail

usage() {
    cat <<END
usage: run.sh DATASET CONFIG

Principal components of a recording.

  DATASET  a .npy file, samples x channels
  CONFIG   a YAML file: n_components, standardize

Writes pcaresults.npz to io-dir/results, and ~/out/summary.json.
END
}

case ${1:-} in
    -h | --help)
        usage
        exit
        ;;
esac
if (($# != 2)); then
    usage >&2
    exit 2
fi

# Made absolute before the folder changes, or relative paths would no longer lead to them. From here on always quoted:
# a dataset may be called "day 1 (left).npy".
data=$(realpath -- "$1")
config=$(realpath -- "$2")

# The script's own folder, wherever it is called from.
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

# An analysis with a conda environment activates it here, with `source activate NAME`. `conda activate` works at a
# prompt only.

# exec: the analysis takes the place of this shell, so its exit status is the job's.
# -u: what it prints is in the log at once.
exec python3 -u pca.py --results "$HOME/io-dir/results" --summary "$HOME/out" "$data" "$config"
