//! The paths of a container that a collection needs: working directory, io-dir, mounts; and where each of its files
//! belongs in the job's results.

use std::path::Path;

use bollard::models::{ContainerInspectResponse, MountPoint};
use ncaas_core::engine::labels;
use ncaas_core::files::TEMPORARY_PREFIX;
use ncaas_core::layout::{CONFIGS, CONTAINER_IO_DIR, INPUTS, JobFolder, LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::record::bounds::{MAX_NAME, MAX_PATH};
use ncaas_core::record::fields::RunSettings;
use ncaas_core::text::strip_folder;

use crate::path_text::normalize;

/// Folder in the results for files from outside the working directory.
const OUTSIDE: &str = "outside";

/// Files that the engine mounts without listing them as mounts; version 28.5 leaves empty files beneath them.
pub(crate) const ENGINE_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerPaths {
    /// The container's full id.
    pub(crate) id: String,
    /// Working directory; empty if it is the root, which holds the whole system.
    pub(crate) working_dir: String,
    /// Mount point of the io-dir, whether it is mounted or not.
    pub(crate) io_dir: String,
    /// Mount points of the job's results and logs folders, if they are mounted outside the io-dir.
    pub(crate) results_mount: Option<String>,
    pub(crate) logs_mount: Option<String>,
    /// Folders with the job's inputs that were copied into the container of a remote engine.
    pub(crate) input_copies: Vec<String>,
    /// All mounts, sorted by path. The engine's list of changes does not include their content.
    pub(crate) mounts: Vec<Mount>,
}

#[derive(Debug, Clone)]
pub(crate) struct Mount {
    /// Absolute path in the container.
    pub(crate) path: String,
    pub(crate) kind: MountKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountKind {
    Bind,
    /// A volume with a name that its user chose.
    NamedVolume,
    /// A volume that the engine created with the container because the image declares it.
    AnonymousVolume,
    /// Memory; its content is lost when the container stops.
    Tmpfs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResultPath {
    /// Relative to `process_results`.
    Result(String),
    /// Relative to the dataset's own folder in `logs`.
    Log(String),
}

impl ResultPath {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            ResultPath::Result(path) | ResultPath::Log(path) => path,
        }
    }
}

impl ContainerPaths {
    pub(crate) fn from_inspect(inspected: &ContainerInspectResponse) -> ContainerPaths {
        let config = inspected.config.as_ref();
        let label = |name| config.and_then(|config| config.labels.as_ref()?.get(name).cloned());
        let working_dir = config.and_then(|config| config.working_dir.as_deref()).map(normalize);
        let tmpfs = inspected.host_config.as_ref().and_then(|host| host.tmpfs.as_ref());
        let tmpfs =
            tmpfs.into_iter().flatten().map(|(path, _)| Mount { path: normalize(path), kind: MountKind::Tmpfs });
        let mut mounts: Vec<Mount> = inspected.mounts.iter().flatten().filter_map(parse_mount).chain(tmpfs).collect();
        mounts.sort_by(|a, b| a.path.cmp(&b.path));
        ContainerPaths {
            id: inspected.id.clone().unwrap_or_default(),
            working_dir: working_dir.filter(|path| path != "/").unwrap_or_default(),
            io_dir: normalize(&label(labels::IO_DIR).unwrap_or_else(|| CONTAINER_IO_DIR.to_owned())),
            mounts,
            ..ContainerPaths::default()
        }
    }

    /// The same with the mount points of the job's own folders, wherever these are mounted.
    pub(crate) fn with_job_mounts(self, inspected: &ContainerInspectResponse, job: &JobFolder) -> ContainerPaths {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let find = |folder: &Path| {
            let is_source = |source: &String| real(Path::new(source)) == real(folder);
            let mount = inspected.mounts.iter().flatten().find(|mount| mount.source.as_ref().is_some_and(is_source))?;
            mount.destination.as_deref().map(normalize)
        };
        let (results_mount, logs_mount) = (find(&job.work_results()), find(&job.work_logs()));
        ContainerPaths { results_mount, logs_mount, ..self }
    }

    /// The same for the container of a remote engine, which has copies instead of mounts: where the job's settings put
    /// them.
    pub(crate) fn with_job_copies(self, settings: &RunSettings) -> ContainerPaths {
        let moved = settings.mounts.clone().unwrap_or_default();
        let moved_inputs = [moved.data, moved.config].into_iter().flatten();
        let inputs = [INPUTS, CONFIGS].map(|folder| format!("{}/{folder}", self.io_dir)).into_iter();
        ContainerPaths {
            results_mount: moved.results.as_deref().map(normalize),
            logs_mount: moved.logs.as_deref().filter(|path| !path.is_empty()).map(normalize),
            input_copies: inputs.chain(moved_inputs.map(|path| normalize(&path))).collect(),
            ..self
        }
    }

    /// The same for an image whose io-dir is a link: the engine has followed it, and has mounted the folders of the
    /// io-dir in `target`.
    pub(crate) fn with_linked_io_dir(mut self, target: &str) -> ContainerPaths {
        let linked = self.mounts.iter().filter_map(|mount| {
            let rest = strip_folder(&mount.path, &self.io_dir)?;
            Some(Mount { path: normalize(&format!("{target}/{rest}")), kind: mount.kind })
        });
        let linked: Vec<Mount> = linked.collect();
        self.mounts.extend(linked);
        self.mounts.sort_by(|a, b| a.path.cmp(&b.path));
        self
    }

    pub(crate) fn of_removed_container() -> ContainerPaths {
        ContainerPaths { io_dir: CONTAINER_IO_DIR.to_owned(), ..ContainerPaths::default() }
    }

    pub(crate) fn results(&self) -> String {
        self.results_mount.clone().unwrap_or_else(|| format!("{}/{RESULTS}", self.io_dir))
    }

    pub(crate) fn logs(&self) -> String {
        self.logs_mount.clone().unwrap_or_else(|| format!("{}/{LOGS}", self.io_dir))
    }

    /// Whether a path is a mount point or below one.
    pub(crate) fn is_mounted(&self, path: &str) -> bool {
        self.mounts.iter().any(|mount| strip_folder(path, &mount.path).is_some())
    }

    /// The folders below a folder whose files do not belong to it: other mounts, and the folders of the io-dir.
    pub(crate) fn folders_outside(&self, folder: &str) -> Vec<String> {
        let mounts = self.mounts.iter().map(|mount| mount.path.clone()).filter(|path| path != folder);
        let io_dir = [INPUTS, CONFIGS, RESULTS, LOGS].map(|folder| format!("{}/{folder}", self.io_dir));
        mounts
            .chain(io_dir)
            .chain(ENGINE_FILES.map(str::to_owned))
            .filter(|path| strip_folder(path, folder).is_some())
            .collect()
    }

    /// `path` as an absolute, normalised path; a relative one is relative to the working directory.
    pub(crate) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') { normalize(path) } else { normalize(&format!("{}/{path}", self.working_dir)) }
    }

    /// The path in the results for an absolute, normalised path. `None` for the root, and for the results, logs and
    /// working folders themselves.
    ///
    /// Files in the results folder and in the working directory keep their path relative to it; all others go below
    /// `outside/` with their absolute path.
    pub(crate) fn result_path(&self, path: &str) -> Option<ResultPath> {
        if let Some(rest) = strip_folder(path, &self.logs()) {
            return non_empty(rest).map(|rest| ResultPath::Log(rest.to_owned()));
        }
        let in_working_dir = || strip_folder(path, &self.working_dir).filter(|_| !self.working_dir.is_empty());
        let in_results = strip_folder(path, &self.results());
        // `workflow put-result` writes into a folder of that name.
        let in_results = in_results.map(|rest| strip_folder(rest, PROCESS_RESULTS).unwrap_or(rest));
        let result = match in_results.or_else(in_working_dir) {
            Some(rest) => non_empty(rest)?.to_owned(),
            None => format!("{OUTSIDE}/{}", non_empty(path.trim_start_matches('/'))?),
        };
        Some(ResultPath::Result(result))
    }

    /// Whether a path is in the folder for results or that for logs.
    pub(crate) fn is_in_results(&self, path: &str) -> bool {
        [self.results(), self.logs()].iter().any(|folder| strip_folder(path, folder).is_some())
    }

    /// The path in the dataset's work folder for a path in one of the folders that are mounted from there.
    pub(crate) fn work_path(&self, path: &str) -> Option<String> {
        let map = |folder: &str, name: &str| strip_folder(path, folder).map(|rest| format!("{name}/{rest}"));
        map(&self.results(), RESULTS).or_else(|| map(&self.logs(), LOGS))
    }
}

