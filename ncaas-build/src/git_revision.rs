//! The git commit that an image is built from: it gives the image its default name and its labels.

use std::path::Path;
use std::process::Command;

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::absolute;
use ncaas_core::text::without_credentials;

/// Repository of the platform's images.
pub(crate) const REPOSITORY: &str = "neurocaas/contrib";
/// Label with the commit that an image was built from.
pub(crate) const REVISION: &str = "org.opencontainers.image.revision";
/// Label with the address of its sources.
const SOURCE: &str = "org.opencontainers.image.source";
/// Label with the time of its sources: a build that changes nothing makes the same image.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

/// The name of a new image, and the commit behind it.
#[derive(Debug)]
pub(crate) struct ImageName {
    pub(crate) image: String,
    pub(crate) revision: Option<Revision>,
    /// Why the image has no commit, if git could not tell one.
    pub(crate) warnings: Vec<String>,
}

/// Names an image after the git repository of `folder`, unless `tag` names it.
pub(crate) fn name_image(folder: &Path, tag: Option<&str>) -> Result<ImageName> {
    match (Revision::read(folder), tag) {
        (Ok(revision), Some(tag)) => Ok(ImageName { image: tag.to_owned(), revision, warnings: Vec::new() }),
        (Err(failure), Some(tag)) => {
            let remedy = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let warning = format!("the image has no commit label: {}{remedy}", failure.message);
            Ok(ImageName { image: tag.to_owned(), revision: None, warnings: vec![warning] })
        }
        (Ok(Some(revision)), None) => {
            Ok(ImageName { image: revision.image(), revision: Some(revision), warnings: Vec::new() })
        }
        (Ok(None), None) => {
            let folder = absolute(folder)?;
            let message = format!("`{}` is not in a git repository, so the image has no name", folder.display());
            Err(Failure::new(Kind::Usage, message).hint(format!("name it with `-t {REPOSITORY}:ANALYSIS`")))
        }
        (Err(failure), None) => {
            let remedy = failure.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
            Err(failure.hint(format!("{remedy}or name the image with `-t`")))
        }
    }
}

/// The state of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Name of the repository: the last part of its origin's address, or of its folder.
    pub(crate) repository: String,
    /// The commit, 40 hex digits.
    pub(crate) commit: String,
    /// Whether tracked files differ from the commit.
    pub(crate) dirty: bool,
    /// Address of the origin, without user and password.
    pub(crate) origin: Option<String>,
    /// Time of the commit, RFC 3339 in UTC.
    pub(crate) time: String,
}

impl Revision {
    /// The repository that `folder` is in; none if it is in none.
    fn read(folder: &Path) -> Result<Option<Self>> {
        if !absolute(folder)?.ancestors().any(|folder| folder.join(".git").exists()) {
            return Ok(None);
        }
        let top = git(folder, &["rev-parse", "--show-toplevel"])?;
        let commit = git(folder, &["rev-parse", "--verify", "HEAD^{commit}"]).map_err(|_| {
            Failure::new(Kind::Usage, format!("the git repository `{top}` has no commit yet"))
                .hint("commit the analysis first (`git commit`)")
        })?;
        let seconds = git(folder, &["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let time = seconds.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let origin = git(folder, &["remote", "get-url", "origin"]).ok();
        Ok(Some(Revision {
            repository: repository_name(origin.as_deref().unwrap_or(&top)),
            commit,
            dirty: !git(folder, &["status", "--porcelain", "--untracked-files=no"])?.is_empty(),
            origin: origin.as_deref().map(without_credentials),
            time: time.unwrap_or_default().to_string(),
        }))
    }

    /// `neurocaas/contrib:<repository>.<short commit>`, with `-dirty` if files differ from the commit.
    fn image(&self) -> String {
        let short: String = self.commit.chars().take(7).collect();
        let dirty = if self.dirty { "-dirty" } else { "" };
        format!("{REPOSITORY}:{}.{short}{dirty}", self.repository)
    }

    /// The commit, with `-dirty` if files differ from it.
    pub(crate) fn revision(&self) -> String {
        format!("{}{}", self.commit, if self.dirty { "-dirty" } else { "" })
    }

    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let mut labels = vec![(REVISION.to_owned(), self.revision())];
        labels.extend(self.origin.iter().map(|origin| (SOURCE.to_owned(), origin.clone())));
        labels
    }
}

fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        // The messages are parsed; and a status must not wait for the lock of another git.
        .envs([("LC_ALL", "C"), ("GIT_OPTIONAL_LOCKS", "0")])
        .output()
        .map_err(|error| Failure::new(Kind::FileNotFound, format!("cannot run `git`: {error}")).hint("install git"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let reason = message.trim().lines().next().unwrap_or("no reason given").trim_start_matches("fatal: ");
    let failure = Failure::new(Kind::Io, format!("git cannot read `{}`: {reason}", folder.display()));
    // git shows its remedy as a command on an indented line.
    let remedy = message.lines().find(|line| line.starts_with(char::is_whitespace) && line.trim().starts_with("git "));
    Err(match remedy {
        Some(remedy) => failure.hint(format!("`{}`", remedy.trim())),
        None => failure,
    })
}

/// The name in an address, `pca` of `git@host:lab/pca.git`, with the characters that a tag may have.
fn repository_name(address: &str) -> String {
    let name = address.trim_end_matches('/').trim_end_matches(".git");
    let name = name.rsplit(['/', ':']).next().unwrap_or(name);
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(80).collect();
    let plain = plain.trim_start_matches(['.', '-']);
    if plain.is_empty() { "analysis".to_owned() } else { plain.to_owned() }
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
    fn the_tag_has_the_commit_and_whether_files_differ_from_it() {
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
}
