//! The commit that an image is made from: its tag and its labels.

use std::path::Path;
use std::process::Command;

use ncaas_core::failure::{Failure, Kind, Result};

/// Where images of analyses are kept on the platform.
pub(crate) const REPOSITORY: &str = "neurocaas/contrib";
/// The commit that an image was made from.
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";
/// Where its sources are.
pub(crate) const SOURCE: &str = "org.opencontainers.image.source";
/// The time of what it was made from: a build that changes nothing is to be the same image.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

/// A git repository as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    /// The repository's name: the last part of its origin's address, else of its folder's path.
    pub(crate) repository: String,
    /// The commit, 40 hex digits.
    pub(crate) commit: String,
    /// Whether files that git tracks are changed.
    pub(crate) dirty: bool,
    /// Address of the origin, without a password that may stand in it.
    pub(crate) origin: Option<String>,
    /// When the commit was made, RFC 3339 in UTC.
    pub(crate) time: String,
}

impl Revision {
    /// The repository that `folder` is in; none where it is in none.
    ///
    /// # Errors
    /// Where git is not there or refuses the repository, or there is no commit in it yet.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>> {
        let top = match git(folder, &["rev-parse", "--show-toplevel"]) {
            Ok(top) => top,
            Err(failure) if failure.message.contains("not a git repository") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let commit = git(folder, &["rev-parse", "--verify", "HEAD^{commit}"]).map_err(|_| {
            Failure::new(Kind::Usage, format!("the git repository `{top}` has no commit yet"))
                .hint("commit the analysis first, or name the image with `-t`")
        })?;
        let seconds = git(folder, &["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let time = seconds.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let origin = git(folder, &["remote", "get-url", "origin"]).ok();
        let named = origin.as_deref().unwrap_or(&top);
        Ok(Some(Revision {
            repository: repository_name(named),
            commit,
            dirty: !git(folder, &["status", "--porcelain", "--untracked-files=no"])?.is_empty(),
            origin: origin.as_deref().map(without_password),
            time: time.unwrap_or_default().to_string(),
        }))
    }

    /// `neurocaas/contrib:<repository>.<short commit>`, with `-dirty` where that commit is not what is there.
    pub(crate) fn image(&self) -> String {
        let short: String = self.commit.chars().take(7).collect();
        let dirty = if self.dirty { "-dirty" } else { "" };
        format!("{REPOSITORY}:{}.{short}{dirty}", self.repository)
    }

    /// The commit, with `-dirty` where it is not what is there.
    pub(crate) fn revision(&self) -> String {
        format!("{}{}", self.commit, if self.dirty { "-dirty" } else { "" })
    }

    /// The labels that name the commit.
    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let mut labels = vec![(REVISION.to_owned(), self.revision())];
        labels.extend(self.origin.iter().map(|origin| (SOURCE.to_owned(), origin.clone())));
        labels
    }
}

/// The failure of an image without a name, outside of a repository that could give it one.
pub(crate) fn nameless(folder: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("`{}` is not in a git repository, so the image has no name", folder.display()))
        .hint(format!("name it: `-t {REPOSITORY}:ANALYSIS`"))
}

fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        // Its words are read; and a status must not wait for, or take, another git's lock.
        .envs([("LC_ALL", "C"), ("GIT_OPTIONAL_LOCKS", "0")])
        .output()
        .map_err(|error| {
            Failure::new(Kind::FileNotFound, format!("cannot run `git`: {error}"))
                .hint("install git, or name the image with `-t`")
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.trim().lines().next().unwrap_or("it gives no reason");
    Err(Failure::new(Kind::Io, format!("git refuses `{}`: {words}", folder.display())).hint("name the image with `-t`"))
}

/// `pca` of `git@host:lab/pca.git`, in letters that a tag may have.
fn repository_name(address: &str) -> String {
    let name = address.trim_end_matches('/').trim_end_matches(".git");
    let name = name.rsplit(['/', ':']).next().unwrap_or(name);
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(80).collect();
    let plain = plain.trim_start_matches(['.', '-']);
    if plain.is_empty() { "analysis".to_owned() } else { plain.to_owned() }
}

/// An address without the user and password that may stand in it.
fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_named_after_its_origin_or_its_folder() {
        for (address, name) in [
            ("git@host:lab/pca.git", "pca"),
            ("https://host/lab/spike.sorter/", "spike.sorter"),
            ("/home/me/my analysis", "my-analysis"),
            ("/.hidden", "hidden"),
            ("/", "analysis"),
        ] {
            assert_eq!(repository_name(address), name, "{address}");
        }
    }

    #[test]
    fn the_tag_says_which_commit_and_whether_it_is_all() {
        let mut revision = Revision {
            repository: "pca".to_owned(),
            commit: "356d78a0aa".to_owned(),
            dirty: false,
            origin: None,
            time: String::new(),
        };
        assert_eq!(revision.image(), "neurocaas/contrib:pca.356d78a");
        revision.dirty = true;
        assert_eq!(revision.image(), "neurocaas/contrib:pca.356d78a-dirty");
        assert_eq!(revision.revision(), "356d78a0aa-dirty");
    }

    #[test]
    fn no_password_gets_into_a_label() {
        assert_eq!(without_password("https://me:secret@host/lab/pca.git"), "https://host/lab/pca.git");
        assert_eq!(without_password("https://token@host"), "https://host");
        assert_eq!(without_password("git@host:lab/pca.git"), "git@host:lab/pca.git");
    }
}
