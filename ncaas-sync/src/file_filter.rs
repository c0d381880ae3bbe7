//! The selection of files by `--include`, `--exclude` and `--all`. Caches and temporary files are left out by default.

use globset::GlobSet;

use ncaas_core::failure::Result;
use ncaas_core::globs::parse_globs;

use crate::args::SelectArgs;
use ncaas_core::engine::container_layer::HISTORIES;

use crate::default_exclusions::DEFAULT_EXCLUSIONS;

/// Selects files by globs.
#[derive(Debug, Clone)]
pub(crate) struct FileFilter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Empty with `--all`.
    noise: GlobSet,
}

/// Why a file is not selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftOutReason {
    /// It is a cache or a temporary file.
    Noise,
    /// It matches `--exclude`.
    Excluded,
    /// It does not match `--include`.
    NotIncluded,
}

impl FileFilter {
    pub(crate) fn new(args: &SelectArgs) -> Result<FileFilter> {
        let patterns = |globs: &[String]| parse_globs(globs.iter().map(String::as_str));
        Ok(FileFilter {
            include: if args.include.is_empty() { None } else { Some(patterns(&args.include)?) },
            exclude: patterns(&args.exclude)?,
            noise: parse_globs(DEFAULT_EXCLUSIONS.iter().chain(&HISTORIES).copied().filter(|_| !args.all))?,
        })
    }

    /// Why a file is not selected; `None` for a selected one. `absolute` is its path in the container, `relative` its
    /// path in the results. In the job's own folders for results and logs (`is_in_results`), wherever they are mounted,
    /// only the relative path says whether it is a cache or the like.
    pub(crate) fn reason(&self, absolute: &str, relative: &str, is_in_results: bool) -> Option<LeftOutReason> {
        let matches = |set: &GlobSet| set.is_match(absolute) || set.is_match(relative);
        if self.noise.is_match(relative) || !is_in_results && self.noise.is_match(absolute) {
            Some(LeftOutReason::Noise)
        } else if matches(&self.exclude) {
            Some(LeftOutReason::Excluded)
        } else if self.include.as_ref().is_some_and(|include| !matches(include)) {
            Some(LeftOutReason::NotIncluded)
        } else {
            None
        }
    }

    /// Whether a file is selected; see [`FileFilter::reason`].
    pub(crate) fn accepts(&self, absolute: &str, relative: &str) -> bool {
        self.reason(absolute, relative, false).is_none()
    }

    /// Whether a whole folder is left out, so that nothing below it needs to be read.
    pub(crate) fn excludes(&self, absolute: &str) -> bool {
        self.noise.is_match(absolute) || self.exclude.is_match(absolute)
    }

    /// The outermost folder of `absolute`, or itself, that is left out as a whole.
    pub(crate) fn excluded_folder<'p>(&self, absolute: &'p str) -> &'p str {
        let ends = absolute.match_indices('/').map(|(at, _)| at).skip(1);
        ends.map(|end| &absolute[..end]).find(|folder| self.excludes(folder)).unwrap_or(absolute)
    }
}

#[cfg(test)]
mod tests {
    use ncaas_core::failure::Kind;

    use super::*;

    fn filter(include: &[&str], exclude: &[&str], all: bool) -> FileFilter {
        let owned = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        FileFilter::new(&SelectArgs { include: owned(include), exclude: owned(exclude), all }).unwrap()
    }

    #[test]
    fn caches_and_temporary_files_are_left_out_everywhere() {
        let filter = filter(&[], &[], false);
        for noise in
            ["/tmp/x", "/home/u/__pycache__/a.pyc", "/home/u/.cache/pip/x", "/root/.bash_history", "/var/cache/apt/x"]
        {
            assert!(!filter.accepts(noise, noise), "{noise}");
        }
        for result in ["/home/u/out/fig.png", "/home/u/tmp/x", "/data/cache/x", "/home/u/history", "/home/u/x.pyx"] {
            assert!(filter.accepts(result, result), "{result}");
        }
        assert!(super::tests::filter(&[], &[], true).accepts("/tmp/x", "outside/tmp/x"));
    }

    #[test]
    fn a_glob_without_a_slash_matches_names_and_one_with_a_slash_matches_paths() {
        let names = filter(&["*.npy"], &["raw"], false);
        assert!(names.accepts("/h/out/a.npy", "out/a.npy"));
        assert!(!names.accepts("/h/out/a.png", "out/a.png"));
        assert!(!names.accepts("/h/raw/a.npy", "raw/a.npy"));
        let paths = filter(&["out/*.npy"], &[], false);
        assert!(paths.accepts("/h/out/a.npy", "out/a.npy"));
        assert!(!paths.accepts("/h/out/b/a.npy", "out/b/a.npy"));
        assert!(!paths.accepts("/h/else/out/a.npy", "else/out/a.npy"));
    }

    #[test]
    fn an_invalid_glob_is_refused() {
        assert_eq!(parse_globs(["a[b"]).unwrap_err().kind, Kind::Usage);
    }
}
