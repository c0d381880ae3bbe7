//! The files of a container's image, to leave out files that the job did not change.
//!
//! A file whose kind, size and content are as in the image is not a result, whatever happened to its mode, owner or
//! times; nor is a file that the engine copied from the image into a volume. The image's files are read from the
//! engine's storage where that is readable, else from the archives of a container that is created from the image and
//! never started.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ncaas_core::engine::Engine;
use ncaas_core::engine::archive::archive_interrupted;
use ncaas_core::failure::{Failure, Kind, NoneIf, Result};
use ncaas_core::layout::short_hash;
use tar::EntryType;

use super::findings::{Content, Findings, FoundEntry, Location, RawPath};
use super::staging::BUFFER_SIZE;
use crate::container_changes::{ArchiveRequest, entry_path};
use crate::path_text::escape_bytes;
use ncaas_core::files::{fill_buffer, hash_rest};
use ncaas_core::transfer::Sha256Sum;

/// The layers of an image in the engine's storage, the topmost first.
#[derive(Debug, Clone)]
pub(crate) struct ImageLayers(pub(crate) Vec<PathBuf>);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ImageEntry {
    File { size: u64, sha256: Sha256Sum },
    Link(Box<str>),
    Folder,
}

impl ImageEntry {
    fn is_same(&self, content: &Content) -> bool {
        match (self, content) {
            (ImageEntry::File { size, sha256 }, Content::File(file)) => *size == file.size && *sha256 == file.sha256,
            (ImageEntry::Link(target), Content::Link { target: other, .. }) => target == other,
            (ImageEntry::Folder, Content::EmptyFolder) => true,
            _ => false,
        }
    }
}

impl ImageLayers {
    /// The directories that together are the image's folder at `path`, the topmost first. Empty if it has none.
    pub(crate) fn folder(&self, path: &Path) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        'layers: for layer in &self.0 {
            let mut folder = layer.clone();
            let mut hides_lower = false;
            for name in path.components() {
                folder.push(name);
                match fs::symlink_metadata(&folder) {
                    Ok(metadata) if metadata.is_dir() => hides_lower |= is_opaque(&folder),
                    Err(error) if error.kind() == ErrorKind::NotFound && hides_lower => return folders,
                    Err(error) if error.kind() == ErrorKind::NotFound => continue 'layers,
                    // Something else replaced the folder of the layers below.
                    _ => return folders,
                }
            }
            folders.push(folder);
            if hides_lower {
                return folders;
            }
        }
        folders
    }

    /// The image's entry at an absolute path in the container, for comparison with `content`.
    fn entry(&self, path: &str, content: &Content) -> Option<ImageEntry> {
        let path = Path::new(path.trim_start_matches('/'));
        let folders = self.folder(path.parent()?);
        let (path, metadata) = find_in_folder(&folders, Path::new(path.file_name()?))?;
        if metadata.is_dir() {
            return Some(ImageEntry::Folder);
        }
        if metadata.is_symlink() {
            return Some(ImageEntry::Link(link_target(&path)?));
        }
        // A file of another size is not read.
        if !matches!(content, Content::File(file) if metadata.is_file() && metadata.len() == file.size) {
            return None;
        }
        let (size, sha256) = hash_rest(&mut fs::File::open(&path).ok()?, &mut vec![0; BUFFER_SIZE]).ok()?;
        Some(ImageEntry::File { size, sha256 })
    }

    /// The image's entries at the paths of findings.
    pub(crate) fn entries(&self, findings: &[FoundEntry]) -> HashMap<String, ImageEntry> {
        let entry =
            |finding: &FoundEntry| Some((finding.source.to_string(), self.entry(&finding.source, &finding.content)?));
        findings.iter().filter_map(entry).collect()
    }
}