/// Why a file cannot have this path in the results, if it cannot. `longest` is the longest allowed path in bytes.
pub(crate) fn path_fault(path: &ResultPath, longest: usize) -> Option<&'static str> {
    let mut names = path.as_str().split('/');
    if names.clone().any(|name| name.starts_with(TEMPORARY_PREFIX)) {
        return Some("names that begin with `.ncaas-` are reserved for temporary files");
    }
    if path.as_str().len() > longest {
        return Some("its path is too long");
    }
    names.any(|name| name.len() > MAX_NAME).then_some("its name is too long")
}

/// The longest path in a job's results, in bytes, so that the absolute path stays within the system's limit.
pub(crate) fn longest_path(folder: &JobFolder) -> usize {
    // A name that is taken gets a longer path: the label and a number come before it.
    let before = folder.root().as_os_str().len() + PROCESS_RESULTS.len() + folder.label().len() + 32;
    MAX_PATH.saturating_sub(before)
}

fn parse_mount(mount: &MountPoint) -> Option<Mount> {
    let name = mount.name.clone().unwrap_or_default();
    let is_hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let kind = match mount.typ.as_deref()? {
        "tmpfs" => MountKind::Tmpfs,
        "volume" if is_hash => MountKind::AnonymousVolume,
        "volume" => MountKind::NamedVolume,
        _ => MountKind::Bind,
    };
    Some(Mount { path: normalize(mount.destination.as_deref()?), kind })
}

