//! The io-dir of a record: the directory of this machine that its job reads from and writes to.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files;
use crate::folder::Folder;
use crate::layout::{MODE_PRIVATE, RESULTS, check_group};
use crate::record::{Record, check_io_dir};

/// The io-dir if no flag names one, relative to the working directory.
pub const DEFAULT_IO_DIR: &str = "io-dir";

/// The io-dir that the environment names, if it names one.
pub fn environment_io_dir() -> Option<PathBuf> {
    std::env::var_os("NCAAS_IO_DIR").map(PathBuf::from)
}

/// The io-dir of commands that have no flag for it.
pub fn default_io_dir() -> PathBuf {
    environment_io_dir().unwrap_or_else(|| PathBuf::from(DEFAULT_IO_DIR))
}

/// An io-dir, and those of groups in it.
pub fn find_io_dirs(io_dir: &Path) -> Vec<PathBuf> {
    let groups = std::fs::read_dir(io_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = groups.filter(|path| path.join(RESULTS).is_dir()).collect();
    found.push(io_dir.to_owned());
    found
}

/// Gives a record that has no io-dir one in `dir`: `dir/<group>` for a job from a bucket, else `dir` itself.
///
/// # Errors
/// [`Kind::BadRecord`] if the record's own io-dir is not an absolute path without `..`; [`Kind::Usage`] if its group is
/// not a valid group, or `dir` is not UTF-8.
pub fn fill_io_dir(record: &mut Record, dir: &Path) -> Result<()> {
    if let Some(own) = record.text("io_dir") {
        return check_io_dir(own);
    }
    let mut path = files::absolute(dir)?;
    if let Some(group) = record.job().and_then(|job| job.group) {
        check_group(&group)?;
        path.push(group);
    }
    let path = path.to_str().ok_or_else(|| {
        let message = format!("`{}` cannot be the io-dir: its path is not UTF-8", path.display());
        Failure::new(Kind::Usage, message)
    })?;
    record.fill("io_dir", &path);
    Ok(())
}

/// Makes the io-dir of a bucket's group, if it does not exist: only the user who runs the tool may enter it.
///
/// # Errors
/// When it cannot be made.
pub fn make_group_io_dir(io_dir: &Path) -> Result<Folder> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(parent) = io_dir.parent() {
        files::make_folder(parent)?;
    }
    match std::fs::DirBuilder::new().mode(MODE_PRIVATE).create(io_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).doing("create the folder", io_dir)
        }
        _ => Folder::open(io_dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(line: &str) -> Result<String> {
        let mut record = Record::parse(line.as_bytes()).unwrap();
        fill_io_dir(&mut record, Path::new("/data/io-dir"))?;
        Ok(record.text("io_dir").unwrap().to_owned())
    }

    #[test]
    fn a_job_from_a_bucket_has_its_groups_folder() {
        assert_eq!(filled(r#"{"job":{"id":"j","group":"lab"}}"#).unwrap(), "/data/io-dir/lab");
        assert_eq!(filled(r#"{"job":{"id":"j"}}"#).unwrap(), "/data/io-dir");
        assert_eq!(filled(r#"{"io_dir":null}"#).unwrap(), "/data/io-dir");
        assert_eq!(filled(r#"{"io_dir":"/own","job":{"id":"j","group":"lab"}}"#).unwrap(), "/own");
    }

    #[test]
    fn a_group_or_io_dir_that_leads_elsewhere_is_refused() {
        for group in ["", ".", "..", "a/b", "../x"] {
            let mut record = Record::default();
            record.set("job", &serde_json::json!({"id": "j", "group": group}));
            let failure = fill_io_dir(&mut record, Path::new("/data/io-dir")).unwrap_err();
            assert_eq!(failure.kind, Kind::Usage, "{group}");
        }
        for io_dir in ["", "io-dir", "./x", "/data/../etc", "/data/.."] {
            let mut record = Record::default();
            record.set("io_dir", &io_dir);
            let failure = fill_io_dir(&mut record, Path::new("/data/io-dir")).unwrap_err();
            assert_eq!(failure.kind, Kind::BadRecord, "{io_dir}");
            assert_eq!(Record::parse(&record.to_line()).unwrap_err().kind, Kind::BadRecord, "{io_dir}");
        }
    }
}