/// The image's entry under a name in one of its folders, given the directories of [`ImageLayers::folder`].
fn find_in_folder(folders: &[PathBuf], name: &Path) -> Option<(PathBuf, Metadata)> {
    for folder in folders {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            // Deleted by this layer.
            Ok(metadata) if metadata.file_type().is_char_device() && metadata.rdev() == 0 => return None,
            Ok(metadata) => return Some((path, metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}

/// Whether one of the image's folders has a file with this name and the same content.
pub(crate) fn has_same_file(folders: &[PathBuf], name: &Path, size: u64, file: &mut impl Read) -> io::Result<bool> {
    let Some((path, metadata)) = find_in_folder(folders, name) else { return Ok(false) };
    if !metadata.is_file() || metadata.len() != size {
        return Ok(false);
    }
    let Ok(mut original) = fs::File::open(&path) else { return Ok(false) };
    let (mut ours, mut theirs) = (vec![0; BUFFER_SIZE], vec![0; BUFFER_SIZE]);
    loop {
        let (read, other) = (fill_buffer(file, &mut ours)?, fill_buffer(&mut original, &mut theirs)?);
        if ours[..read] != theirs[..other] {
            return Ok(false);
        }
        if read < ours.len() {
            return Ok(true);
        }
    }
}

/// Whether one of the image's folders has a link with this name and target.
pub(crate) fn has_same_link(folders: &[PathBuf], name: &Path, target: &str) -> bool {
    find_in_folder(folders, name).is_some_and(|(path, _)| link_target(&path).is_some_and(|other| *other == *target))
}

fn link_target(path: &Path) -> Option<Box<str>> {
    use std::os::unix::ffi::OsStrExt;
    Some(escape_bytes(fs::read_link(path).ok()?.as_os_str().as_bytes()).into())
}

/// Whether a folder of a layer hides those of the layers below (Linux, `Documentation/filesystems/overlayfs.rst`).
fn is_opaque(folder: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut value).is_ok_and(|read| read == 1 && value == *b"y")
}

/// Reads the image's entries from the archives of a container that is created from the image and removed again.
pub(crate) async fn read_with_container(
    engine: &Engine,
    container: &str,
    image: &str,
    requests: Vec<ArchiveRequest>,
) -> Result<HashMap<String, ImageEntry>> {
    // One name for each container: the next collection removes what an interrupted one left.
    let name = format!("ncaas-sync-{}", short_hash(container));
    remove(engine, &name).await?;
    engine.create_helper("ncaas-sync", &name, image.to_owned(), Vec::new()).await?;
    let mut entries = HashMap::new();
    let outcome = async {
        for request in requests {
            let root = request.root.clone();
            let read = engine.download(&name, &root, move |archive| read_archive(archive, &request)).await;
            entries.extend(read.none_if(&[Kind::FileNotFound])?.into_iter().flatten());
        }
        Ok(())
    };
    let outcome = outcome.await;
    remove(engine, &name).await?;
    outcome.map(|()| entries)
}

async fn remove(engine: &Engine, name: &str) -> Result<()> {
    engine.remove(name).await.none_if(&[Kind::ContainerNotFound]).map(drop)
}

fn read_archive(
    archive: &mut tar::Archive<ncaas_core::engine::archive::ArchiveReader>,
    request: &ArchiveRequest,
) -> Result<HashMap<String, ImageEntry>> {
    let failed = |error: io::Error| -> Failure { archive_interrupted(&error) };
    let mut entries = HashMap::new();
    let mut buffer = vec![0; BUFFER_SIZE];
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let (_, path) = entry_path(&request.root, &entry.path_bytes());
        if request.wanted.as_ref().is_some_and(|wanted| !wanted.contains_key(&path)) {
            continue;
        }
        let found = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (size, sha256) = hash_rest(&mut entry, &mut buffer).map_err(failed)?;
                ImageEntry::File { size, sha256 }
            }
            EntryType::Symlink => ImageEntry::Link(escape_bytes(&entry.link_name_bytes().unwrap_or_default()).into()),
            EntryType::Directory => ImageEntry::Folder,
            _ => continue,
        };
        entries.insert(path, found);
    }
    Ok(entries)
}

/// Removes the findings after the first `kept` ones that are as in the image.
pub(crate) fn drop_unchanged(findings: &mut Findings, kept: usize, image: &HashMap<String, ImageEntry>) {
    let is_unchanged =
        |finding: &FoundEntry| image.get(&*finding.source).is_some_and(|entry| entry.is_same(&finding.content));
    // A staging folder with a dropped file must not be moved as a whole.
    let mut incomplete = HashSet::new();
    let tail = findings.list.split_off(kept.min(findings.list.len()));
    for finding in tail {
        if !is_unchanged(&finding) {
            findings.list.push(finding);
        } else if let Content::File(file) = &finding.content
            && let Location::Staged(number) = file.location
        {
            incomplete.insert(number);
        }
    }
    let number = |folder: &RawPath| folder.as_path().file_name()?.to_str()?.parse::<u32>().ok();
    findings.folders.retain(|folder| number(folder).is_none_or(|number| !incomplete.contains(&number)));
}

#[cfg(test)]
mod tests {
    use super::super::findings::FoundFile;
    use super::*;

    #[test]
    fn the_topmost_layer_with_a_file_has_the_images_content() {
        let (top, bottom) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&top, &bottom] {
            fs::create_dir(dir.path().join("d")).unwrap();
        }
        fs::write(bottom.path().join("d/old"), "same").unwrap();
        fs::write(bottom.path().join("d/both"), "below").unwrap();
        fs::write(top.path().join("d/both"), "above").unwrap();
        let layers = ImageLayers(vec![top.path().to_owned(), bottom.path().to_owned()]);
        let folders = layers.folder(Path::new("d"));
        let same = |name: &str, content: &str| {
            has_same_file(&folders, Path::new(name), content.len() as u64, &mut content.as_bytes()).unwrap()
        };
        assert!(same("old", "same") && same("both", "above"));
        assert!(!same("old", "SAME") && !same("both", "below") && !same("new", "x"));
        assert!(layers.folder(Path::new("e")).is_empty());
    }

    #[test]
    fn unchanged_findings_are_dropped_and_their_staging_folder_is_not_moved_as_a_whole() {
        let file = |source: &str, folder, content| {
            let file = FoundFile { location: Location::Staged(folder), size: 1, sha256: [content; 32] };
            FoundEntry::new(source, Content::File(file))
        };
        let folder = |number: u32| RawPath::Text(format!(".ncaas-stage/{number}"));
        let mut findings = Findings {
            list: vec![file("/a", 0, 1), file("/b", 1, 1), file("/c", 2, 2)],
            folders: vec![folder(0), folder(1), folder(2)],
            ..Findings::default()
        };
        let entry = || ImageEntry::File { size: 1, sha256: [1; 32] };
        let image = HashMap::from(["/a", "/b", "/c"].map(|path| (path.to_owned(), entry())));
        drop_unchanged(&mut findings, 1, &image);
        let left: Vec<&str> = findings.list.iter().map(|finding| &*finding.source).collect();
        assert_eq!(left, ["/a", "/c"]);
        assert_eq!(findings.folders, [folder(0), folder(2)]);
    }
}
