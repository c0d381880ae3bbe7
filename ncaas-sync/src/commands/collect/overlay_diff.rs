//! Reads the files that a container wrote from the engine's own storage.
//!
//! The engine's overlay file system keeps the changes of each container in one folder. Where that folder is on
//! this machine and readable (which takes root), it is read instead of asking the engine for archives: a request costs
//! about 86 ms, and each byte more than the disk does. All other cases ask the engine. (Linux,
//! `Documentation/filesystems/overlayfs.rst`: a deleted file is a character device 0/0; files with metadata only and
//! moved folders occur only with the options `metacopy` and `redirect_dir`.)

use std::collections::HashMap;
use std::fs;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bollard::models::ContainerInspectResponse;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileTypeExt, Metadata, MetadataExt};
use ncaas_core::engine::container_layer::has_only_mount_points;
use ncaas_core::failure::Result;
use rustix::fs::Timespec;

use super::findings::{Content, Findings};
use super::image_files::{ImageLayers, has_same_file, has_same_link};
use super::selection::Selection;
use super::staging::{Attributes, BUFFER_SIZE, StagedFile, Staging, StagingFolder, open_file};
use super::walk::{Visitor, WalkRoot, WalkedEntry, WalkedFolder, walk};
use crate::container_paths::ENGINE_FILES;
use crate::path_text::file_name;

/// The storage of one container.
#[derive(Debug)]
pub(crate) struct OverlayDiff {
    upper: Dir,
    upper_path: PathBuf,
    image: ImageLayers,
    is_unchanged: bool,
}

impl OverlayDiff {
    /// Opens the storage of a container, if it is readable.
    pub(crate) fn open(inspected: &ContainerInspectResponse) -> Option<OverlayDiff> {
        let driver = inspected.graph_driver.as_ref().filter(|driver| driver.name == "overlay2")?;
        let is_off = |option: &str| {
            fs::read_to_string(format!("/sys/module/overlay/parameters/{option}"))
                .is_ok_and(|value| value.trim() == "N")
        };
        if !is_off("metacopy") || !is_off("redirect_dir") {
            return None;
        }
        let upper_path = PathBuf::from(driver.data.get("UpperDir")?);
        let image = ImageLayers(driver.data.get("LowerDir")?.split(':').map(PathBuf::from).collect());
        let upper = Dir::open_ambient_dir(&upper_path, ambient_authority()).ok()?;
        upper.entries().ok()?;
        Some(OverlayDiff { upper, upper_path, image, is_unchanged: has_only_mount_points(inspected) })
    }

    /// Whether the container wrote nothing outside its mounts.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.is_unchanged
    }

    /// Copies the selected files into the staging folder.
    pub(crate) fn copy(&self, staging: &Staging, selection: &Selection) -> Result<Findings> {
        let start =
            WalkRoot { root: &self.upper, root_path: &self.upper_path, path: Path::new(""), container_path: "" };
        let mut visitor = CopyVisitor {
            overlay: self,
            staging,
            selection,
            folder: None,
            image_folder: None,
            hard_links: HashMap::new(),
            buffer: vec![0; BUFFER_SIZE],
        };
        walk(&start, selection, &mut visitor)
    }

    pub(crate) fn image(&self) -> &ImageLayers {
        &self.image
    }
}

/// Copies files into the staging folder.
struct CopyVisitor<'v> {
    overlay: &'v OverlayDiff,
    staging: &'v Staging,
    selection: &'v Selection,
    /// The image's directories of the current folder, with its path.
    image_folder: Option<(PathBuf, Vec<PathBuf>)>,
    /// The staging folder for files of the current folder; `None` before the first file.
    folder: Option<StagingFolder>,
    /// Copied files with more than one name, by inode.
    hard_links: HashMap<u64, StagedFile>,
    buffer: Vec<u8>,
}

impl CopyVisitor<'_> {
    /// The image's directories of the folder at `path`, looked up once for all its files.
    fn image_folder(&mut self, path: &Path) -> &[PathBuf] {
        if self.image_folder.as_ref().is_none_or(|(known, _)| known != path) {
            self.image_folder = Some((path.to_owned(), self.overlay.image.folder(path)));
        }
        self.image_folder.as_ref().map_or(&[], |(_, folders)| folders)
    }
}

impl Visitor for CopyVisitor<'_> {
    fn ignores(&self, source: &str, metadata: &Metadata) -> bool {
        let is_deleted = metadata.file_type().is_char_device() && metadata.rdev() == 0;
        is_deleted || self.selection.paths.is_mounted(source) || ENGINE_FILES.contains(&source)
    }

    fn is_new_folder(&self, source: &str) -> bool {
        self.overlay.image.folder(Path::new(source.trim_start_matches('/'))).is_empty()
    }

    fn visit_file(&mut self, entry: &WalkedEntry<'_>) -> Result<Option<Content>> {
        let mut file = open_file(&entry.folder.dir, entry.name).map_err(|error| entry.failure("read", &error))?;
        let image = self.image_folder(&entry.folder.path);
        let unchanged = has_same_file(image, Path::new(entry.name), entry.metadata.len(), &mut file);
        if unchanged.map_err(|error| entry.failure("read", &error))? {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0)).map_err(|error| entry.failure("read", &error))?;
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(self.staging.create_folder()?),
        };
        let name = file_name(entry.source);
        let inode = entry.metadata.ino();
        if let Some(file) = self.hard_links.get(&inode) {
            return self.staging.hard_link(file, folder, name).map(|file| Some(Content::File(file)));
        }
        let mtime = Timespec { tv_sec: entry.metadata.mtime(), tv_nsec: entry.metadata.mtime_nsec() };
        let attributes = Attributes { mode: entry.metadata.mode(), mtime };
        let cannot_read = |error: &std::io::Error| entry.failure("read", error);
        let written = self.staging.write(folder, name, &mut file, attributes, &mut self.buffer, cannot_read)?;
        if entry.metadata.nlink() > 1 {
            self.hard_links.insert(inode, StagedFile { file: written.clone(), name: name.to_owned() });
        }
        Ok(Some(Content::File(written)))
    }

    fn visit_link(&mut self, entry: &WalkedEntry<'_>, target: String) -> Option<Content> {
        if has_same_link(self.image_folder(&entry.folder.path), Path::new(entry.name), &target) {
            return None;
        }
        Some(Content::Link { location: None, target: target.into() })
    }

    fn leave_folder(&mut self, _: &WalkedFolder, _: bool, findings: &mut Findings) {
        findings.folders.extend(self.folder.take().map(|folder| folder.path()));
    }
}
