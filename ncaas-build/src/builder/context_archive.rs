//! The context as a tar archive for the classic builder. It is written while it is sent, so that memory does not grow
//! with its size.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bytes::Bytes;
use ncaas_core::engine::archive::{ArchiveWriter, archive_interrupted, spawn_archive};
use ncaas_core::failure::{IoContext, Result};
use tokio::sync::mpsc;

use super::context::{self, ContextEntry, walk};
use super::dockerignore::{Descend, DockerIgnore};

#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) root: PathBuf,
    pub(crate) ignore: DockerIgnore,
    /// Files that are not taken from the folder, by their path in the archive.
    pub(crate) generated: Vec<(String, Vec<u8>)>,
}

/// Writes the archive on another thread. The last piece may be the failure.
pub(crate) fn stream(contents: Contents) -> mpsc::Receiver<Result<Bytes>> {
    spawn_archive(move |archive| {
        for (path, content) in &contents.generated {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice()).map_err(|error| archive_interrupted(&error))?;
        }
        walk(&contents.root, &contents.ignore, Descend::IfNamed, |entry| {
            let is_generated = contents.generated.iter().any(|(path, _)| *path == entry.path);
            if entry.excluded || is_generated { Ok(()) } else { append(archive, &entry) }
        })
    })
    .0
}

fn append(archive: &mut tar::Builder<ArchiveWriter>, entry: &ContextEntry) -> Result<()> {
    let kind = entry.metadata.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&entry.metadata);
    header.set_mode(entry.metadata.mode() & 0o7777);
    // The format has no times before 1970, and the engine would set 1970 as well.
    header.set_mtime(u64::try_from(entry.metadata.mtime()).unwrap_or(0));
    // As with the docker CLI, files of the context belong to root in the image.
    header.set_uid(0);
    header.set_gid(0);
    if kind.is_symlink() {
        let target = std::fs::read_link(&entry.host).doing("read", &entry.host)?;
        header.set_size(0);
        return archive.append_link(&mut header, &entry.path, target).map_err(|error| archive_interrupted(&error));
    }
    if kind.is_dir() {
        header.set_size(0);
        return archive
            .append_data(&mut header, format!("{}/", entry.path), io::empty())
            .map_err(|error| archive_interrupted(&error));
    }
    if !kind.is_file() {
        // Images hold no sockets, pipes and devices of a context.
        return Ok(());
    }
    let file = context::open(&entry.host)?;
    let size = entry.metadata.len();
    header.set_size(size);
    archive.append_data(&mut header, &entry.path, io::empty()).map_err(|error| archive_interrupted(&error))?;
    archive.get_mut().write_content(&file, size, &entry.host)
}
