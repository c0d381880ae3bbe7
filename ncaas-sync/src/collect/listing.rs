//! The results of a collected job as its record lists them: itself, or where they are too many for that, in a file.

use std::io::{self, BufWriter, Write};

use ncaas_core::failure::Result;
use ncaas_core::folder::PartialFile;
use ncaas_core::layout::RESULTS;
use ncaas_core::record::fields::{ResultFile, ResultsFile};
use sha2::{Digest, Sha256};

use super::home::Home;
use super::journal::{Journal, results_file};

/// How many bytes of a record its results may take. Each stage of a pipe holds records in memory as a whole, and several of
/// them at once.
const RESULTS_BYTES: usize = 16 << 20;

/// What a record says of a job's results.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) results: Vec<ResultFile>,
    /// Where they are listed instead.
    pub(crate) file: Option<ResultsFile>,
    pub(crate) warnings: Vec<String>,
}

/// Lists what a dataset's collection came to, and shows each to `see`.
pub(crate) fn list(home: &Home, dataset: u64, mut see: impl FnMut(&ResultFile)) -> Result<Listing> {
    let Some(mut journal) = Journal::open(home, &results_file(dataset))? else { return Ok(Listing::default()) };
    let mut listing = Listing { warnings: std::mem::take(&mut journal.warnings), ..Listing::default() };
    let mut room = RESULTS_BYTES;
    for one in journal.moves() {
        // A line of the journal is longer than what it says of the result.
        let (one, length) = one?;
        see(&one.result);
        room = room.saturating_sub(length);
        if room > 0 {
            listing.results.push(one.result);
        } else {
            listing.results = Vec::new();
        }
    }
    if room > 0 {
        listing.results.sort_by(|a, b| a.path.cmp(&b.path));
        // One that an earlier run has left.
        let _ = home.dir().remove_file(home.within(&home.job().results_file()));
    } else {
        listing.file = Some(write(home, dataset)?);
    }
    Ok(listing)
}

/// Writes the file, a line for each result.
fn write(home: &Home, dataset: u64) -> Result<ResultsFile> {
    let path = home.within(&home.job().results_file());
    let cannot_write = |error: io::Error| home.failure("write", &path, &error);
    let mut part = PartialFile::new(home.folder(), &path)?;
    let mut out = BufWriter::new(Summing { into: &mut part.file, digest: Sha256::new(), size: 0 });
    let mut count = 0;
    if let Some(mut journal) = Journal::open(home, &results_file(dataset))? {
        for one in journal.moves() {
            let line = serde_json::to_vec(&one?.0.result).map_err(io::Error::from).map_err(cannot_write)?;
            out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(cannot_write)?;
            count += 1;
        }
    }
    let Summing { digest, size, .. } = out.into_inner().map_err(|error| cannot_write(error.into_error()))?;
    part.finish(home.folder(), &path)?;
    let job = home.job().root().file_name().unwrap_or_default().to_string_lossy();
    let path = format!("{RESULTS}/{job}/{}", path.display());
    Ok(ResultsFile { path, count, size, sha256: hex::encode(digest.finalize()) })
}

/// A file, and the checksum of what goes into it.
struct Summing<W> {
    into: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.into.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}
