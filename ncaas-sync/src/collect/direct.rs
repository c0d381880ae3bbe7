//! What a container wrote, read from where its engine keeps it.
//!
//! The engine's overlay file system keeps what a container has changed in a folder of its own. Where that folder is on
//! this machine and may be read, which takes root, it is read instead of asking the engine: an archive costs the engine
//! some 86 ms, and more for each byte than the disk does. Everywhere else, and with any other storage, the engine is
//! asked. (Linux, `Documentation/filesystems/overlayfs.rst`: what is deleted is a character device 0/0; a file that
//! holds only metadata, or a folder that was moved, occurs with the options `metacopy` and `redirect_dir` alone.)

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry, FileTypeExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use ncaas_core::failure::{IoContext, Result};
use rustix::fs::{OFlags, Timespec, Timestamps};
use sha2::{Digest, Sha256};

use super::found::{Finds, Found, Raw, What};
use super::places::fault;
use super::unpack::{HOLE, Rules, Stage, cannot_write, hex, kept_mode, local};
use super::walk::open_folder;
use crate::names;

const PIECE: usize = 1 << 20;
/// Where the engine mounts files of its own, which it does not list as mounts: 28.5 leaves empty ones beneath them.
const OF_THE_ENGINE: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The folder in which an engine on this machine keeps what a container has changed.
#[derive(Debug)]
pub(crate) struct Layer {
    upper: Dir,
    path: PathBuf,
    /// The image's layers.
    lower: Vec<PathBuf>,
}

impl Layer {
    /// A container's, where it can be read.
    pub(crate) fn of(inspected: &ContainerInspectResponse) -> Option<Layer> {
        let driver = inspected.graph_driver.as_ref().filter(|driver| driver.name == "overlay2")?;
        let is_off = |option: &str| {
            fs::read_to_string(format!("/sys/module/overlay/parameters/{option}"))
                .is_ok_and(|value| value.trim() == "N")
        };
        if !is_off("metacopy") || !is_off("redirect_dir") {
            return None;
        }
        let path = PathBuf::from(driver.data.get("UpperDir")?);
        let lower = driver.data.get("LowerDir")?.split(':').map(PathBuf::from).collect();
        let upper = Dir::open_ambient_dir(&path, ambient_authority()).ok()?;
        upper.entries().ok()?;
        Some(Layer { upper, path, lower })
    }

    /// Copies what is wanted of it below the stage.
    pub(crate) fn copy(&self, stage: &Stage, rules: &Rules) -> Result<Finds> {
        let mut finds = Finds::default();
        let mut copying = Copying { layer: self, stage, rules, links: HashMap::new(), buffer: vec![0; PIECE] };
        copying.folder(&self.upper, "", &mut finds)?;
        Ok(finds)
    }

    /// Whether the image has a folder at that path already.
    fn is_of_image(&self, path: &str) -> bool {
        let below = path.trim_start_matches('/');
        // The link at the end of a path is not followed: the image's own links mean other paths here.
        self.lower.iter().any(|layer| fs::symlink_metadata(layer.join(below)).is_ok_and(|metadata| metadata.is_dir()))
    }
}

struct Copying<'c> {
    layer: &'c Layer,
    stage: &'c Stage,
    rules: &'c Rules,
    /// Files that have more than one name, by their inode.
    links: HashMap<u64, (String, u64, String)>,
    buffer: Vec<u8>,
}

