//! The paths of a job's dataset and config on this machine and in the container.
//!
//! A job from a bucket names them by key (`lab/inputs/session1.npy`), a job from arguments by absolute path.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files;
use crate::folder::Folder;
use crate::layout::{LOGS, RESULTS, STATE_FOLDER, base_name};
use crate::record::Record;
use crate::suggestion::suggest_file;

/// The paths of a dataset or config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPath {
    /// The absolute path on this machine.
    pub host: PathBuf,
    /// The path in the container, relative to its io-dir: `inputs/session1.npy`.
    pub inside: String,
    /// Whether the name stands for a folder: it ends in `/`.
    pub is_folder: bool,
}

/// The paths of the input with this name. `folder` is [`crate::layout::INPUTS`] for a dataset, and
/// [`crate::layout::CONFIGS`] for a config.
///
/// A dataset of another bucket (`s3://bucket/path`) is in `<io-dir>/<folder>/s3/<bucket>/<path>`, and a file of the
/// group's `results` or `logs` in `<io-dir>/.ncaas/<folder>/<path>`.
///
/// # Errors
/// [`Kind::BadKey`] if the name leads out of the job's group, or is not absolute for a job from arguments;
/// [`Kind::BadRecord`] if the record has no io-dir.
pub fn locate(record: &Record, name: &str, folder: &str) -> Result<InputPath> {
    let is_folder = name.ends_with('/');
    let flat = || format!("{folder}/{}", base_name(name));
    let Some(group) = record.job().and_then(|job| job.group) else {
        let host = PathBuf::from(name);
        if !host.is_absolute() {
            return Err(Failure::new(
                Kind::BadKey,
                format!("`{name}` is neither a key in a bucket nor an absolute path"),
            ));
        }
        return Ok(InputPath { host, inside: flat(), is_folder });
    };
    let io_dir = Path::new(record.require("io_dir")?);
    if let Some(elsewhere) = name.strip_prefix("s3://") {
        let host = io_dir.join(folder).join("s3").join(parse_path(elsewhere, name)?);
        return Ok(InputPath { host, inside: flat(), is_folder });
    }
    let within = name
        .strip_prefix(&group)
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or_else(|| Failure::new(Kind::BadKey, format!("`{name}` is not a key of the group `{group}`")))?;
    let path = parse_path(within, name)?;
    if path.starts_with(STATE_FOLDER) {
        return Err(Failure::new(
            Kind::BadKey,
            format!("`{name}` is in `{STATE_FOLDER}`, which is reserved for the tools"),
        ));
    }
    // The tools read a job's saved record in its folder: a dataset must not get there.
    let is_output = path.starts_with(RESULTS) || path.starts_with(LOGS);
    let root = if is_output { io_dir.join(STATE_FOLDER).join(folder) } else { io_dir.to_owned() };
    let host = root.join(path);
    let mirrored = within.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let inside = if mirrored { within.trim_end_matches('/').to_owned() } else { flat() };
    Ok(InputPath { host, inside, is_folder })
}

/// Whether an input is a folder. For a job of a group, links that lead out of the io-dir are refused; a job from
/// arguments may read any path. `what` is the input's name in messages.
///
/// # Errors
/// [`Kind::FileNotFound`]; [`Kind::UnsafePath`] if a link leads out of the io-dir, or the input is a pipe.
pub fn is_folder(record: &Record, input: &InputPath, what: &str) -> Result<bool> {
    let doing = format!("read the {what}");
    let Some(io_dir) = open_group_io_dir(record)? else {
        let there = std::fs::metadata(&input.host).doing(&doing, &input.host);
        let there = there.map_err(|failure| suggest_file(failure, &input.host))?;
        if let Some(kind) = files::stream_kind(there.file_type()) {
            let message = format!("the {what} `{}` is {kind}, not a file or folder", input.host.display());
            return Err(Failure::new(Kind::UnsafePath, message).hint("write its content to a file, and name that file"));
        }
        return Ok(there.is_dir());
    };
    let path = io_dir.relative(&input.host);
    io_dir.dir().metadata(path).map(|there| there.is_dir()).map_err(|error| io_dir.path_failure(&doing, path, &error))
}

/// The content of an input that is a regular file of at most `limit` bytes. No link of the io-dir is followed out of
/// it.
///
/// # Errors
/// [`Kind::TooLarge`]; [`Kind::UnsafePath`] if it is not a regular file, or a link leads out of the io-dir.
pub fn read(record: &Record, input: &InputPath, limit: u64) -> Result<Vec<u8>> {
    let surrounding = record.text("io_dir").map(Path::new).filter(|io_dir| input.host.starts_with(io_dir));
    let io_dir = match open_group_io_dir(record)? {
        None => surrounding.map(Folder::open).transpose()?,
        io_dir => io_dir,
    };
    let file = match io_dir {
        Some(io_dir) => io_dir.open_file(io_dir.relative(&input.host))?.0,
        None => files::open_regular(&input.host)?,
    };
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content).doing("read", &input.host)?;
    if content.len() as u64 > limit {
        return Err(Failure::new(
            Kind::TooLarge,
            format!("cannot read `{}`: it is larger than {limit} bytes", input.host.display()),
        ));
    }
    Ok(content)
}

