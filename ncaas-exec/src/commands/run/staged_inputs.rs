//! Inputs that cannot be mounted in place, staged in the job's work folder.
//!
//! - An input below the io-dir: a development container could replace it by a link between the check and the mount.
//! - A folder with links that lead out of it: they would lead nowhere in the container.
//! - A file that the container's user may not read.
//!
//! A staged file is a hard link where possible, and otherwise a copy. Links are resolved.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ncaas_core::blocking::run_blocking;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::folder::Folder;
use ncaas_core::inputs::InputPath;
use ncaas_core::layout::{JobFolder, base_name};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};

use super::job_inputs::JobInputs;
use crate::container_user::ContainerUser;

/// Depth at which a folder is taken for a loop of links.
const MAX_DEPTH: usize = 200;

/// The inputs with the paths that are to be mounted: staged where that is necessary. Fails with [`Kind::UnsafePath`] if
/// a link leads out of the io-dir, or something is neither a file nor a folder; [`Kind::AccessDenied`] if this user may
/// not read a file.
pub(super) async fn stage_inputs(
    inputs: &JobInputs,
    io_dir: &Path,
    folder: &JobFolder,
    user: ContainerUser,
) -> Result<JobInputs> {
    let (mut staged, io_dir, folder) = (inputs.clone(), io_dir.to_owned(), folder.clone());
    let stage = move || {
        folder.remove_staged_inputs();
        for (name, input) in [("data", &mut staged.data), ("config", &mut staged.config)] {
            if let Some(input) = input {
                let target = folder.work_inputs().join(name);
                stage_input(input, &io_dir, &target, &user)?;
            }
        }
        Ok(staged)
    };
    run_blocking(stage).await
}

fn stage_input(input: &mut InputPath, io_dir: &Path, target: &Path, user: &ContainerUser) -> Result<()> {
    let canonical = input.host.canonicalize().doing("read", &input.host)?;
    let canonical_io_dir = io_dir.canonicalize().doing("read", io_dir)?;
    let (source, path) = if input.host.starts_with(io_dir) {
        (InputAccess::IoDir(Folder::open(io_dir)?), &input.host)
    } else if canonical.starts_with(&canonical_io_dir) {
        (InputAccess::IoDir(Folder::open(&canonical_io_dir)?), &canonical)
    } else {
        (InputAccess::Machine, &input.host)
    };
    if matches!(source, InputAccess::Machine) && !needs_staging(&source, path, &canonical, user, 0)? {
        return Ok(());
    }
    if canonical_io_dir.starts_with(&canonical) {
        let (data, io_dir) = (input.host.display(), io_dir.display());
        return Err(Failure::new(Kind::UnsafePath, format!("the folder `{data}` contains the io-dir `{io_dir}`"))
            .hint("name another io-dir with `--io-dir`, or move the dataset into a folder without one"));
    }
    let staged = target.join(base_name(&input.inside));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(target).doing("create the folder", target)?;
    stage(&source, path, &staged, user, 0)?;
    input.host = staged;
    Ok(())
}

/// How an input is opened.
enum InputAccess {
    /// Below the io-dir: no link leads out of it.
    IoDir(Folder),
    /// Anywhere: the user named the path.
    Machine,
}

impl InputAccess {
    /// Opens a file or folder, without waiting for the writer of a pipe.
    fn open(&self, path: &Path) -> Result<(File, Metadata)> {
        let (file, metadata) = match self {
            InputAccess::IoDir(folder) => folder.open_any(folder.relative(path))?,
            InputAccess::Machine => {
                let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
                let file = File::options().read(true).custom_flags(flags).open(path).doing("read", path)?;
                let metadata = file.metadata().doing("read", path)?;
                (file, metadata)
            }
        };
        if !metadata.is_file() && !metadata.is_dir() {
            let message = format!("`{}` is neither a file nor a folder", path.display());
            return Err(Failure::new(Kind::UnsafePath, message).hint("save its content to a file first"));
        }
        Ok((file, metadata))
    }
}

/// The entries of a folder, in the order of their names.
fn entries(path: &Path, folder: &File) -> Result<Vec<PathBuf>> {
    // By handle: the path may now lead elsewhere.
    let handle = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let names = fs::read_dir(handle).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| path.join(entry.file_name()))).collect::<io::Result<Vec<_>>>()
    });
    let mut paths = names.doing("read", path)?;
    paths.sort_unstable();
    Ok(paths)
}

fn check_depth(path: &Path, depth: usize) -> Result<()> {
    if depth < MAX_DEPTH {
        return Ok(());
    }
    Err(Failure::new(Kind::UnsafePath, format!("`{}` is nested too deeply: a link may form a loop", path.display())))
}

