//! What a container wrote outside its mounts, and into volumes of its own, comes onto this machine.

use std::collections::HashSet;
use std::sync::Arc;

use cap_std::fs::Dir;
use ncaas_core::engine::Engine;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::failure::{Kind, Result};

use super::direct::Layer;
use super::found::Finds;
use super::inside::{MountKind, changes, folders};
use super::plan::{Fetch, Wanted, fetches, leaves, single};
use super::stage::Stage;
use super::unpack::{Rules, unpack};
use crate::names;
use ncaas_core::blocking::run_blocking;

/// Brings it below `stage`, out of `layer` where that can be read. `from`: only what lies under these paths, changed or
/// not.
pub(crate) async fn fetch(
    engine: &Engine,
    rules: Arc<Rules>,
    stage: Dir,
    layer: Option<Layer>,
    from: &[String],
) -> Result<Finds> {
    let mut finds = Finds::default();
    let mut fetching = Fetching { engine, rules, stage: Arc::new(Stage::new(stage)), seen: HashSet::new() };
    if !from.is_empty() {
        for path in from {
            let path = fetching.absolute(path);
            fetching.one(Fetch { root: path, wanted: None, give_up: false }, &mut finds).await?;
        }
        return Ok(finds);
    }
    match layer {
        Some(layer) => {
            let (stage, rules) = (Arc::clone(&fetching.stage), Arc::clone(&fetching.rules));
            finds.append(run_blocking(move || layer.copy(&stage, &rules)).await?);
        }
        None => fetching.changed(&mut finds).await?,
    }
    fetching.volumes(&mut finds).await?;
    if engine.is_remote() {
        for path in [fetching.rules.inside.results(), fetching.rules.inside.logs()] {
            fetching.one(Fetch { root: path, wanted: None, give_up: false }, &mut finds).await?;
        }
    }
    Ok(finds)
}

struct Fetching<'f> {
    engine: &'f Engine,
    rules: Arc<Rules>,
    stage: Arc<Stage>,
    /// Paths that have been in an archive.
    seen: HashSet<String>,
}

impl Fetching<'_> {
    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            names::plain(path)
        } else {
            names::plain(&format!("{}/{path}", self.rules.inside.working_dir))
        }
    }

    async fn changed(&mut self, finds: &mut Finds) -> Result<()> {
        let changes = changes(self.engine, &self.rules.inside).await.map_err(|failure| match failure.kind {
            // The engine fails as a whole where one path is too deep for it.
            Kind::EngineError => failure.hint("`--from PATH` takes what lies there without that list"),
            _ => failure,
        })?;
        let folders = folders(&changes);
        let wanted: Wanted = leaves(&changes, &folders)
            .filter(|change| {
                let place = self.rules.places.of_path(&change.path);
                place.is_some_and(|place| self.rules.select.takes(&change.path, place.path()))
            })
            .filter(|change| !self.is_input(&change.path) && !self.is_brought_anyway(&change.path))
            .map(|change| (change.path.clone(), change.how))
            .collect();
        let wanted = Arc::new(wanted);
        for fetch in fetches(&changes, &wanted) {
            self.one(fetch, finds).await?;
        }
        let missing: Vec<String> = wanted.keys().filter(|path| !self.seen.contains(*path)).cloned().collect();
        for path in missing {
            self.one(single(&path, &wanted), finds).await?;
            if !self.seen.contains(&path) {
                finds.warnings.left_out(&path, "the engine does not give it: it is a socket, or gone by now");
            }
        }
        Ok(())
    }

    /// Volumes that came into being with the container: nobody else has what is in them.
    async fn volumes(&mut self, finds: &mut Finds) -> Result<()> {
        for mount in self.rules.inside.mounts.clone() {
            match mount.kind {
                MountKind::OwnVolume => {
                    self.one(Fetch { root: mount.at, wanted: None, give_up: false }, finds).await?;
                }
                MountKind::Tmpfs if !self.rules.select.leaves_out(&mount.at) => finds.warnings.add(format!(
                    "`{}` was in memory (tmpfs): what was written there went when the container ended",
                    mount.at
                )),
                _ => {}
            }
        }
        Ok(())
    }

    /// The job's own inputs, which are copied into a container of an engine that is elsewhere.
    fn is_input(&self, path: &str) -> bool {
        let io_dir = &self.rules.inside.io_dir;
        self.engine.is_remote()
            && ["inputs", "configs"].iter().any(|folder| names::below(path, &format!("{io_dir}/{folder}")).is_some())
    }

    /// What lies in the results and logs folders of an engine that is elsewhere comes as a whole.
    fn is_brought_anyway(&self, path: &str) -> bool {
        let inside = &self.rules.inside;
        self.engine.is_remote()
            && [inside.results(), inside.logs()].iter().any(|folder| names::below(path, folder).is_some())
    }

    /// What to ask for in place of a link, which Podman follows: the folder in which it lies.
    async fn unfollowed(&self, fetch: Fetch) -> Result<Fetch> {
        let (Some(wanted), Some((above, _))) = (&fetch.wanted, fetch.root.rsplit_once('/')) else { return Ok(fetch) };
        let Some((path, how)) = wanted.get_key_value(&fetch.root) else { return Ok(fetch) };
        if above.is_empty() || !self.engine.is_podman().await {
            return Ok(fetch);
        }
        match self.engine.stat(&self.rules.inside.id, path).await? {
            Some(PathInfo { kind: PathKind::File | PathKind::Directory | PathKind::Special, .. }) => Ok(fetch),
            // Of a link that leads nowhere it says that it is not there.
            Some(PathInfo { kind: PathKind::Symlink(_), .. }) | None => {
                let alone = Wanted::from([(path.clone(), *how)]);
                Ok(Fetch { root: above.to_owned(), wanted: Some(Arc::new(alone)), give_up: false })
            }
        }
    }

    async fn one(&mut self, fetch: Fetch, finds: &mut Finds) -> Result<()> {
        let mut waiting = vec![self.unfollowed(fetch).await?];
        while let Some(fetch) = waiting.pop() {
            let (rules, stage, root) = (Arc::clone(&self.rules), Arc::clone(&self.stage), fetch.root.clone());
            let wanted = fetch.wanted.clone();
            let id = self.rules.inside.id.clone();
            let work = move |archive: &mut _| unpack(archive, &fetch, &stage, &rules);
            match self.engine.download(&id, &root, work).await {
                Ok(unpacked) => {
                    self.seen.extend(unpacked.seen);
                    finds.append(unpacked.finds);
                    let again = unpacked.again.into_iter();
                    waiting.extend(again.map(|path| Fetch { root: path, wanted: wanted.clone(), give_up: false }));
                }
                // Gone since it was listed, or never there.
                Err(failure) if failure.kind == Kind::FileNotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}
