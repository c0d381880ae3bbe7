//! Which files are meant: what `--include` and `--exclude` say, less what nobody means.

use clap::Args;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use ncaas_core::failure::{Failure, Kind, Result};

/// What programs leave behind that is nobody's result: caches, temporary files, the state of package managers, the
/// histories of shells. `--all` lifts it.
///
/// A pattern without `/` is a file's or folder's name anywhere; one with `/` is a path from the root.
pub(crate) const NOISE: &[&str] = &[
    // Temporary, and the system's own.
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
    // Shells, editors and the like.
    ".bash_history",
    ".python_history",
    ".ash_history",
    ".zsh_history",
    ".sh_history",
    ".lesshst",
    ".viminfo",
    ".wget-hsts",
    "*.sw[op]",
];

/// The flags that say which files are meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SelectArgs {
    /// Take only what matches; `*.npy` is a name anywhere, `out/**` a path. Can be given more than once
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,

    /// Leave out what matches. Can be given more than once
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,

    /// Take caches, temporary files, package managers' state and shell histories too
    #[arg(long)]
    pub(crate) all: bool,
}

/// Which files are meant.
#[derive(Debug, Clone)]
pub(crate) struct Select {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Select {
    pub(crate) fn new(args: &SelectArgs) -> Result<Select> {
        let noise = NOISE.iter().copied().filter(|_| !args.all);
        let exclude = args.exclude.iter().map(String::as_str).chain(noise);
        Ok(Select {
            include: if args.include.is_empty() { None } else { Some(globs(args.include.iter().map(String::as_str))?) },
            exclude: globs(exclude)?,
        })
    }

    /// Whether a file is meant. `absolute` is where it lies in the container, `relative` where it comes to lie.
    pub(crate) fn takes(&self, absolute: &str, relative: &str) -> bool {
        let wanted = |set: &GlobSet| set.is_match(absolute) || set.is_match(relative);
        self.include.as_ref().is_none_or(wanted) && !wanted(&self.exclude)
    }

    /// Whether a whole folder is left out, so that nobody need look into it.
    pub(crate) fn leaves_out(&self, absolute: &str) -> bool {
        self.exclude.is_match(absolute)
    }
}

/// Globs as one set. Each matches what it names, and all that is below that.
pub(crate) fn globs<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let plain = pattern.trim_end_matches('/');
        let anywhere = if plain.contains('/') { plain.to_owned() } else { format!("**/{plain}") };
        for glob in [format!("{anywhere}/**"), anywhere] {
            let glob = GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(|error| bad(pattern, &error))?);
        }
    }
    set.build().map_err(|error| bad("", &error))
}

fn bad(pattern: &str, error: &globset::Error) -> Failure {
    Failure::new(Kind::Usage, format!("`{pattern}` is no glob: {}", error.kind()))
        .hint("`*.npy` is a name anywhere, `out/**` a path; quote it, so that the shell leaves it alone")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose globs cannot be read has failed")]
mod tests {
    use super::*;

    fn select(include: &[&str], exclude: &[&str], all: bool) -> Select {
        let owned = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        Select::new(&SelectArgs { include: owned(include), exclude: owned(exclude), all }).unwrap()
    }

    #[test]
    fn noise_is_left_out_wherever_it_lies() {
        let select = select(&[], &[], false);
        for noise in
            ["/tmp/x", "/home/u/__pycache__/a.pyc", "/home/u/.cache/pip/x", "/root/.bash_history", "/var/cache/apt/x"]
        {
            assert!(!select.takes(noise, noise), "{noise}");
        }
        for result in ["/home/u/out/fig.png", "/home/u/tmp/x", "/data/cache/x", "/home/u/history", "/home/u/x.pyx"] {
            assert!(select.takes(result, result), "{result}");
        }
        assert!(super::tests::select(&[], &[], true).takes("/tmp/x", "outside/tmp/x"));
    }

    #[test]
    fn a_glob_without_a_slash_is_a_name_and_one_with_a_slash_a_path() {
        let names = select(&["*.npy"], &["raw"], false);
        assert!(names.takes("/h/out/a.npy", "out/a.npy"));
        assert!(!names.takes("/h/out/a.png", "out/a.png"));
        assert!(!names.takes("/h/raw/a.npy", "raw/a.npy"));
        let paths = select(&["out/*.npy"], &[], false);
        assert!(paths.takes("/h/out/a.npy", "out/a.npy"));
        assert!(!paths.takes("/h/out/b/a.npy", "out/b/a.npy"));
        assert!(!paths.takes("/h/else/out/a.npy", "else/out/a.npy"));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        assert_eq!(globs(["a[b"]).unwrap_err().kind, Kind::Usage);
    }
}
