//! Part files that any process can go on with.

use std::io::{self, Write};
use std::path::Path;

use ncaas_core::failure::Result;
use ncaas_core::folder::{Folder, Part};
use ncaas_core::layout::short_hash;
use sha2::{Digest, Sha256};

/// Opens one: `what` tells it from others of the same path. Its sum so far, and its size; it stands at its end.
pub(super) fn resume(folder: &Folder, path: &Path, what: &str) -> Result<(Part, Sha256, u64)> {
    let name = format!("{}{}", short_hash(what), short_hash(&format!("{what}\n")));
    let failed = |error: &io::Error| folder.failure("write", path, error);
    loop {
        let mut part = Part::named(folder, path, &name)?;
        part.file.lock().map_err(|error| failed(&error))?;
        // Who held the lock may have finished, and the name be gone or another's.
        if !part.has_its_name() {
            continue;
        }
        let mut summing = Summing(Sha256::new());
        let size = io::copy(&mut part.file, &mut summing).map_err(|error| failed(&error))?;
        return Ok((part, summing.0, size));
    }
}

struct Summing(Sha256);

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
