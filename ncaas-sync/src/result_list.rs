//! The list of a job's results: in its record or, if there are too many, in a file that the record names.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Lines, Write};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::folder::{Folder, PartialFile};
use ncaas_core::layout::{RESULTS, path_in_job};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{ResultFile, ResultsFile};
use sha2::{Digest, Sha256};

use ncaas_core::transfer::file_sha256;

/// An iterator over results. There may be a million.
#[derive(Debug)]
pub(crate) enum ResultList {
    InRecord(IntoIter<ResultFile>),
    InFile { lines: Lines<BufReader<File>>, path: PathBuf },
}

impl ResultList {
    /// The results of a record. `job` is the job's folder, which has the file that lists them.
    pub(crate) fn open(record: &Record, job: &Folder) -> Result<ResultList> {
        let Some(listed) = record.results_file() else {
            return Ok(ResultList::from_results(record.results().unwrap_or_default()));
        };
        let path = path_in_job(&listed.path);
        let (file, _) = job.open_file(path)?;
        ResultList::from_file(file, &listed, job.path().join(path))
    }

    /// The results in a record itself.
    pub(crate) fn from_results(results: Vec<ResultFile>) -> ResultList {
        ResultList::InRecord(results.into_iter())
    }

    /// The results in a file, whose content must be what the record says. `path` is for messages.
    pub(crate) fn from_file(file: File, listed: &ResultsFile, path: PathBuf) -> Result<ResultList> {
        // A file of another size is not read, because it may have any size.
        let is_listed = |size| Ok(size == listed.size && hex::encode(file_sha256(&file)?) == listed.sha256);
        if !file.metadata().and_then(|file| is_listed(file.len())).doing("read", &path)? {
            let message =
                format!("`{}` is not the list of results that the record names: its SHA-256 differs", path.display());
            return Err(Failure::new(Kind::ChecksumMismatch, message)
                .hint("run `ncaas-sync collect` on the same record to write it again"));
        }
        Ok(ResultList::InFile { lines: BufReader::new(file).lines(), path })
    }
}

impl Iterator for ResultList {
    type Item = Result<ResultFile>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            ResultList::InRecord(results) => results.next().map(Ok),
            ResultList::InFile { lines, path } => {
                let line = lines.next()?.doing("read", path);
                Some(line.and_then(|line| {
                    serde_json::from_str(&line).map_err(|error| {
                        let message = format!("`{}` has a line that is not a result: {error}", path.display());
                        Failure::new(Kind::BadRecord, message)
                    })
                }))
            }
        }
    }
}

/// A sentence about results of a run: which one of them, or how many, and what about one or several of them. None if
/// there are none.
pub(crate) fn describe_results_of_run<'p>(
    run: &str,
    results: impl Iterator<Item = &'p Path>,
    [is, are]: [&str; 2],
) -> Option<String> {
    let results: Vec<&Path> = results.collect();
    let first = results.iter().min()?.display();
    Some(match results.len() {
        1 => format!("`{first}` {run} {is}"),
        count => format!("{count} results {run} {are}, for example `{first}`"),
    })
}

/// Writes the file `path` of the job's folder `job`, a line for each result.
pub(crate) fn write_results_file(
    job: &Folder,
    path: &Path,
    results: impl Iterator<Item = Result<ResultFile>>,
) -> Result<ResultsFile> {
    let cannot_write = |error: io::Error| job.path_failure("write", path, &error);
    let mut part = PartialFile::new(job, path)?;
    let mut out = BufWriter::new(HashingWriter { inner: &mut part.file, digest: Sha256::new(), size: 0 });
    let mut count = 0;
    for result in results {
        let line = serde_json::to_vec(&result?).map_err(io::Error::from).map_err(cannot_write)?;
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(cannot_write)?;
        count += 1;
    }
    let HashingWriter { digest, size, .. } = out.into_inner().map_err(|error| cannot_write(error.into_error()))?;
    part.finish(job, path)?;
    let job = job.path().file_name().unwrap_or_default().to_string_lossy();
    let path = format!("{RESULTS}/{job}/{}", path.display());
    Ok(ResultsFile { path, count, size, sha256: hex::encode(digest.finalize()) })
}

/// A writer that computes size and SHA-256 of its output.
struct HashingWriter<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
