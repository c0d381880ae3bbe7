//! Changes the owner of a job's files on this machine to the user, whichever user the job ran as.
//!
//! Only the engine may change owners. It does so through the job's own container, which has the folders mounted and
//! need not run: an archive written into a container carries owners and modes, and the engine applies them. A folder in
//! the archive changes the existing folder and keeps its content. A file is not sent: the archive creates a second,
//! hard link to it in a temporary folder with the new owner, and the owner belongs to the file under all of its names.
//! The user can then change modes that deny access. So nothing is copied or started, and the image needs no `chown`.
//!
//! (moby, `pkg/archive`, `createTarFile`: a link is made with `link(2)`, then its owner and mode are set. Podman does
//! the same, buildah's `copier`.)

use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_recursion::async_recursion as boxed;
use bollard::models::ContainerInspectResponse;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use walkdir::{DirEntry, WalkDir};

use crate::blocking::run_blocking;
use crate::engine::archive::{ArchiveWriter, archive_interrupted};
use crate::engine::connection::{Engine, with_deadline};
use crate::engine::errors::{EngineContext, Subject};
use crate::engine::reference;
use crate::failure::{Failure, IoContext, Kind, Result};
use crate::files::lock_folder;
use crate::time::format_seconds;

/// Beginning of the name of the temporary folder for the second links.
const LINKS: &str = ".ncaas-owner-";

/// How long the engine may take to answer a request for its description.
const INFO_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// The owner that files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOwner {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
}

impl FileOwner {
    /// The user who runs this program.
    pub fn current() -> Self {
        FileOwner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    fn owns(self, file: &Metadata) -> bool {
        file.uid() == self.uid
    }
}

/// The files of other users in a folder, as far as the owner can see them.
#[derive(Debug, Default, PartialEq, Eq)]
struct OwnershipScan {
    /// Files and folders of others.
    foreign: u64,
    /// Folders that cannot be looked into.
    unreadable: u64,
    /// Files of the owner whose modes denied access and were changed: the next survey sees more.
    opened: u64,
}

impl OwnershipScan {
    fn is_clean(&self) -> bool {
        self.foreign == 0 && self.unreadable == 0
    }

    /// Whether the round between `before` and this survey has changed nothing.
    fn is_stuck(&self, before: Option<&OwnershipScan>) -> bool {
        self.opened == 0 && before == Some(self)
    }
}

impl Engine {
    /// Gives everything in `folders` of this machine to `owner`, to read and to remove. The folders are mounted in the
    /// ended container `id`, or are below its mounts. A folder that contains only files of `owner` is only walked. Does
    /// nothing for a remote engine.
    ///
    /// # Errors
    /// [`Kind::ContainerNotFound`]; [`Kind::AccessDenied`] if the engine cannot do it, because it maps users to
    /// others (`userns-remap`) or the file system refuses.
    pub async fn repair_ownership(&self, id: &str, folders: &[PathBuf], owner: FileOwner) -> Result<()> {
        self.repair_ownership_except(id, folders, owner, |_| false).await
    }

    /// The same, except for entries of `folders` whose names `except` selects.
    ///
    /// # Errors
    /// Same as [`Engine::repair_ownership`].
    pub async fn repair_ownership_except(
        &self,
        id: &str,
        folders: &[PathBuf],
        owner: FileOwner,
        except: fn(&OsStr) -> bool,
    ) -> Result<()> {
        let Some(above) = folders.first().and_then(|folder| folder.parent()).filter(|_| !self.is_remote()) else {
            return Ok(());
        };
        // Two stages of a pipe may find at once that the job has ended, and each would remove the links of the other.
        let _lock = lock_folder(above.to_owned()).await;
        let mut container = None;
        for folder in folders {
            let mut before = None;
            loop {
                let survey = survey(folder, owner, except).await?;
                if survey.is_clean() {
                    break;
                }
                // The content of a folder is visible only once the folder is the owner's, so it needs another round.
                if survey.is_stuck(before.as_ref()) {
                    return Err(Failure::new(
                        Kind::AccessDenied,
                        format!(
                            "files in `{}` still belong to another user: the engine could not change their owner",
                            folder.display()
                        ),
                    )
                    .hint(format!(
                        "`sudo chown -R {}:{} {}`",
                        owner.uid,
                        owner.gid,
                        folder.display()
                    )));
                }
                if container.is_none() {
                    container = Some((self.inspect(id).await?, self.as_it_maps(owner).await?));
                }
                if let Some((inspected, mapped)) = &container
                    && let Err(failure) = self.change_owner(inspected, folder, owner, *mapped, except).await
                {
                    remove_links(folder)?;
                    return Err(failure);
                }
                before = Some(survey);
            }
        }
        Ok(())
    }

