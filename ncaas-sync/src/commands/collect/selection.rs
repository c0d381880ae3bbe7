//! The selection of a container's files: those that are collected, and those that are left out.

use std::collections::BTreeMap;

use ncaas_core::outcome::NO_RESULTS;
use ncaas_core::quantity::format_count;

use crate::container_changes::Change;
use crate::container_paths::{ContainerPaths, ResultPath, path_fault};
use crate::file_filter::{FileFilter, LeftOutReason};

/// Decides which files are collected.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) paths: ContainerPaths,
    pub(crate) filter: FileFilter,
    /// Size of the largest file that is collected, in bytes.
    pub(crate) max_size: u64,
    /// Length of the longest path in the results, in bytes.
    pub(crate) longest_path: usize,
}

impl Selection {
    /// The path in the results of the file at `source` in the container; `None` for one that the user does not want.
    pub(crate) fn result_path(&self, source: &str) -> Option<ResultPath> {
        let is_in_results = self.paths.is_in_results(source);
        self.paths.result_path(source).filter(|path| self.filter.reason(source, path.as_str(), is_in_results).is_none())
    }

    /// Whether nothing at `source` or below it can be a result.
    pub(crate) fn excludes(&self, source: &str) -> bool {
        match self.paths.result_path(source).filter(|_| self.paths.is_in_results(source)) {
            Some(path) => self.filter.excludes(path.as_str()),
            None => self.filter.excludes(source),
        }
    }

    /// Why a file cannot have this path in the results, if it cannot.
    pub(crate) fn path_fault(&self, path: &ResultPath) -> Option<&'static str> {
        path_fault(path, self.longest_path)
    }

    /// Why a file of that size is left out, if it is.
    pub(crate) fn size_fault(&self, size: u64) -> Option<&'static str> {
        (size > self.max_size).then_some("it is larger than `--max-size`")
    }

    /// Whether the empty folder at `source` becomes a result.
    pub(crate) fn accepts_empty_folder(&self, source: &str) -> bool {
        self.result_path(source).is_some_and(|path| self.path_fault(&path).is_none())
    }
}

/// Files that a job wrote and that are left out, by reason and folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOutFiles(BTreeMap<(LeftOutReason, String), u64>);

impl LeftOutFiles {
    /// Counts the files among a container's changes that the filter leaves out.
    pub(crate) fn count<'c>(selection: &Selection, changes: impl Iterator<Item = &'c Change>) -> LeftOutFiles {
        let mut counts = BTreeMap::new();
        for change in changes {
            let Some(path) = selection.paths.result_path(&change.path) else { continue };
            let is_in_results = selection.paths.is_in_results(&change.path);
            let Some(reason) = selection.filter.reason(&change.path, path.as_str(), is_in_results) else { continue };
            let folder = match reason {
                LeftOutReason::NotIncluded => "",
                LeftOutReason::Noise | LeftOutReason::Excluded => selection.filter.excluded_folder(&change.path),
            };
            *counts.entry((reason, folder.to_owned())).or_default() += 1;
        }
        LeftOutFiles(counts)
    }

    /// The number of files.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The files in folders for temporary files: a program may write its results there. Caches are not results.
    fn temporary(&self) -> impl Iterator<Item = (&(LeftOutReason, String), &u64)> {
        let is_temporary = |folder: &str| folder == "/tmp" || folder == "/var/tmp";
        self.0.iter().filter(move |((reason, folder), _)| *reason == LeftOutReason::Noise && is_temporary(folder))
    }

    /// The number of temporary files.
    pub(crate) fn count_temporary(&self) -> u64 {
        self.temporary().map(|(_, count)| count).sum()
    }

    /// The warning about temporary files of a job that failed or has results. `is_removed`: `ncaas-exec rm` in the same
    /// pipe removes the container before somebody reads the warning.
    pub(crate) fn temporary_warning(&self, is_removed: bool) -> Option<String> {
        let described = self.temporary().map(describe).collect::<Vec<_>>();
        let advice = if is_removed {
            "`ncaas-sync collect --all` in the pipe collects such files before `ncaas-exec rm` discards them"
        } else {
            "`--all` collects them"
        };
        (!described.is_empty()).then(|| format!("{} ({advice})", described.join(", ")))
    }

    /// The warning about a successful job without results.
    pub(crate) fn warning(&self) -> String {
        if self.0.is_empty() {
            return format!("{NO_RESULTS}wrote no file that could be found");
        }
        let mut parts: Vec<String> = self.0.iter().take(5).map(describe).collect();
        if self.0.len() > parts.len() {
            parts.push(format!("and files in {}", format_count(self.0.len() - parts.len(), "more folder")));
        }
        let has_noise = self.0.keys().any(|(reason, _)| *reason == LeftOutReason::Noise);
        let advice = if has_noise { " (`--all` collects them)" } else { "" };
        format!("{NO_RESULTS}has no results: {}{advice}", parts.join(", "))
    }
}

/// How many files were left out, and where.
fn describe(((reason, folder), count): (&(LeftOutReason, String), &u64)) -> String {
    let files = format_count(*count, "file");
    match reason {
        LeftOutReason::Noise => format!("{files} under `{folder}` left out"),
        LeftOutReason::Excluded => format!("{files} under `{folder}` left out by `--exclude`"),
        LeftOutReason::NotIncluded => format!("{files} not matched by `--include`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SelectArgs;
    use crate::container_changes::ChangeKind;

    #[test]
    fn files_that_are_left_out_are_counted_by_reason_and_folder() {
        let count = |(include, exclude, all): (&str, &str, bool), paths: &[&str]| {
            let globs = |globs: &str| globs.split_whitespace().map(str::to_owned).collect();
            let args = SelectArgs { include: globs(include), exclude: globs(exclude), all };
            let selection = Selection {
                paths: ContainerPaths { working_dir: "/w".into(), io_dir: "/w/io-dir".into(), ..Default::default() },
                filter: FileFilter::new(&args).unwrap(),
                max_size: u64::MAX,
                longest_path: 4000,
            };
            let change = |path: &&str| Change { path: (*path).to_owned(), kind: ChangeKind::Added };
            let changes: Vec<Change> = paths.iter().map(change).collect();
            let left_out = LeftOutFiles::count(&selection, changes.iter());
            (left_out.total(), left_out.warning())
        };
        let flags = ("", "", false);
        let nothing = "wrote no file that could be found";
        let two =
            "has no results: 2 files under `/tmp` left out, 1 file under `/w/.cache` left out (`--all` collects them)";
        let cases = [
            ("nothing written", flags, vec![], 0, nothing),
            ("selected", flags, vec!["/w/a"], 0, nothing),
            (
                "temporary",
                flags,
                vec!["/tmp/out/x"],
                1,
                "has no results: 1 file under `/tmp` left out (`--all` collects them)",
            ),
            ("two folders", flags, vec!["/tmp/a", "/tmp/b/c", "/w/.cache/x"], 3, two),
            (
                "excluded",
                ("", "raw", true),
                vec!["/w/raw/a", "/x"],
                1,
                "has no results: 1 file under `/w/raw` left out by `--exclude`",
            ),
            (
                "not included",
                ("*.npy", "", true),
                vec!["/w/a", "/w/b.npy"],
                1,
                "has no results: 1 file not matched by `--include`",
            ),
        ];
        for (case, flags, paths, total, rest) in cases {
            let message = format!("the job succeeded, but {rest}");
            assert_eq!(count(flags, &paths), (total, message), "{case}");
        }
    }
}
