//! The traps in a build context: its Dockerfile, the scripts in it, and what should not be in it.

use std::path::Path;

use ncaas_core::failure::Result;
use regex::Regex;

use super::{Finding, Trap, script};
use crate::image::context::{Entry, walk};
use crate::image::dockerfile::{Instruction, instructions};
use crate::image::dockerignore::{Descend, Ignore, Matched};
use crate::image::{DOCKERFILE, DOCKERIGNORE};

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
    let text = if file.exists() { script::read(&file)? } else { String::new() };
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
        findings = script::of_entry(&entry.host, &text, made || script::is_executable(&entry.host)?);
    }
    findings.extend(script::of_text(&entry.host, &text));
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
    let line = if by_name { None } else { script::read(&entry.host).ok()?.lines().position(|line| key.is_match(line)) };
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
        for source in sources(&step.rest) {
            let pattern = source.trim_start_matches("./").trim_matches('/').to_owned();
            // Everything, and what is known only during the build.
            if pattern.is_empty() || pattern == "." || pattern.contains('$') {
                continue;
            }
            let wanted = Ignore::new([pattern.as_str()])?;
            if paths.iter().any(|path| wanted.matches(path, &Matched::default()).0) {
                continue;
            }
            let (why, remedy) = match root.join(&pattern).exists() {
                true => ("`.dockerignore` leaves it out", format!("add `!{pattern}` at the end of `.dockerignore`")),
                false => (
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

/// The sources of a COPY or ADD that are in the context.
fn sources(rest: &str) -> Vec<String> {
    let (flags, rest): (Vec<&str>, Vec<&str>) = {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let at = words.iter().position(|word| !word.starts_with("--")).unwrap_or(words.len());
        (words[..at].to_vec(), words[at..].to_vec())
    };
    if flags.iter().any(|flag| flag.starts_with("--from")) {
        return Vec::new();
    }
    let rest = rest.join(" ");
    let mut words: Vec<String> = serde_json::from_str(&rest)
        .unwrap_or_else(|_| rest.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect());
    words.pop();
    words.retain(|word| !word.contains("://") && !word.starts_with("git@"));
    words
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot make its folder has failed")]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_the_context() {
        assert_eq!(sources("--chown=1:1 a b /c/"), ["a", "b"]);
        assert_eq!(sources(r#"["with space", "/c"]"#), ["with space"]);
        assert!(sources("--from=build /x /y").is_empty());
        assert!(sources("https://host/x /y").is_empty());
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