    /// One round: every visible file in a folder that does not belong to the owner.
    async fn change_owner(
        &self,
        inspected: &ContainerInspectResponse,
        folder: &Path,
        owner: FileOwner,
        mapped: FileOwner,
        except: fn(&OsStr) -> bool,
    ) -> Result<()> {
        let is_read_only = inspected.host_config.as_ref().and_then(|host| host.readonly_rootfs) == Some(true);
        // The engine writes into a container with a read-only root file system only if the request names a mount.
        let (into, name) = mounted_at(inspected, folder, is_read_only || self.is_podman().await)?;
        let id = inspected.id.as_deref().unwrap_or_default();
        let folder = folder.to_owned();
        self.upload(id, &into, move |archive| {
            // This fails if the folder itself belongs to another user; then the next round creates the links.
            let links = TempDir::with_prefix_in(LINKS, &folder).ok();
            // The next round handles entries that are not visible yet.
            let all = entries(&folder, except).flatten();
            let foreign = all.filter(|entry| entry.metadata().is_ok_and(|file| !owner.owns(&file)));
            let result = append(archive, &folder, &name, links.as_ref().map(TempDir::path), foreign, mapped);
            // The engine still needs them; the next survey removes them.
            if let Some(links) = links {
                let _ = links.keep();
            }
            result.map_err(|error| archive_interrupted(&error))
        })
        .await
    }

    /// `owner` as the engine maps it: for an engine that runs as the user, the user is root.
    #[boxed]
    async fn as_it_maps(&self, owner: FileOwner) -> Result<FileOwner> {
        let info =
            with_deadline(INFO_TIME, async { self.docker().info().await.engine_context("ask", Subject::Engine) })
                .await?;
        let rootless = info.security_options.unwrap_or_default().iter().any(|option| option.contains("name=rootless"));
        // Podman does not report this: its own folder belongs to the user that it runs as.
        let folder = info.docker_root_dir.and_then(|folder| fs::metadata(folder).ok());
        let is_users = rootless || folder.is_some_and(|folder| owner.owns(&folder));
        Ok(if is_users && owner.uid != 0 { FileOwner { uid: 0, gid: 0 } } else { owner })
    }
}

/// Counts the files of others in a folder. Removes the links of an earlier round, and changes modes of the owner's
/// files that deny access.
async fn survey(folder: &Path, owner: FileOwner, except: fn(&OsStr) -> bool) -> Result<OwnershipScan> {
    let folder = folder.to_owned();
    let survey = move || {
        remove_links(&folder)?;
        let mut survey = OwnershipScan::default();
        for entry in entries(&folder, except) {
            match entry.and_then(|entry| Ok((entry.metadata()?, entry.into_path()))) {
                Ok((file, path)) if owner.owns(&file) => survey.opened += u64::from(grant_access(&path, &file)?),
                Ok(_) => survey.foreign += 1,
                Err(error) if is_refused(&error) => survey.unreadable += 1,
                // Nested deeper than the longest path: no user can access it.
                Err(error) if is_too_long(&error) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(&folder).to_owned();
                    return Err(Failure::io("inspect", &path, &io::Error::from(error)));
                }
            }
        }
        Ok(survey)
    };
    run_blocking(survey).await
}

fn is_refused(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn is_too_long(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::InvalidFilename)
}