/// The io-dir that the inputs of a group's job must be in.
fn open_group_io_dir(record: &Record) -> Result<Option<Folder>> {
    match record.job().and_then(|job| job.group) {
        Some(_) => Folder::open(Path::new(record.require("io_dir")?)).map(Some),
        None => Ok(None),
    }
}

/// A key as a relative path, if every part of it is a plain name.
fn parse_path<'k>(key: &'k str, name: &str) -> Result<&'k Path> {
    let path = Path::new(key);
    let all_plain = key.split('/').all(|part| part != "." && part != "..")
        && path.components().all(|part| matches!(part, Component::Normal(_)));
    if !all_plain || key.is_empty() || key.contains('\0') {
        return Err(Failure::new(Kind::BadKey, format!("`{name}` contains an invalid path component")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::INPUTS;

    fn from_bucket(name: &str) -> Result<InputPath> {
        let record = Record::parse(br#"{"job":{"id":"job__a_1","group":"lab"},"io_dir":"/d/lab"}"#).unwrap();
        locate(&record, name, INPUTS)
    }

    #[test]
    fn a_key_mirrors_the_bucket_in_both_places() {
        let input = from_bucket("lab/inputs/day 1/$(x).npy").unwrap();
        assert_eq!(input.host, Path::new("/d/lab/inputs/day 1/$(x).npy"));
        assert_eq!(input.inside, "inputs/day 1/$(x).npy");
        assert!(from_bucket("lab/inputs/folder/").unwrap().is_folder);
    }

    #[test]
    fn a_result_of_another_job_as_a_dataset_does_not_lie_among_the_results() {
        let path = from_bucket("lab/results/job__a_2/logs/x.npy.record.json").unwrap();
        assert_eq!(path.inside, "inputs/x.npy.record.json");
        assert_eq!(path.host, Path::new("/d/lab/.ncaas/inputs/results/job__a_2/logs/x.npy.record.json"));
        assert_eq!(from_bucket("lab/results/x.npy").unwrap().inside, "inputs/x.npy");
    }

    #[test]
    fn a_dataset_of_another_bucket_is_in_a_separate_folder() {
        let input = from_bucket("s3://else/where/x.npy").unwrap();
        assert_eq!(input.host, Path::new("/d/lab/inputs/s3/else/where/x.npy"));
        assert_eq!(input.inside, "inputs/x.npy");
    }

    #[test]
    fn no_key_leads_out_of_its_group() {
        for name in [
            "other/inputs/x",
            "lab/.ncaas/work/x",
            "lab/../other/x",
            "lab//x",
            "lab/./x",
            "lab",
            "lab/",
            "/etc/passwd",
            "s3://b/../x",
        ] {
            assert_eq!(from_bucket(name).map_err(|failure| failure.kind), Err(Kind::BadKey), "{name}");
        }
    }

    #[test]
    fn a_job_from_arguments_reads_regular_files_only_and_follows_no_link_out_of_its_io_dir() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, io_dir) = (folder.path().join("outside.json"), folder.path().join("io-dir"));
        let (fifo, link) = (folder.path().join("fifo.json"), io_dir.join("link.json"));
        std::fs::create_dir(&io_dir).unwrap();
        std::fs::write(&outside, "{}").unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        for path in [&fifo, &io_dir.join("fifo.json")] {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }
        let record = format!(r#"{{"job":{{"id":"job__a_1"}},"io_dir":"{}"}}"#, io_dir.display());
        let record = Record::parse(record.as_bytes()).unwrap();
        let read = |path: &Path| read(&record, &locate(&record, path.to_str().unwrap(), INPUTS).unwrap(), 100);
        assert_eq!(read(&outside).unwrap(), b"{}");
        for path in [&fifo, &link, &io_dir.join("fifo.json")] {
            assert_eq!(read(path).unwrap_err().kind, Kind::UnsafePath, "{}", path.display());
        }
    }

    #[test]
    fn a_job_from_arguments_names_paths() {
        let record = Record::parse(br#"{"job":{"id":"job__a_1"},"io_dir":"/d"}"#).unwrap();
        assert_eq!(locate(&record, "/data/x.npy", INPUTS).unwrap().inside, "inputs/x.npy");
        assert_eq!(locate(&record, "data/x.npy", INPUTS).unwrap_err().kind, Kind::BadKey);
    }
}
