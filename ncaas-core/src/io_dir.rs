//! The io-dir of a record: the directory of this machine that its job reads from and writes to.

use std::path::Path;

use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files;
use crate::folder::Folder;
use crate::layout::MODE_PRIVATE;
use crate::record::{Record, check_io_dir};
use crate::text;

/// The io-dir if no flag names one, relative to the working directory.
pub const DEFAULT_IO_DIR: &str = "io-dir";

/// Gives a record that has no io-dir one in `dir`: `dir/<group>` for a job from a bucket, else `dir` itself.
///
/// # Errors
/// [`Kind::BadRecord`] if the record's own io-dir is not an absolute path without `..`; [`Kind::BadKey`] if its group is not
/// a directory's name; [`Kind::Usage`] if `dir` is not UTF-8.
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

/// Whether a text can be a group: the name of a directory.
///
/// # Errors
/// [`Kind::BadKey`] if not.
pub fn check_group(group: &str) -> Result<()> {
    if group.is_empty() || group == "." || group == ".." || group.len() > 255 || group.contains(['/', '\0']) {
        let shown = text::shorten(&text::one_line(group), 200);
        return Err(Failure::new(Kind::BadKey, format!("`{shown}` is not a valid group")));
    }
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
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).doing("make the folder", io_dir),
        _ => Folder::open(io_dir),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose record cannot be read has failed")]
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
            let line = format!(r#"{{"job":{{"id":"j","group":"{group}"}}}}"#);
            assert_eq!(filled(&line).unwrap_err().kind, Kind::BadKey, "{group}");
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
