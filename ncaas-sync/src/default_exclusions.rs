//! The paths of a container that are never results, unless `--all` is given.

use ncaas_core::layout::WORKFLOW_LOCATION;

/// Files of programs that are not results: caches, temporary files, the state of package managers, shell histories.
/// `--all` includes them, and the [histories](ncaas_core::engine::container_layer::HISTORIES).
///
/// A pattern without `/` is a file or folder name anywhere; one with `/` is a path from the root.
pub(crate) const DEFAULT_EXCLUSIONS: &[&str] = &[
    // Temporary files and system folders.
    "/tmp",
    "/var/tmp",
    "/run",
    "/var/run",
    "/dev",
    "/proc",
    "/sys",
    "/var/log",
    "/var/lock",
    "/.dockerenv",
    // Caches.
    "/var/cache",
    ".cache",
    "__pycache__",
    "*.py[cod]",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".mypy_cache",
    ".numba_cache",
    ".nv",
    ".theano",
    "/**/.config/matplotlib",
    "/etc/ld.so.cache",
    // Package managers.
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/opt/conda/pkgs",
    "/**/.conda/pkgs",
    "/**/conda-meta",
    ".npm",
    "/**/.cargo/registry",
    // The platform's workflow client.
    WORKFLOW_LOCATION,
    "*.sw[op]",
];