/// Removes the second links of an earlier round, even if it was interrupted.
fn remove_links(folder: &Path) -> Result<()> {
    // No links were created in a folder that cannot be read.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(LINKS) {
            fs::remove_dir_all(entry.path()).doing("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// Lets the owner read a file, and enter it if it is a folder. Returns whether the mode was changed.
fn grant_access(path: &Path, file: &Metadata) -> Result<bool> {
    let needed = match file.file_type() {
        kind if kind.is_dir() => 0o700,
        kind if kind.is_file() => 0o400,
        _ => return Ok(false),
    };
    let mode = file.mode() & 0o7777;
    if mode & needed == needed {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode | needed)).doing("open", path)?;
    Ok(true)
}

/// The folder and everything in it, except second links and the excepted names.
fn entries(folder: &Path, except: fn(&OsStr) -> bool) -> impl Iterator<Item = walkdir::Result<DirEntry>> + use<> {
    let is_left_out = move |name: &OsStr| except(name) || name.as_encoded_bytes().starts_with(LINKS.as_bytes());
    WalkDir::new(folder).into_iter().filter_entry(move |entry| entry.depth() != 1 || !is_left_out(entry.file_name()))
}

/// Writes the files of others into the archive: folders as they are, all others as links in the folder `links`.
fn append(
    archive: &mut Builder<ArchiveWriter>,
    folder: &Path,
    name: &str,
    links: Option<&Path>,
    foreign: impl Iterator<Item = DirEntry>,
    mapped: FileOwner,
) -> io::Result<()> {
    let links_name = links.and_then(Path::file_name).unwrap_or_default();
    let mut count = 0_u64;
    for entry in foreign {
        let (Ok(metadata), Ok(relative)) = (entry.metadata(), entry.path().strip_prefix(folder)) else { continue };
        let path = Path::new(name).join(relative);
        if metadata.is_dir() {
            let mut header = header(archive, &metadata, EntryType::Directory, mapped)?;
            archive.append_data(&mut header, &path, io::empty())?;
        } else if links.is_some() {
            let mut header = header(archive, &metadata, EntryType::Link, mapped)?;
            let link = Path::new(name).join(links_name).join(count.to_string());
            archive.append_link(&mut header, link, &path)?;
            count += 1;
        }
    }
    Ok(())
}

/// A header with a file's own mode and time, and its new owner.
fn header(
    archive: &mut Builder<ArchiveWriter>,
    file: &Metadata,
    kind: EntryType,
    owner: FileOwner,
) -> io::Result<Header> {
    // A plain header's time is in whole seconds.
    let time = format_seconds(i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec()));
    archive.append_pax_extensions([("mtime", time.as_bytes())])?;
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(file.mode() & 0o7777);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_mtime(file.mtime().try_into().unwrap_or_default());
    Ok(header)
}

/// Where a folder of this machine is mounted: the folder in the container to write an archive into, and the name in it.
///
/// That is the parent folder, since the Docker Engine does not change the owner of the folder that it writes into.
/// Podman writes into a mount only if the request names the mount itself.
fn mounted_at(inspected: &ContainerInspectResponse, folder: &Path, is_podman: bool) -> Result<(String, String)> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let wanted = real(folder);
    let mounts = inspected.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("bind"));
    let targets = mounts.filter_map(|mount| {
        let source = real(Path::new(mount.source.as_deref()?));
        let within = wanted.strip_prefix(&source).ok()?.to_str()?.to_owned();
        Some((mount.destination.as_deref()?.trim_end_matches('/'), within))
    });
    // The innermost of nested mounts is the relevant one.
    let (destination, within) = targets.min_by_key(|(_, within)| within.len()).ok_or_else(|| {
        let name = reference::container_name(inspected);
        Failure::new(Kind::EngineError, format!("`{}` is not mounted in container `{name}`", folder.display()))
    })?;
    let path = format!("{destination}/{within}");
    let (into, name) = if is_podman {
        (destination, if within.is_empty() { "." } else { within.as_str() })
    } else {
        path.trim_end_matches('/').rsplit_once('/').unwrap_or_default()
    };
    Ok((if into.is_empty() { "/" } else { into }.to_owned(), name.to_owned()))
}