/// Whether an input outside the io-dir cannot be mounted in place.
fn needs_staging(source: &InputAccess, path: &Path, root: &Path, user: &ContainerUser, depth: usize) -> Result<bool> {
    check_depth(path, depth)?;
    let is_link = depth > 0 && path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    if is_link && !path.canonicalize().doing("read", path)?.starts_with(root) {
        return Ok(true);
    }
    let (file, metadata) = source.open(path)?;
    if !user.may_read(&metadata) {
        return Ok(true);
    }
    // The target of a link within the folder is visited under its own name.
    if metadata.is_dir() && !is_link {
        for entry in entries(path, &file)? {
            if needs_staging(source, &entry, root, user, depth + 1)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Links or copies `path` to `target`, which does not exist.
fn stage(source: &InputAccess, path: &Path, target: &Path, user: &ContainerUser, depth: usize) -> Result<()> {
    check_depth(path, depth)?;
    let (mut file, metadata) = source.open(path)?;
    if metadata.is_dir() {
        fs::DirBuilder::new().mode(0o755).create(target).doing("create the folder", target)?;
        fs::set_permissions(target, Permissions::from_mode(0o755)).doing("create the folder", target)?;
        for entry in entries(path, &file)? {
            let name = entry.file_name().unwrap_or_default();
            stage(source, &entry, &target.join(name), user, depth + 1)?;
        }
        return Ok(());
    }
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    if user.may_read(&metadata) && linkat(CWD, handle.as_str(), CWD, target, AtFlags::SYMLINK_FOLLOW).is_ok() {
        return Ok(());
    }
    // Another file system, or a file of another user.
    let mode = 0o444 | metadata.mode() & 0o111;
    let mut copy = File::options().write(true).create_new(true).mode(mode).open(target).doing("write", target)?;
    copy.set_permissions(Permissions::from_mode(mode)).doing("write", target)?;
    io::copy(&mut file, &mut copy).doing("copy", path)?;
    copy.set_modified(metadata.modified().unwrap_or(std::time::UNIX_EPOCH)).doing("write", target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn named() -> ContainerUser {
        ContainerUser::Named("lab".to_owned())
    }

    fn input(host: PathBuf) -> InputPath {
        InputPath { inside: format!("inputs/{}", host.file_name().unwrap().display()), host, is_folder: false }
    }

    #[test]
    fn an_input_outside_the_io_dir_is_mounted_in_place_unless_it_cannot_be_read_there() {
        let root = tempfile::tempdir().unwrap();
        let (io_dir, target) = (root.path().join("io"), root.path().join("target"));
        fs::create_dir(&io_dir).unwrap();
        fs::write(root.path().join("x"), "1").unwrap();
        let staged = |path: &str, user: &ContainerUser| {
            let mut input = input(root.path().join(path));
            let _ = fs::remove_dir_all(&target);
            stage_input(&mut input, &io_dir, &target, user).map(|()| input.host)
        };
        assert_eq!(staged("x", &named()).unwrap(), root.path().join("x"));
        fs::set_permissions(root.path().join("x"), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(staged("x", &ContainerUser::Root).unwrap(), root.path().join("x"));
        let copy = staged("x", &named()).unwrap();
        assert_eq!((fs::read(&copy).unwrap(), fs::metadata(&copy).unwrap().mode() & 0o777), (b"1".to_vec(), 0o444));
        fs::create_dir(root.path().join("d")).unwrap();
        symlink("../x", root.path().join("d/link")).unwrap();
        let folder = staged("d", &ContainerUser::Root).unwrap();
        assert_eq!(fs::read(folder.join("link")).unwrap(), b"1");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(CWD, root.path().join("fifo"), kind, mode, 0).unwrap();
        assert_eq!(staged("fifo", &ContainerUser::Root).unwrap_err().kind, Kind::UnsafePath);
    }

    #[test]
    fn an_input_in_the_io_dir_is_staged_and_no_link_leads_out() {
        let root = tempfile::tempdir().unwrap();
        let (io_dir, target) = (root.path().join("io"), root.path().join("target"));
        fs::create_dir(&io_dir).unwrap();
        fs::write(io_dir.join("x"), "1").unwrap();
        fs::write(root.path().join("secret"), "2").unwrap();
        symlink("../secret", io_dir.join("out")).unwrap();
        let mut inside = input(io_dir.join("x"));
        stage_input(&mut inside, &io_dir, &target, &named()).unwrap();
        assert!(inside.host.starts_with(&target));
        assert_eq!(fs::metadata(&inside.host).unwrap().ino(), fs::metadata(io_dir.join("x")).unwrap().ino());
        let mut outside = input(io_dir.join("out"));
        let refused = stage_input(&mut outside, &io_dir, &target, &ContainerUser::Root);
        assert_eq!(refused.unwrap_err().kind, Kind::UnsafePath);
    }
}
