//! The entries of a folder that the `COPY` sources of a Dockerfile need: the paths themselves, and the targets of links
//! on the way. As `followlinks.go` of fsutil.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::builder::dockerignore::DockerIgnore;

/// The longest chain of links.
const LINKS: usize = 255;

/// The paths as patterns, with the targets of the links among them. None if one is the folder itself.
pub(super) fn resolve_links(root: &Path, wanted: &[String]) -> Option<Vec<String>> {
    let mut found = BTreeSet::new();
    for path in wanted {
        let mut budget = LINKS;
        follow(root, &normalise(Path::new(path)), &mut found, &mut budget)?;
    }
    Some(found.into_iter().collect())
}

/// Follows the links of one path. None if it is the folder itself.
fn follow(root: &Path, path: &[String], found: &mut BTreeSet<String>, budget: &mut usize) -> Option<()> {
    if path.is_empty() {
        return None;
    }
    for at in 0..path.len() {
        for step in expand(root, &path[..at], &path[at]) {
            let here = [&path[..at], std::slice::from_ref(&step)].concat();
            let Ok(target) = std::fs::read_link(root.join(here.join("/"))) else {
                if step != path[at] {
                    // A name that matches a wildcard: there may be links below it.
                    follow(root, &[&here, &path[at + 1..]].concat(), found, budget)?;
                }
                continue;
            };
            found.insert(here.join("/"));
            if *budget == 0 {
                return Some(());
            }
            *budget -= 1;
            // An absolute link begins at the root of the context, as in the image.
            let from: PathBuf = if target.is_absolute() { PathBuf::new() } else { here[..at].iter().collect() };
            let mut resolved = normalise(&from.join(target.strip_prefix("/").unwrap_or(&target)));
            resolved.extend_from_slice(&path[at + 1..]);
            follow(root, &resolved, found, budget)?;
            if step == path[at] {
                return Some(());
            }
        }
    }
    found.insert(path.join("/"));
    Some(())
}

/// The names in a folder that match one part of a path.
fn expand(root: &Path, folder: &[String], part: &str) -> Vec<String> {
    if !part.contains(['*', '?', '[']) {
        return vec![part.to_owned()];
    }
    let Ok(pattern) = DockerIgnore::parse([part]) else { return Vec::new() };
    let entries = std::fs::read_dir(root.join(folder.join("/"))).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| pattern.matches(name, &Default::default()).0).collect()
}

/// The parts of a path, without `.` and `..`: `..` does not lead out of the folder.
fn normalise(path: &Path) -> Vec<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn followed(root: &Path, wanted: &[&str]) -> Option<Vec<String>> {
        resolve_links(root, &wanted.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn links_on_the_way_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("/real/deep", root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("../../../etc", root.join("out")).unwrap();
        assert_eq!(followed(root, &["/link/deep/x"]).unwrap(), ["link", "real/deep/x"]);
        assert_eq!(followed(root, &["absolute"]).unwrap(), ["absolute", "real/deep"]);
        assert_eq!(followed(root, &["l*k/x"]).unwrap(), ["l*k/x", "link", "real/x"]);
        assert_eq!(followed(root, &["out"]).unwrap(), ["etc", "out"]);
        assert_eq!(followed(root, &["loop"]).unwrap(), ["loop"]);
        assert_eq!(followed(root, &["a", "."]), None);
    }
}
