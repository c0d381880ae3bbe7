//! What goes where, written down before anything is moved; and afterwards, that it has been.
//!
//! Two files in the job's folder, a line of JSON for each thing: `.ncaas-moves.<dataset>` while results are being moved,
//! and `.ncaas-results.<dataset>` for good. Whoever finds the first finishes the work, whoever finds the second has
//! nothing to do.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files::{OURS, temporary_beside};
use ncaas_core::layout::{JobFolder, WORK};
use ncaas_core::record::fields::ResultFile;
use serde::{Deserialize, Serialize};

use super::found::Raw;

/// What one container's job has come to.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) moves: Vec<Move>,
    pub(crate) warnings: Vec<String>,
}

/// One thing on its way to its final name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Where it lies, relative to the dataset's work folder; none for what is made where it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Raw>,
    /// What a link points to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    pub(crate) result: ResultFile,
}

/// A journal's first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    container: String,
    warnings: Vec<String>,
}

/// Where a dataset's journals are.
pub(crate) fn moves_file(folder: &JobFolder, dataset: u64) -> PathBuf {
    folder.root().join(format!("{OURS}moves.{dataset}"))
}

/// Where the journal of a dataset's finished collection is.
pub(crate) fn results_file(folder: &JobFolder, dataset: u64) -> PathBuf {
    folder.root().join(format!("{OURS}results.{dataset}"))
}

impl Journal {
    /// Reads a container's journal; none where there is none, or one of another container.
    pub(crate) fn read(path: &Path, container: &str) -> Result<Option<Journal>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io("read", path, &error)),
        };
        let mut lines = BufReader::new(file).lines();
        let broken =
            |error: serde_json::Error| Failure::new(Kind::Io, format!("cannot read `{}`: {error}", path.display()));
        let Some(head) = lines.next().transpose().doing("read", path)? else { return Ok(None) };
        let head: Head = serde_json::from_str(&head).map_err(broken)?;
        if head.container != container {
            return Ok(None);
        }
        let mut journal = Journal { moves: Vec::new(), warnings: head.warnings };
        for line in lines {
            journal.moves.push(serde_json::from_str(&line.doing("read", path)?).map_err(broken)?);
        }
        Ok(Some(journal))
    }

    /// Writes it so that it is there whole or not at all, and survives a power cut.
    pub(crate) fn write(&self, path: &Path, container: &str) -> Result<()> {
        let mut file = temporary_beside(path)?;
        let head = Head { container: container.to_owned(), warnings: self.warnings.clone() };
        let mut write = || -> io::Result<()> {
            let mut out = BufWriter::new(file.as_file_mut());
            serde_json::to_writer(&mut out, &head)?;
            for one in &self.moves {
                out.write_all(b"\n")?;
                serde_json::to_writer(&mut out, one)?;
            }
            out.write_all(b"\n")?;
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
        };
        write().doing("write", path)?;
        file.persist(path).map(drop).map_err(|error| error.error).doing("write", path)
    }

    /// Moves everything that is not moved yet.
    pub(crate) fn carry_out(&self, folder: &JobFolder, root: &Dir) -> Result<()> {
        let work = folder.work();
        let number = work.file_name().unwrap_or_default();
        let work = Path::new(WORK).join(number);
        let job = folder.root().file_name().unwrap_or_default();
        let base = Path::new(ncaas_core::layout::RESULTS).join(job);
        let mut made = PathBuf::new();
        for one in &self.moves {
            let to = Path::new(&one.result.path).strip_prefix(&base).unwrap_or(Path::new(""));
            let failed = |error: &io::Error| Failure::io("write", &folder.root().join(to), error);
            let above = if one.result.path.ends_with('/') { to } else { to.parent().unwrap_or(Path::new("")) };
            if above != made {
                root.create_dir_all(above).map_err(|error| failed(&error))?;
                above.clone_into(&mut made);
            }
            match (&one.link, &one.from) {
                (Some(text), from) => {
                    link(root, to, text).map_err(|error| failed(&error))?;
                    if let Some(from) = from {
                        gone(root.remove_file(work.join(from.as_path()))).map_err(|error| failed(&error))?;
                    }
                }
                (None, Some(from)) => {
                    gone(root.rename(work.join(from.as_path()), root, to)).map_err(|error| failed(&error))?;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// What the record's `results` is.
    pub(crate) fn results(&self) -> Vec<ResultFile> {
        self.moves.iter().map(|one| one.result.clone()).collect()
    }

    /// The same without where things lay.
    pub(crate) fn carried_out(mut self) -> Journal {
        self.moves.iter_mut().for_each(|one| one.from = None);
        self
    }
}

/// Makes a link, or one anew that is there already.
fn link(root: &Dir, to: &Path, text: &str) -> io::Result<()> {
    if root.read_link_contents(to).is_ok_and(|there| there == Path::new(text)) {
        return Ok(());
    }
    gone(root.remove_file(to))?;
    root.symlink_contents(text, to)
}

/// What is gone has been moved before.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
