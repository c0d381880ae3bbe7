//! The traps in a build context: its Dockerfile, the scripts in it, and what should not be in it.

use std::path::Path;

use ncaas_core::failure::Result;
use regex::Regex;

use super::finding::{Finding, Trap};
use super::script;
use crate::builder::context::{Entry, walk};
use crate::builder::dockerfile::{Instruction, instructions};
use crate::builder::dockerignore::{Descend, Ignore, Matched};
use crate::builder::{DOCKERFILE, DOCKERIGNORE};

/// Names of files that hold secrets, in the patterns of `.dockerignore`.
const SECRETS: [&str; 18] = [
    "**/.env",
    "**/.env.*",
    "**/id_rsa",
    "**/id_dsa",
    "**/id_ecdsa",
    "**/id_ed25519",
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/.netrc",
    "**/.pypirc",
    "**/.npmrc",
    "**/.git-credentials",
    "**/.aws/credentials",
    "**/.docker/config.json",
    "**/*credentials*.json",
    "**/rootkey.csv",
];

/// The traps in one context.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let file = root.join(DOCKERFILE);
    if !file.exists() {
        let message = "the folder has no Dockerfile";
        findings.push(Finding::new(root, None, Trap::NoDockerfile, message, "write one, or name another folder"));
    }
    let text = if file.exists() { script::read(&file)?.unwrap_or_default() } else { String::new() };
    let steps = instructions(&text);
    let ignore = Ignore::read(&root.join(DOCKERIGNORE))?;
    let mut paths = Vec::new();
    let mut io_dir = text.contains("io-dir/results");
    walk(root, &ignore, Descend::IfReachable, |entry| {
        if entry.metadata.is_file() && !entry.path.starts_with(".git/") {
            findings.extend(secret(&entry));
            if entry.path != DOCKERFILE {
                io_dir = io_dir || script::mentions_io_dir(&entry.host);
                findings.extend(of_file(&entry, &steps)?);
            }
        }
        if !entry.left_out {
            paths.push(entry.path);
        }
        Ok(())
    })?;
    findings.extend(missing_sources(root, &file, &steps, &paths)?);
    if !io_dir {
        findings.push(script::no_io_dir(root));
    }
    Ok(findings)
}

/// What is wrong with a script of the context.
fn of_file(entry: &Entry, steps: &[Instruction]) -> Result<Vec<Finding>> {
    let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
    let is_entry =
        steps.iter().any(|step| matches!(step.word.as_str(), "ENTRYPOINT" | "CMD") && names(&step.rest, name));
    let is_shell = name.ends_with(".sh") || name.ends_with(".bash");
    if !is_entry && !is_shell {
        return Ok(Vec::new());
    }
    let text = script::read(&entry.host)?;
    let mut findings = Vec::new();
    if is_entry {
        // A step of the build may set the bit.
        let made =
            steps.iter().any(|step| step.rest.contains("--chmod") || step.word == "RUN" && step.rest.contains("chmod"));
        findings = script::of_entry(&entry.host, text.as_deref(), made || script::is_executable(&entry.host)?);
    }
    findings.extend(script::of_text(&entry.host, &text.unwrap_or_default()));
    Ok(findings)
}

/// Whether a command names a file, by whatever path.
fn names(command: &str, file: &str) -> bool {
    command.split(|c: char| c.is_whitespace() || "\"'[],/".contains(c)).any(|word| word == file)
}

/// A file that should not get into an image.
fn secret(entry: &Entry) -> Option<Finding> {
    let by_name = Ignore::new(SECRETS).is_ok_and(|secrets| secrets.matches(&entry.path, &Matched::default()).0);
    let key = Regex::new(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b").ok()?;
    let example = entry.path.ends_with(".example") || entry.path.ends_with(".sample");
    let line = || script::read(&entry.host).ok()??.lines().position(|line| key.is_match(line));
    let line = if by_name { None } else { line() };
    if example || !by_name && line.is_none() {
        return None;
    }
    let message = "this looks like a secret, and goes to the engine with the context";
    let remedy = format!("name it in `.dockerignore`: `{}`; a build that needs it takes `--secret`", entry.path);
    Some(Finding::new(&entry.host, line.map(|line| line + 1), Trap::Secret, message, remedy))
}

/// What the Dockerfile copies and the context does not have.
fn missing_sources(root: &Path, file: &Path, steps: &[Instruction], paths: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for step in steps.iter().filter(|step| matches!(step.word.as_str(), "COPY" | "ADD") && !step.has_document) {
        let (sources, apart) = sources(&step.rest);
        for source in apart {
            let message = format!(
                "`{source}` cannot be copied: the builder does not heed quotes, and takes each word for a name"
            );
            let remedy = "write the names as a list, `COPY [\"with space\", \"/to/\"]`";
            findings.push(Finding::new(file, Some(step.line), Trap::MissingSource, message, remedy));
        }
        for source in sources {
            // Everything, and what is known only during the build.
            let pattern = source.trim_start_matches("./").trim_matches('/');
            if pattern.is_empty() || pattern == "." || pattern.contains('$') {
                continue;
            }
            let real = behind_links(root, pattern);
            let found = |pattern: &str| -> Result<bool> {
                let wanted = Ignore::new([pattern])?;
                Ok(paths.iter().any(|path| wanted.matches(path, &Matched::default()).0))
            };
            if found(pattern)?
                || real.as_deref().is_some_and(str::is_empty)
                || found(real.as_deref().unwrap_or(pattern))?
            {
                continue;
            }
            let (why, remedy) = match (root.join(pattern).exists(), &real) {
                (true, Some(real)) => {
                    ("`.dockerignore` leaves it out", format!("add `!{real}` at the end of `.dockerignore`"))
                }
                (true, None) => {
                    ("a link leads out of the context", "copy what it leads to into the context".to_owned())
                }
                (false, _) => (
                    "it is not in the context",
                    "its path is relative to the context, not to the Dockerfile".to_owned(),
                ),
            };
            let message = format!("`{source}` cannot be copied: {why}");
            findings.push(Finding::new(file, Some(step.line), Trap::MissingSource, message, remedy));
        }
    }
    Ok(findings)
}

/// A path or pattern of the context without links, for the walk does not follow them and the builder does. None where it
/// leads out of the context or nowhere.
fn behind_links(root: &Path, pattern: &str) -> Option<String> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().position(|part| part.contains(['*', '?', '['])).unwrap_or(parts.len());
    let real = root.join(parts[..plain].join("/")).canonicalize().ok()?;
    let real = real.strip_prefix(root.canonicalize().ok()?).ok()?;
    Some(real.join(parts[plain..].join("/")).to_str()?.trim_end_matches('/').to_owned())
}

