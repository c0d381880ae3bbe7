//! What a container wrote into the folders that are mounted into it, which lie on this machine.

use std::path::Path;

use cap_std::fs::{Dir, Metadata, MetadataExt, Permissions, PermissionsExt};
use ncaas_core::failure::Result;

use super::descend::{Entry, Folder, Take, Top, descend};
use super::found::{File, Finds, Lies, Raw, What};
use super::stage::{PIECE, kept_mode, open_file, sum};
use super::unpack::Rules;

/// All that lies in the folder `name` of a dataset's work folder, which a container saw as `inside`. A folder that is
/// not there is empty.
pub(crate) fn walk(work: &Dir, work_path: &Path, name: &str, inside: &str, rules: &Rules) -> Result<Finds> {
    let mut finds = Finds::default();
    let top = Top { root: work, root_path: work_path, path: Path::new(name), inside };
    let mut walk = Walk { top: Path::new(name), buffer: vec![0; PIECE] };
    descend(&top, rules, &mut walk, &mut finds)?;
    Ok(finds)
}

struct Walk<'w> {
    /// The mounted folder itself, which stays.
    top: &'w Path,
    buffer: Vec<u8>,
}

impl Take for Walk<'_> {
    fn is_none_of_it(&self, _: &str, _: &Metadata) -> bool {
        false
    }

    fn keeps_empty(&self, _: &str) -> bool {
        true
    }

    fn file(&mut self, entry: &Entry<'_>) -> Result<What> {
        let dir = &entry.folder.dir;
        let mode = entry.metadata.mode() & 0o7777;
        if mode != kept_mode(mode) {
            let permissions = Permissions::from_mode(kept_mode(mode));
            dir.set_permissions(entry.name, permissions).map_err(|error| entry.failure("open", &error))?;
        }
        let mut file = open_file(dir, entry.name).map_err(|error| entry.failure("read", &error))?;
        let (size, sha256) = sum(&mut file, &mut self.buffer).map_err(|error| entry.failure("read", &error))?;
        Ok(What::File(File { lies: Lies::mounted(&entry.folder.path.join(entry.name)), size, sha256 }))
    }

    fn link(&self, entry: &Entry<'_>, target: String) -> What {
        What::Link { lies: Some(Box::new(Raw::of(&entry.folder.path.join(entry.name)))), target: target.into() }
    }

    fn left(&mut self, folder: &Folder, finds: &mut Finds) {
        // A folder that is moved keeps its permissions, so they have to be such as those of any other result.
        let is_plain = folder.dir.dir_metadata().is_ok_and(|metadata| metadata.mode() & 0o7700 == 0o700);
        if folder.is_whole && is_plain && folder.path != self.top {
            finds.folders.push(Raw::of(&folder.path));
        }
    }
}
