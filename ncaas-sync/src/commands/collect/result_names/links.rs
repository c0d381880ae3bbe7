//! The names of links, which depend on the names of their targets.

use ncaas_core::failure::Result;

use super::{Assigner, Destination};
use crate::commands::collect::findings::{Content, FoundEntry};
use crate::path_text::{normalize, relative_link};

impl<D: Destination> Assigner<'_, D> {
    /// Assigns paths to links whose target has one.
    pub(super) fn assign_links(&mut self, list: &mut [FoundEntry]) -> Result<()> {
        let mut links: Vec<usize> =
            (0..list.len()).filter(|&at| matches!(list[at].content, Content::Link { .. })).collect();
        if links.is_empty() {
            return Ok(());
        }
        let mut by_source: Vec<usize> = (0..list.len()).collect();
        by_source.sort_unstable_by(|&a, &b| list[a].source.cmp(&list[b].source));
        // A link may lead to another link.
        loop {
            let before = links.len();
            let mut left = Vec::new();
            for at in links {
                let Some(target_path) = self.target_path(list, &by_source, at) else {
                    left.push(at);
                    continue;
                };
                let (path, index) = self.choose(&list[at].source, |assigner, path| {
                    assigner.destination.find_link(path, &relative_link(path, &target_path))
                })?;
                self.reserve(&path);
                list[at].name = Some(index);
                if let Content::Link { target, .. } = &mut list[at].content {
                    *target = relative_link(&path, &target_path).into();
                }
            }
            if left.len() == before {
                return Ok(());
            }
            links = left;
        }
    }

    /// The assigned path of the target of a link, relative to the job's folder.
    fn target_path(&self, list: &[FoundEntry], by_source: &[usize], link: usize) -> Option<String> {
        let Content::Link { target, .. } = &list[link].content else { return None };
        let target = if target.starts_with('/') {
            normalize(target)
        } else {
            normalize(&format!("{}/{target}", list[link].source.rsplit_once('/')?.0))
        };
        let named_from = |source: &str| {
            let first = by_source.partition_point(|&at| *list[at].source < *source);
            by_source[first..].iter().map(|&at| &list[at]).filter(|finding| finding.name.is_some())
        };
        if let Some(finding) = named_from(&target).next().filter(|finding| *finding.source == *target) {
            return self.naming.assigned_path(finding);
        }
        // A folder: its path is that of one of its files, as far as the folder.
        let below = format!("{target}/");
        let finding = named_from(&below).next().filter(|finding| finding.source.starts_with(&below))?;
        self.naming.assigned_path(finding)?.strip_suffix(&finding.source[target.len()..]).map(str::to_owned)
    }
}