/// The sources of a COPY or ADD that are in the context, and the names in quotes that come apart at their spaces.
fn sources(rest: &str) -> (Vec<String>, Vec<String>) {
    let mut names = rest.trim();
    while names.starts_with("--") {
        let (flag, after) = names.split_once(char::is_whitespace).unwrap_or((names, ""));
        if flag.starts_with("--from") {
            return Default::default();
        }
        names = after.trim_start();
    }
    let local = |mut words: Vec<String>| {
        words.pop();
        words.retain(|word| !word.contains("://") && !word.starts_with("git@"));
        words
    };
    if let Ok(words) = serde_json::from_str(names) {
        return (local(words), Vec::new());
    }
    let words = || names.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect();
    local(shlex::split(names).unwrap_or_else(words)).into_iter().partition(|word| !word.contains(char::is_whitespace))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot make its folder has failed")]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_the_context() {
        let none = Vec::<String>::new();
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(sources("--chown=1:1 a b /c/"), (of(&["a", "b"]), none.clone()));
        assert_eq!(sources(r#"["with space", "/c"]"#), (of(&["with space"]), none.clone()));
        assert_eq!(sources(r#""a" "with space" /c"#), (of(&["a"]), of(&["with space"])));
        assert_eq!(sources("--from=build /x /y"), (none.clone(), none.clone()));
        assert_eq!(sources("https://host/x /y"), (none.clone(), none));
    }

    #[test]
    fn sources_are_found_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::fs::write(folder.path().join("real/f"), "io-dir/results").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
        let dockerfile = "FROM x\nCOPY link/f link/* link /a/\nCOPY out/hostname /a/\nCOPY \"real/a b\" link/g /a/\n";
        let messages = |ignored: &str| -> Vec<String> {
            std::fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
            std::fs::write(folder.path().join(".dockerignore"), ignored).unwrap();
            let found = check(folder.path()).unwrap().into_iter();
            found
                .map(|found| format!("{} {}", found.line.unwrap_or(0), found.message.replace(" cannot be copied", "")))
                .collect()
        };
        let out = "3 `out/hostname`: a link leads out of the context";
        let apart = "4 `real/a b`: the builder does not heed quotes, and takes each word for a name";
        let missing = "4 `link/g`: it is not in the context";
        assert_eq!(messages(""), [out, apart, missing]);
        assert!(messages("real").contains(&"2 `link/f`: `.dockerignore` leaves it out".to_owned()));
    }

    #[test]
    fn a_context_is_looked_through() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("Dockerfile", "FROM x\nCOPY nope.py *.sh hidden /a/\nENTRYPOINT [\"/a/run.sh\"]\n");
        write(".dockerignore", "hidden\n");
        write("hidden", "");
        write("run.sh", "python3 pca.py\n");
        write("id_rsa", "");
        write("notes.txt", "-----BEGIN RSA PRIVATE KEY-----");
        let found = check(folder.path()).unwrap();
        let mut traps: Vec<String> = found.iter().map(|found| format!("{:?} {:?}", found.trap, found.line)).collect();
        traps.sort();
        assert_eq!(
            traps,
            [
                "MissingSource Some(2)",
                "MissingSource Some(2)",
                "NoInterpreter Some(1)",
                "NoIoDir None",
                "NotExecutable None",
                "RelativePath Some(1)",
                "Secret None",
                "Secret Some(1)",
            ]
        );
    }
}
