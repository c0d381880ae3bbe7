//! Files that are being brought: each is a part file beside its place until all of it is there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, OpenOptions};
use ncaas_core::failure::Result;
use ncaas_core::files::OURS;
use ncaas_core::layout::short_hash;

use super::{Folder, Stamp};

/// A part file, in the folder that it was opened in, wherever that is moved meanwhile.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    within: Dir,
    name: OsString,
    /// What it is to be called.
    becomes: OsString,
    /// Whether it stays when it is dropped.
    stays: bool,
}

impl Part {
    /// An empty one of this process alone, which goes when it is dropped.
    pub(super) fn new(folder: &Folder, path: &Path) -> Result<Part> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{OURS}part-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Part::open(folder, path, name, false)
    }

    /// One that any process can go on with, which stays when it is dropped: `what` tells it from others of the same path.
    /// What it has goes to `summing`; with its size, at whose end it stands.
    pub(super) fn resume(folder: &Folder, path: &Path, what: &str, summing: &mut impl Write) -> Result<(Part, u64)> {
        let name = format!("{OURS}part-{}{}", short_hash(what), short_hash(&format!("{what}\n")));
        let failed = |error: &io::Error| folder.failure("write", path, error);
        loop {
            let mut part = Part::open(folder, path, name.clone(), true)?;
            part.file.lock().map_err(|error| failed(&error))?;
            // Who held the lock may have finished, and the name be gone or another's.
            if !part.has_its_name() {
                continue;
            }
            let size = io::copy(&mut part.file, summing).map_err(|error| failed(&error))?;
            return Ok((part, size));
        }
    }

    fn open(folder: &Folder, path: &Path, name: String, stays: bool) -> Result<Part> {
        let failed = |error: &io::Error| folder.failure("write", path, error);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let within = match folder.dir().open_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                folder.make_below(parent)?;
                folder.dir().open_dir(parent)
            }
            within => within,
        };
        let within = within.map_err(|error| failed(&error))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!stays);
        let file = within.open_with(&name, &options).map_err(|error| failed(&error))?.into_std();
        let becomes = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        Ok(Part { file, within, name: name.into(), becomes, stays })
    }

    fn has_its_name(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let there = self.within.symlink_metadata(&self.name);
        there.is_ok_and(|there| {
            self.file.metadata().is_ok_and(|ours| ours.ino() == cap_std::fs::MetadataExt::ino(&there))
        })
    }

    /// Gives it its name, over what may have that.
    pub(super) fn finish(mut self, folder: &Folder, path: &Path) -> Result<Stamp> {
        // Neither name has a `/` in it: no link can lead them elsewhere.
        let renamed = rustix::fs::renameat(&self.within, &self.name, &self.within, &self.becomes);
        self.stays = renamed.is_ok();
        renamed.map_err(|error| folder.failure("write", path, &error.into()))?;
        // Only now: a new name is a new change time.
        self.file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(|error| folder.failure("read", path, &error))
    }

    /// Removes it: nothing of it can be gone on with.
    pub(super) fn discard(mut self) {
        self.stays = false;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.stays {
            let _ = self.within.remove_file(&self.name);
        }
    }
}
