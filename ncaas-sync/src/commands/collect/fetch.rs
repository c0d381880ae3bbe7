//! Copies the files that a container wrote outside its mounts, and into its own volumes, to this machine.

use std::collections::HashSet;
use std::sync::Arc;

use cap_std::fs::Dir;
use ncaas_core::engine::Engine;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::failure::{Failure, Kind, Result};

use super::findings::Findings;
use super::image_files::{ImageLayers, drop_unchanged, read_with_container};
use super::overlay_diff::OverlayDiff;
use super::selection::{LeftOutFiles, Selection};
use super::staging::Staging;
use super::unpack::unpack;
use crate::container_changes::{
    ArchiveRequest, ChangeKind, Wanted, leaves, list_changes, parent_folders, plan_requests,
};
use crate::container_paths::MountKind;
use ncaas_core::blocking::run_blocking;
use ncaas_core::text::strip_folder;

/// Copies the selected files into the staging folder, from `overlay` if that is readable, and leaves out files that are
/// as in the `image`. With `from`, copies everything below these paths, whether it changed or not. Also returns what
/// was left out, where that is known without another request.
pub(crate) async fn fetch(
    engine: &Engine,
    selection: Arc<Selection>,
    staging: Dir,
    overlay: Option<OverlayDiff>,
    image: &str,
    from: &[String],
) -> Result<(Findings, Option<LeftOutFiles>)> {
    let mut fetcher = Fetcher {
        engine,
        selection,
        staging: Arc::new(Staging::new(staging)),
        layers: overlay.as_ref().map(|overlay| overlay.image().clone()),
        image,
        seen: HashSet::new(),
        findings: Findings::default(),
        left_out: None,
    };
    if !from.is_empty() {
        for path in from {
            fetcher.fetch_folder(fetcher.selection.paths.absolute(path)).await?;
        }
        return Ok((fetcher.findings, None));
    }
    match overlay {
        Some(overlay) if overlay.is_unchanged() => fetcher.left_out = Some(LeftOutFiles::default()),
        Some(overlay) => {
            let (staging, selection) = (Arc::clone(&fetcher.staging), Arc::clone(&fetcher.selection));
            fetcher.findings.append(run_blocking(move || overlay.copy(&staging, &selection)).await?);
        }
        None => fetcher.fetch_changes().await?,
    }
    fetcher.fetch_volumes().await?;
    if engine.is_remote() {
        for path in [fetcher.selection.paths.results(), fetcher.selection.paths.logs()] {
            fetcher.fetch_folder(path).await?;
        }
    }
    Ok((fetcher.findings, fetcher.left_out))
}

/// Counts the files that the container of a successful job without results wrote and that were left out.
pub(crate) async fn count_left_out(engine: &Engine, selection: &Selection) -> Result<LeftOutFiles> {
    let changes = list_changes(engine, &selection.paths).await?;
    Ok(LeftOutFiles::count(selection, leaves(&changes, &parent_folders(&changes))))
}

struct Fetcher<'f> {
    engine: &'f Engine,
    selection: Arc<Selection>,
    staging: Arc<Staging>,
    /// The image's layers, if they are readable.
    layers: Option<ImageLayers>,
    /// Id of the image.
    image: &'f str,
    /// Wanted paths that an archive contained.
    seen: HashSet<String>,
    findings: Findings,
    /// The files that were left out, once the changes are listed.
    left_out: Option<LeftOutFiles>,
}

