//! What a container wrote, read from where its engine keeps it.
//!
//! The engine's overlay file system keeps what a container has changed in a folder of its own. Where that folder is on
//! this machine and may be read, which takes root, it is read instead of asking the engine: an archive costs the engine
//! some 86 ms, and more for each byte than the disk does. Everywhere else, and with any other storage, the engine is
//! asked. (Linux, `Documentation/filesystems/overlayfs.rst`: what is deleted is a character device 0/0; a file that
//! holds only metadata, or a folder that was moved, occurs with the options `metacopy` and `redirect_dir` alone.)

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileTypeExt, Metadata, MetadataExt};
use ncaas_core::failure::Result;
use rustix::fs::Timespec;

use super::descend::{Entry, Folder, Take, Top, descend};
use super::found::{Finds, What};
use super::stage::{PIECE, Stage, StageFolder, Staged, Traits, last_name, open_file};
use super::unpack::Rules;

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

    /// Copies what is wanted of it into the stage.
    pub(crate) fn copy(&self, stage: &Stage, rules: &Rules) -> Result<Finds> {
        let mut finds = Finds::default();
        let top = Top { root: &self.upper, root_path: &self.path, path: Path::new(""), inside: "" };
        let mut copying =
            Copying { layer: self, stage, rules, folder: None, links: HashMap::new(), buffer: vec![0; PIECE] };
        descend(&top, rules, &mut copying, &mut finds)?;
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
    /// Where the files of the folder go that is being read; none before its first.
    folder: Option<StageFolder>,
    /// Files that have more than one name, by their inode.
    links: HashMap<u64, Staged>,
    buffer: Vec<u8>,
}

impl Take for Copying<'_> {
    fn is_none_of_it(&self, source: &str, metadata: &Metadata) -> bool {
        let is_deleted = metadata.file_type().is_char_device() && metadata.rdev() == 0;
        is_deleted || self.rules.inside.is_mounted(source) || OF_THE_ENGINE.contains(&source)
    }

    fn keeps_empty(&self, source: &str) -> bool {
        !self.layer.is_of_image(source)
    }

    fn file(&mut self, entry: &Entry<'_>) -> Result<What> {
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(self.stage.folder()?),
        };
        let name = last_name(entry.source);
        let inode = entry.metadata.ino();
        if let Some(file) = self.links.get(&inode) {
            return self.stage.link(file, folder, name).map(What::File);
        }
        let mut file = open_file(&entry.folder.dir, entry.name).map_err(|error| entry.failure("read", &error))?;
        let mtime = Timespec { tv_sec: entry.metadata.mtime(), tv_nsec: entry.metadata.mtime_nsec() };
        let traits = Traits { mode: entry.metadata.mode(), mtime };
        let cannot_read = |error: &std::io::Error| entry.failure("read", error);
        let written = self.stage.write(folder, name, &mut file, traits, &mut self.buffer, cannot_read)?;
        if entry.metadata.nlink() > 1 {
            self.links.insert(inode, Staged { file: written.clone(), name: name.to_owned() });
        }
        Ok(What::File(written))
    }

    fn link(&self, _: &Entry<'_>, target: String) -> What {
        What::Link { lies: None, target: target.into() }
    }

    fn left(&mut self, _: &Folder, finds: &mut Finds) {
        finds.folders.extend(self.folder.take().map(|folder| folder.path()));
    }
}