fn non_empty(path: &str) -> Option<&str> {
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use ncaas_core::record::Record;

    use super::*;

    #[test]
    fn files_in_results_and_working_directory_keep_their_relative_path() {
        let paths = ContainerPaths {
            working_dir: "/home/u".into(),
            io_dir: "/home/u/io-dir".into(),
            ..ContainerPaths::default()
        };
        let result = |path: &str| Some(ResultPath::Result(path.to_owned()));
        assert_eq!(paths.result_path("/home/u/out/fig.png"), result("out/fig.png"));
        assert_eq!(paths.result_path("/home/u/io-dir/results/pca/x"), result("pca/x"));
        assert_eq!(paths.result_path("/home/u/io-dir/results/process_results/a/x"), result("a/x"));
        assert_eq!(paths.result_path("/home/user/x"), result("outside/home/user/x"));
        assert_eq!(paths.result_path("/home/u/io-dir/logs/a"), Some(ResultPath::Log("a".to_owned())));
        assert_eq!(paths.result_path("/home/u/io-dir/results"), None);
        assert_eq!(paths.result_path("/"), None);
    }

    #[test]
    fn a_results_folder_that_is_mounted_elsewhere_is_found_by_its_source() {
        let line = br#"{"job":{"id":"job__a_1"},"io_dir":"/d"}"#;
        let job = Record::parse(line).and_then(|record| JobFolder::for_record(&record)).unwrap();
        let mount = MountPoint {
            typ: Some("bind".to_owned()),
            source: Some("/d/.ncaas/work/job__a_1/1/results".to_owned()),
            destination: Some("/output".to_owned()),
            ..MountPoint::default()
        };
        let inspected = ContainerInspectResponse { mounts: Some(vec![mount]), ..Default::default() };
        let paths = ContainerPaths::from_inspect(&inspected).with_job_mounts(&inspected, &job);
        assert_eq!(paths.result_path("/output/x"), Some(ResultPath::Result("x".to_owned())));
        assert_eq!(paths.work_path("/output/x").as_deref(), Some("results/x"));
        assert!(paths.is_mounted("/output"));
    }

    #[test]
    fn moved_parts_of_a_remote_container_are_where_the_jobs_settings_say() {
        let line = br#"{"run":{"mounts":{"data":"/input","results":"/output","logs":""}}}"#;
        let settings = Record::parse(line).unwrap().fields().unwrap().run.unwrap();
        let paths = ContainerPaths::from_inspect(&ContainerInspectResponse::default()).with_job_copies(&settings);
        assert_eq!(paths.result_path("/output/x"), Some(ResultPath::Result("x".to_owned())));
        assert!(paths.input_copies.contains(&"/input".to_owned()) && paths.logs().ends_with("io-dir/logs"));
    }

    #[test]
    fn without_a_working_directory_all_files_are_outside() {
        let paths = ContainerPaths { io_dir: CONTAINER_IO_DIR.into(), ..ContainerPaths::default() };
        assert_eq!(paths.result_path("/x"), Some(ResultPath::Result("outside/x".to_owned())));
    }

    #[test]
    fn a_path_that_the_file_system_refuses_has_a_fault() {
        let fault = |path: String| path_fault(&ResultPath::Result(path), 600);
        assert_eq!(fault("a/b".to_owned()), None);
        assert_eq!(fault("d/".repeat(299) + "xx"), None);
        assert_eq!(fault("d/".repeat(300) + "x"), Some("its path is too long"));
        assert_eq!(fault("x".repeat(255)), None);
        assert_eq!(fault("x".repeat(256)), Some("its name is too long"));
    }
}