impl Copying<'_> {
    fn folder(&mut self, dir: &Dir, path: &str, finds: &mut Finds) -> Result<()> {
        let shown = self.layer.path.join(path.trim_start_matches('/'));
        let mut entries: Vec<DirEntry> = dir.entries().and_then(Iterator::collect).doing("list", &shown)?;
        entries.sort_by_key(DirEntry::file_name);
        if entries.is_empty() && !path.is_empty() {
            self.empty(path, finds);
        }
        for entry in entries {
            let name = entry.file_name();
            let source = format!("{path}/{}", names::text(name.as_bytes()));
            let is_mounted = self.rules.inside.is_mounted(&source) || OF_THE_ENGINE.contains(&source.as_str());
            if is_mounted || self.rules.select.leaves_out(&source) {
                continue;
            }
            let metadata = entry.metadata().doing("read", &shown.join(&name))?;
            if metadata.is_dir() {
                let below = open_folder(dir, &name).doing("read", &shown.join(&name))?;
                self.folder(&below, &source, finds)?;
            } else {
                self.one(dir, &name, &metadata, source, finds)?;
            }
        }
        Ok(())
    }

    fn empty(&self, path: &str, finds: &mut Finds) {
        if let Some(place) = self.rules.places.of_path(path)
            && fault(&place).is_none()
            && self.rules.select.takes(path, place.path())
            && !self.layer.is_of_image(path)
        {
            finds.found.push(Found { place, source: path.to_owned(), what: What::Folder });
        }
    }

    fn one(&mut self, dir: &Dir, name: &OsStr, metadata: &Metadata, source: String, finds: &mut Finds) -> Result<()> {
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            return Ok(());
        }
        let Some(place) = self.rules.places.of_path(&source) else { return Ok(()) };
        if !self.rules.select.takes(&source, place.path()) {
            return Ok(());
        }
        let why = match () {
            () if fault(&place).is_some() => fault(&place),
            () if kind.is_fifo() => Some("it is a FIFO"),
            () if kind.is_socket() => Some("it is a socket"),
            () if kind.is_char_device() || kind.is_block_device() => Some("it is a device"),
            () if kind.is_file() && metadata.len() > self.rules.max_size => Some("it is larger than `--max-size`"),
            () => None,
        };
        if let Some(why) = why {
            finds.warnings.left_out(&source, why);
            return Ok(());
        }
        let shown = || Path::new(&self.layer.path).join(source.trim_start_matches('/'));
        let what = if kind.is_symlink() {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(io::Error::from);
            What::Link { lies: None, target: names::text(target.doing("read", &shown())?.as_bytes()) }
        } else if let Some((lies, size, sha256)) = self.links.get(&metadata.ino()).cloned() {
            let link = self.stage.number();
            self.stage.dir.hard_link(local(&lies), &self.stage.dir, local(&link)).map_err(cannot_write)?;
            What::File { lies: Raw::Text(link), size, sha256 }
        } else {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed());
            let mut file = dir.open_with(name, &options).doing("read", &shown())?;
            let (lies, size, sha256) = self.copy(&mut file, metadata, &shown)?;
            if metadata.nlink() > 1 {
                self.links.insert(metadata.ino(), (lies.clone(), size, sha256.clone()));
            }
            What::File { lies: Raw::Text(lies), size, sha256 }
        };
        finds.found.push(Found { place, source, what });
        Ok(())
    }

    fn copy(
        &mut self,
        from: &mut impl Read,
        metadata: &Metadata,
        shown: &dyn Fn() -> PathBuf,
    ) -> Result<(String, u64, String)> {
        let lies = self.stage.number();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(kept_mode(metadata.mode()));
        let mut file = self.stage.dir.open_with(local(&lies), &options).map_err(cannot_write)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut hole = false;
        loop {
            let read = match from.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).doing("read", &shown()),
            };
            let piece = &self.buffer[..read];
            digest.update(piece);
            size += read as u64;
            hole = read >= HOLE && piece.iter().all(|&byte| byte == 0);
            if hole {
                file.seek(SeekFrom::Current(read as i64)).map(drop).map_err(cannot_write)?;
            } else {
                file.write_all(piece).map_err(cannot_write)?;
            }
        }
        if hole {
            file.set_len(size).map_err(cannot_write)?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(kept_mode(metadata.mode()));
        rustix::fs::fchmod(&file, mode).map_err(|error| cannot_write(error.into()))?;
        let time = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(|error| cannot_write(error.into()))?;
        Ok((lies, size, hex(&digest.finalize())))
    }
}
