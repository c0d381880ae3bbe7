//! What a container wrote into the folders that are mounted into it, which lie on this machine.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, DirEntry, FileTypeExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use ncaas_core::failure::{Failure, IoContext, Result};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::found::{Finds, Found, Raw, What};
use super::places::{Place, Places, fault};
use super::unpack::{hex, kept_mode};
use crate::names;
use crate::select::Select;

const PIECE: usize = 256 * 1024;

/// A folder of this machine that a container saw as `inside`.
#[derive(Debug)]
pub(crate) struct Mirror<'m> {
    /// The dataset's work folder.
    pub(crate) work: &'m Dir,
    /// Its absolute path, for messages.
    pub(crate) work_path: &'m Path,
    /// The folder's name in it.
    pub(crate) name: &'m str,
    /// Absolute path in the container.
    pub(crate) inside: &'m str,
}

/// All that lies in a mirrored folder. A folder that is not there is empty.
pub(crate) fn walk(mirror: &Mirror<'_>, places: &Places, select: &Select, max_size: u64) -> Result<Finds> {
    let mut finds = Finds::default();
    let walk = Walk { mirror, places, select, max_size };
    match open_folder(mirror.work, mirror.name.as_ref()) {
        Ok(dir) => walk.folder(&dir, Path::new(mirror.name), mirror.inside, &mut finds)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::io("read", &mirror.work_path.join(mirror.name), &error)),
    }
    Ok(finds)
}

struct Walk<'w> {
    mirror: &'w Mirror<'w>,
    places: &'w Places,
    select: &'w Select,
    max_size: u64,
}

impl Walk<'_> {
    fn folder(&self, dir: &Dir, lies: &Path, inside: &str, finds: &mut Finds) -> Result<()> {
        let path = self.mirror.work_path.join(lies);
        let mut entries: Vec<DirEntry> = dir.entries().and_then(Iterator::collect).doing("list", &path)?;
        entries.sort_by_key(DirEntry::file_name);
        let mut is_empty = true;
        for entry in entries {
            is_empty = false;
            let name = entry.file_name();
            let source = format!("{inside}/{}", names::text(name.as_bytes()));
            let Some(place) = self.places.of_path(&source) else { continue };
            self.one(dir, &name, lies.join(&name), source, place, finds)?;
        }
        if is_empty && let Some(place) = self.places.of_path(inside) {
            finds.found.push(Found { place, source: inside.to_owned(), what: What::Folder });
        }
        Ok(())
    }

    fn one(
        &self,
        dir: &Dir,
        name: &OsStr,
        lies: PathBuf,
        source: String,
        place: Place,
        finds: &mut Finds,
    ) -> Result<()> {
        let path = || self.mirror.work_path.join(&lies);
        let metadata = dir.symlink_metadata(name).doing("read", &path())?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            let below = open_folder(dir, name).doing("read", &path())?;
            return self.folder(&below, &lies, &source, finds);
        }
        if !self.select.takes(&source, place.path()) {
            return Ok(());
        }
        let why = match () {
            () if fault(&place).is_some() => fault(&place),
            () if kind.is_fifo() => Some("it is a FIFO"),
            () if kind.is_socket() => Some("it is a socket"),
            () if kind.is_char_device() || kind.is_block_device() => Some("it is a device"),
            () if kind.is_file() && metadata.len() > self.max_size => Some("it is larger than `--max-size`"),
            () => None,
        };
        if let Some(why) = why {
            finds.warnings.left_out(&source, why);
            return Ok(());
        }
        let raw = Raw::new(lies.as_os_str().as_bytes().to_vec());
        let what = if kind.is_symlink() {
            // A link's target is read as it stands; cap-std refuses one that is absolute.
            let target = rustix::fs::readlinkat(dir, name, Vec::new());
            let target = target.map_err(io::Error::from).doing("read", &path())?;
            What::Link { lies: Some(raw), target: names::text(target.as_bytes()) }
        } else {
            let mode = metadata.permissions().mode() & 0o7777;
            let (size, sha256) = sum(dir, name, mode).doing("read", &path())?;
            What::File { lies: raw, size, sha256 }
        };
        finds.found.push(Found { place, source, what });
        Ok(())
    }
}

/// Opens a folder that is one, and no link to one.
pub(crate) fn open_folder(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed());
    Ok(Dir::from_std_file(dir.open_with(name, &options)?.into_std()))
}

/// Size and SHA-256 of a file, and its permissions made those that a result keeps.
fn sum(dir: &Dir, name: &OsStr, mode: u32) -> io::Result<(u64, String)> {
    if mode != kept_mode(mode) {
        dir.set_permissions(name, cap_std::fs::Permissions::from_mode(kept_mode(mode)))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed());
    let mut file = dir.open_with(name, &options)?;
    sum_file(&mut file)
}

/// Size and SHA-256 of what is left to read.
pub(crate) fn sum_file(file: &mut impl Read) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hex(&digest.finalize()))),
            Ok(read) => {
                digest.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