impl Fetcher<'_> {
    /// Fetches the container's changes from the engine's archives.
    async fn fetch_changes(&mut self) -> Result<()> {
        let changes = match list_changes(self.engine, &self.selection.paths).await {
            Err(failure) if failure.message.contains("operation not permitted") => {
                return self.fetch_working_dir(&failure).await;
            }
            // The engine fails as a whole if one path is too deep for it.
            Err(failure) if failure.kind == Kind::EngineError => {
                return Err(failure.hint("`--from PATH` collects a folder without listing changes"));
            }
            changes => changes?,
        };
        let parents = parent_folders(&changes);
        self.left_out = Some(LeftOutFiles::count(&self.selection, leaves(&changes, &parents)));
        let wanted: Wanted = leaves(&changes, &parents)
            .filter(|change| self.selection.result_path(&change.path).is_some() && !self.is_io_dir_copy(&change.path))
            .map(|change| (change.path.clone(), change.kind))
            .collect();
        let wanted = Arc::new(wanted);
        for request in plan_requests(&changes, &wanted) {
            self.fetch(request).await?;
        }
        let missing: Vec<String> = wanted.keys().filter(|path| !self.seen.contains(*path)).cloned().collect();
        for path in missing {
            self.fetch(ArchiveRequest::single(&path, &wanted)).await?;
            if !self.seen.contains(&path) {
                self.findings.warnings.left_out(&path, "the engine does not return it: it is a socket, or was deleted");
            }
        }
        let changed = wanted.iter().filter(|(_, kind)| **kind == ChangeKind::Changed);
        let changed: Wanted = changed.map(|(path, kind)| (path.clone(), *kind)).collect();
        self.drop_unchanged(0, plan_requests(&[], &Arc::new(changed))).await
    }

    /// Fetches the working directory, where analyses write, from an engine that may not list changes: a rootless Podman
    /// through fuse-overlayfs whose images belong to another user (seen with 4.3.1). Asking again would not help.
    async fn fetch_working_dir(&mut self, failure: &Failure) -> Result<()> {
        let folder = self.selection.paths.working_dir.clone();
        self.left_out = Some(LeftOutFiles::default());
        let what =
            if folder.is_empty() { "the io-dir was".to_owned() } else { format!("the io-dir and `{folder}` were") };
        self.findings.warnings.add(format!("only {what} collected: {failure}"));
        if folder.is_empty() { Ok(()) } else { self.fetch_whole(folder).await }
    }

    /// Fetches all files of a folder that are neither in a mount below it nor as in the image.
    async fn fetch_whole(&mut self, folder: String) -> Result<()> {
        let kept = self.findings.list.len();
        let excluded = self.selection.paths.folders_outside(&folder);
        let request = ArchiveRequest { excluded, ..ArchiveRequest::everything(folder) };
        self.fetch(request.clone()).await?;
        self.drop_unchanged(kept, vec![request]).await
    }

    /// Leaves out the findings after the first `kept` ones that are as in the image, which `requests` ask for.
    async fn drop_unchanged(&mut self, kept: usize, requests: Vec<ArchiveRequest>) -> Result<()> {
        if requests.is_empty() || self.findings.list.len() <= kept {
            return Ok(());
        }
        let entries = if let Some(layers) = self.layers.clone() {
            let compared = self.findings.list[kept..].to_vec();
            Ok(run_blocking(move || Ok(layers.entries(&compared))).await?)
        } else {
            read_with_container(self.engine, &self.selection.paths.id, self.image, requests).await
        };
        match entries {
            Ok(entries) => drop_unchanged(&mut self.findings, kept, &entries),
            Err(failure) if failure.kind == Kind::EngineUnreachable => return Err(failure),
            Err(failure) => self.findings.warnings.add(format!(
                "cannot compare files with those of the image ({failure}): unchanged files of the image may be among \
                     the results"
            )),
        }
        Ok(())
    }

    /// Fetches the volumes that the engine created with the container: nobody else has their content.
    async fn fetch_volumes(&mut self) -> Result<()> {
        for mount in self.selection.paths.mounts.clone() {
            match mount.kind {
                MountKind::AnonymousVolume => self.fetch_whole(mount.path).await?,
                MountKind::Tmpfs if !self.selection.filter.excludes(&mount.path) => {
                    self.findings.warnings.add(format!(
                        "`{}` was in memory (tmpfs): its files were lost when the container ended",
                        mount.path
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a path belongs to an io-dir that was copied into a container of a remote engine. The inputs are not
    /// results; the results and logs folders are fetched as a whole.
    fn is_io_dir_copy(&self, path: &str) -> bool {
        let paths = &self.selection.paths;
        let mut folders = paths.input_copies.iter().cloned().chain([paths.results(), paths.logs()]);
        self.engine.is_remote() && folders.any(|folder| strip_folder(path, &folder).is_some())
    }

    async fn fetch_folder(&mut self, path: String) -> Result<()> {
        self.fetch(ArchiveRequest::everything(path)).await
    }

    async fn fetch(&mut self, request: ArchiveRequest) -> Result<()> {
        let mut waiting = vec![self.without_following(request).await?];
        while let Some(request) = waiting.pop() {
            let (selection, staging) = (Arc::clone(&self.selection), Arc::clone(&self.staging));
            let (root, wanted, id) = (request.root.clone(), request.wanted.clone(), self.selection.paths.id.clone());
            let work = move |archive: &mut _| unpack(archive, &request, &staging, &selection);
            match self.engine.download(&id, &root, work).await {
                Ok(unpacked) => {
                    self.seen.extend(unpacked.seen);
                    self.findings.append(unpacked.findings);
                    waiting.extend(
                        unpacked
                            .to_request
                            .into_iter()
                            .map(|path| ArchiveRequest { wanted: wanted.clone(), ..ArchiveRequest::everything(path) }),
                    );
                }
                // Deleted since it was listed, or never created.
                Err(failure) if failure.kind == Kind::FileNotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// The request to use for a link on Podman, which would follow it: its folder.
    async fn without_following(&self, request: ArchiveRequest) -> Result<ArchiveRequest> {
        let (Some(wanted), Some((parent, _))) = (&request.wanted, request.root.rsplit_once('/')) else {
            return Ok(request);
        };
        let Some((path, kind)) = wanted.get_key_value(&request.root) else { return Ok(request) };
        if parent.is_empty() || !self.engine.is_podman().await {
            return Ok(request);
        }
        match self.engine.stat(&self.selection.paths.id, path).await? {
            Some(PathInfo { kind: PathKind::File | PathKind::Directory | PathKind::Special, .. }) => Ok(request),
            // Podman reports a dangling link as missing.
            Some(PathInfo { kind: PathKind::Symlink(_), .. }) | None => {
                Ok(ArchiveRequest::single(parent, &Arc::new(Wanted::from([(path.clone(), *kind)]))))
            }
        }
    }
}
