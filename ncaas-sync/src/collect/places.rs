//! Where in a job's results a file of a container comes to lie.

use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::{END_FILE, JobFolder, LOGS, PROCESS_RESULTS, RESULTS};

use super::inside::Inside;
use crate::names;

/// What the results of a job do not hold under its own name at their top: the platform's pollers wait for it.
const RESERVED: &str = END_FILE;

/// Below which name what a container wrote outside its working directory comes to lie.
const OUTSIDE: &str = "outside";

/// Linux's limits of a path and of a name, in bytes.
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// How paths in a container become paths in `process_results`, or in the job's logs.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    results: String,
    logs: String,
    working_dir: String,
    /// How long a place's path may be, in bytes.
    longest: usize,
}

/// A path in a job's folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// Relative to `process_results`.
    Result(String),
    /// Relative to this dataset's own folder in `logs`.
    Log(String),
}

impl Place {
    pub(crate) fn path(&self) -> &str {
        match self {
            Place::Result(path) | Place::Log(path) => path,
        }
    }
}

impl Places {
    /// Those of a container's files, where a path may have that many bytes.
    pub(crate) fn of(inside: &Inside, longest: usize) -> Places {
        Places { results: inside.results(), logs: inside.logs(), working_dir: inside.working_dir.clone(), longest }
    }

    /// The place of an absolute, plain path; none for the root and for the results folder themselves.
    ///
    /// The results folder's content lies at the top, the working directory's too, with its own folders; everything else
    /// under `outside/` with its absolute path.
    pub(crate) fn of_path(&self, path: &str) -> Option<Place> {
        if let Some(rest) = names::below(path, &self.logs) {
            return some(rest).map(|rest| Place::Log(rest.to_owned()));
        }
        let result = if let Some(rest) = names::below(path, &self.results) {
            some(rest)?.to_owned()
        } else if let Some(rest) = names::below(path, &self.working_dir).filter(|_| !self.working_dir.is_empty()) {
            some(rest)?.to_owned()
        } else {
            format!("{OUTSIDE}/{}", some(path.trim_start_matches('/'))?)
        };
        Some(Place::Result(result))
    }

    /// Where in a dataset's work folder lies what the container has at a path, if that is in a folder that is mounted.
    pub(crate) fn mounted(&self, path: &str) -> Option<String> {
        let of = |folder: &str, name: &str| names::below(path, folder).map(|rest| format!("{name}/{rest}"));
        of(&self.results, RESULTS).or_else(|| of(&self.logs, LOGS))
    }

    /// Why something cannot be kept under a place's name, if it cannot.
    pub(crate) fn fault(&self, place: &Place) -> Option<&'static str> {
        if place.path().split('/').any(|name| name.starts_with(TEMPORARY_PREFIX)) {
            return Some("names that begin with `.ncaas-` are kept for files that are still being written");
        }
        if place.path().len() > self.longest {
            return Some("its path is too long");
        }
        place.path().split('/').any(|name| name.len() > NAME_MAX).then_some("its name does not fit")
    }
}

/// How long a path in a job's results may be, so that the whole path is one that the system takes.
pub(crate) fn longest(folder: &JobFolder) -> usize {
    // Room for what is put before a path whose name is taken.
    let before = folder.root().as_os_str().len() + PROCESS_RESULTS.len() + folder.label().len() + 32;
    PATH_MAX.saturating_sub(before)
}

/// Whether a place is the platform's own, so that a job's file gets another.
pub(crate) fn is_reserved(place: &Place) -> bool {
    matches!(place, Place::Result(path) if path == RESERVED)
}

fn some(path: &str) -> Option<&str> {
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_results_or_the_working_directory_keeps_its_relative_path() {
        let inside = Inside { working_dir: "/home/u".into(), io_dir: "/home/u/io-dir".into(), ..Inside::default() };
        let places = Places::of(&inside, 4000);
        let result = |path: &str| Some(Place::Result(path.to_owned()));
        assert_eq!(places.of_path("/home/u/out/fig.png"), result("out/fig.png"));
        assert_eq!(places.of_path("/home/u/io-dir/results/pca/x"), result("pca/x"));
        assert_eq!(places.of_path("/home/user/x"), result("outside/home/user/x"));
        assert_eq!(places.of_path("/home/u/io-dir/logs/a"), Some(Place::Log("a".to_owned())));
        assert_eq!(places.of_path("/home/u/io-dir/results"), None);
        assert_eq!(places.of_path("/"), None);
    }

    #[test]
    fn without_a_working_directory_everything_is_outside() {
        let places = Places::of(&Inside { io_dir: "/home/neurocaasdev/io-dir".into(), ..Inside::default() }, 4000);
        assert_eq!(places.of_path("/x"), Some(Place::Result("outside/x".to_owned())));
    }

    #[test]
    fn a_path_that_no_file_can_have_here_is_a_fault() {
        let places = Places::of(&Inside::default(), 600);
        let fault = |path: String| places.fault(&Place::Result(path));
        assert_eq!(fault("a/b".to_owned()), None);
        assert_eq!(fault("d/".repeat(299) + "xx"), None);
        assert_eq!(fault("d/".repeat(300) + "x"), Some("its path is too long"));
        assert_eq!(fault("x".repeat(255)), None);
        assert_eq!(fault("x".repeat(256)), Some("its name does not fit"));
    }
}
