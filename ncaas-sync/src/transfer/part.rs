//! PartialFile files that any process can go on with.

use std::io::{self, Write};
use std::path::Path;

use ncaas_core::failure::Result;
use ncaas_core::folder::{Folder, PartialFile};
use ncaas_core::layout::short_hash;

/// Opens one: `what` tells it from others of the same path. What it has goes to `summing`; with its size, at whose end it
/// stands.
pub(super) fn resume(folder: &Folder, path: &Path, what: &str, summing: &mut impl Write) -> Result<(PartialFile, u64)> {
    let name = format!("{}{}", short_hash(what), short_hash(&format!("{what}\n")));
    let failed = |error: &io::Error| folder.failure("write", path, error);
    loop {
        let mut part = PartialFile::named(folder, path, &name)?;
        part.file.lock().map_err(|error| failed(&error))?;
        // Who held the lock may have finished, and the name be gone or another's.
        if !part.has_its_name() {
            continue;
        }
        let size = io::copy(&mut part.file, summing).map_err(|error| failed(&error))?;
        return Ok((part, size));
    }
}
