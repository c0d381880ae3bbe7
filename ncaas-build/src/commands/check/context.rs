//! Mistakes in a build context: in its Dockerfile, in the scripts in it, and files that should not be in it.

use std::path::Path;
use std::sync::LazyLock;

use ncaas_core::failure::Result;
use ncaas_core::image_labels;
use ncaas_core::quantity::{format_bytes, format_count};
use regex::Regex;

use super::finding::{Finding, Report, Trap};
use super::script;
use crate::builder::context::{ContextEntry, io_dir_patterns, walk};
use crate::builder::dockerfile::{DOCKERFILE, DOCKERIGNORE, Instruction, copy_sources, instructions};
use crate::builder::dockerignore::{Descend, DockerIgnore, Matched};

/// Names of files that hold secrets, and endings of such names and paths.
const SECRETS: [&str; 10] = [
    ".env",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    "rootkey.csv",
];
const SECRET_ENDINGS: [&str; 6] = [".pem", ".key", ".p12", ".pfx", "/.aws/credentials", "/.docker/config.json"];
/// Endings of files that hold recorded data.
const DATA: [&str; 16] = [
    ".npy", ".npz", ".mat", ".h5", ".hdf5", ".nwb", ".tif", ".tiff", ".avi", ".mp4", ".mkv", ".bin", ".dat", ".raw",
    ".nii", ".gz",
];
/// More data than this in an image is probably not intended, in bytes.
const MUCH_DATA: u64 = 10_000_000;

struct File {
    path: String,
    size: u64,
}

pub(super) fn check(root: &Path) -> Result<Report> {
    let mut report = Report::default();
    let dockerfile = root.join(DOCKERFILE);
    let has_dockerfile = dockerfile.exists();
    if !has_dockerfile {
        let message = "the folder has no Dockerfile";
        let remedy = "write one, or name another folder";
        report.findings.push(Finding::new(root, None, Trap::NoDockerfile, message, remedy));
    }
    let text = if has_dockerfile { script::read(&dockerfile)?.unwrap_or_default() } else { String::new() };
    let steps = instructions(&text);
    let has_protocol = steps.iter().any(|step| step.word == "LABEL" && step.rest.contains(image_labels::PROTOCOL));
    let ignore = DockerIgnore::read(&root.join(DOCKERIGNORE), &io_dir_patterns(root, &steps))?;
    let mut files = Vec::new();
    let mut mentions_io_dir = text.contains("io-dir/results");
    walk(root, &ignore, Descend::IfReachable, |entry| {
        if entry.metadata.is_file() && !entry.path.starts_with(".git/") {
            // Each file is read once. One that cannot be read is a failure only if it is a script of the image.
            let text = script::read(&entry.host);
            let readable = text.as_ref().ok().and_then(Option::as_deref);
            report.extend(secret(&entry, readable));
            if entry.path != DOCKERFILE {
                mentions_io_dir = mentions_io_dir || readable.is_some_and(script::mentions_io_dir);
                let (findings, is_workflow) = check_file(&entry, &steps, &text)?;
                report.extend(findings);
                if is_workflow && !has_protocol {
                    report.notes.push(script::workflow_note(&entry.host));
                }
                mentions_io_dir = mentions_io_dir || is_workflow;
            }
        }
        if !entry.excluded {
            files.push(File { path: entry.path, size: entry.metadata.len() });
        }
        Ok(())
    })?;
    report.extend(missing_sources(root, &dockerfile, &steps, &files)?);
    report.extend(command(&dockerfile, &steps, &files));
    report.extend(unwanted_files(&dockerfile, &steps, &files)?);
    if !mentions_io_dir {
        report.notes.push(script::no_io_dir_note(root));
    }
    Ok(report)
}

/// The mistakes in a script of the context, and whether it speaks the workflow protocol.
fn check_file(
    entry: &ContextEntry,
    steps: &[Instruction],
    text: &Result<Option<String>>,
) -> Result<(Vec<Finding>, bool)> {
    let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
    let commands = || steps.iter().filter(|step| matches!(step.word.as_str(), "ENTRYPOINT" | "CMD"));
    let is_program = commands().any(|step| {
        let program = command_words(&step.rest).into_iter().next().unwrap_or_default();
        program.rsplit('/').next() == Some(name)
    });
    let is_argument = commands().any(|step| names_file(&step.rest, name));
    let is_shell = name.ends_with(".sh") || name.ends_with(".bash");
    if !is_program && !is_argument && !is_shell {
        return Ok((Vec::new(), false));
    }
    let text = text.as_ref().map_err(Clone::clone)?.as_deref();
    let mut findings = Vec::new();
    if is_program {
        // A step of the build may set the bit.
        let made =
            steps.iter().any(|step| step.rest.contains("--chmod") || step.word == "RUN" && step.rest.contains("chmod"));
        findings = script::check_as_entrypoint(&entry.host, text, made || script::is_executable(&entry.host)?);
    }
    let text = text.unwrap_or_default();
    if is_argument && !is_program && is_shell {
        findings.extend(script::relative_path(&entry.host, text));
    }
    findings.extend(script::check_content(&entry.host, text));
    Ok((findings, script::is_workflow(text)))
}

/// The words of a command in list or shell form.
fn command_words(command: &str) -> Vec<String> {
    serde_json::from_str(command).ok().or_else(|| shlex::split(command)).unwrap_or_default()
}

/// Whether a command names a file, by any path.
fn names_file(command: &str, file: &str) -> bool {
    command.split(|c: char| c.is_whitespace() || "\"'[],/".contains(c)).any(|word| word == file)
}

/// Whether the name of a file says that it holds secrets.
fn has_secret_name(path: &str) -> bool {
    let (path, name) = (format!("/{path}"), path.rsplit('/').next().unwrap_or(path));
    SECRETS.contains(&name)
        || name.starts_with(".env.")
        || name.contains("credentials") && name.ends_with(".json")
        || SECRET_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// A file that should not get into an image.
fn secret(entry: &ContextEntry, text: Option<&str>) -> Option<Finding> {
    static KEYS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b").ok());
    let by_name = has_secret_name(&entry.path);
    let key = KEYS.as_ref()?;
    let example = entry.path.ends_with(".example") || entry.path.ends_with(".sample");
    let line =
        if by_name { None } else { text.and_then(|text| Some(text[..key.find(text)?.start()].matches('\n').count())) };
    if example || !by_name && line.is_none() {
        return None;
    }
    let message = "this looks like a secret, and is sent to the engine with the context";
    let remedy = format!("add `{}` to `.dockerignore`; if the build needs it, pass it with `--secret`", entry.path);
    Some(Finding::new(&entry.host, line.map(|line| line + 1), Trap::Secret, message, remedy))
}

/// The `COPY` and `ADD` steps.
fn copies(steps: &[Instruction]) -> impl Iterator<Item = &Instruction> {
    steps.iter().filter(|step| matches!(step.word.as_str(), "COPY" | "ADD") && !step.has_document)
}

/// Files that the Dockerfile copies and the context does not have.
fn missing_sources(root: &Path, file: &Path, steps: &[Instruction], files: &[File]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for step in copies(steps) {
        let (sources, split) = copy_sources(&step.rest);
        for source in split {
            let message =
                format!("`{source}` cannot be copied: the builder ignores quotes, and splits the name at its spaces");
            let remedy = "write the names as a list, `COPY [\"with space\", \"/to/\"]`";
            findings.push(Finding::new(file, Some(step.line), Trap::MissingSource, message, remedy));
        }
        for source in sources {
            // Everything, and names that are known only during the build.
            let pattern = source.trim_start_matches("./").trim_matches('/');
            if pattern.is_empty() || pattern == "." || pattern.contains('$') {
                continue;
            }
            let real = resolve_links(root, pattern);
            let found = |pattern: &str| -> Result<bool> {
                let wanted = DockerIgnore::parse([pattern])?;
                Ok(files.iter().any(|file| wanted.matches(&file.path, &Matched::default()).0))
            };
            if found(pattern)?
                || real.as_deref().is_some_and(str::is_empty)
                || found(real.as_deref().unwrap_or(pattern))?
            {
                continue;
            }
            let (reason, remedy) = match (root.join(pattern).exists(), &real) {
                (true, Some(real)) => {
                    ("`.dockerignore` excludes it", format!("add `!{real}` at the end of `.dockerignore`"))
                }
                (true, None) => {
                    ("a link leads out of the context", "copy the target of the link into the context".to_owned())
                }
                (false, _) => (
                    "it is not in the context",
                    "its path is relative to the context, not to the Dockerfile".to_owned(),
                ),
            };
            let message = format!("`{source}` cannot be copied: {reason}");
            findings.push(Finding::new(file, Some(step.line), Trap::MissingSource, message, remedy));
        }
    }
    Ok(findings)
}

/// Mistakes in the command of the image.
fn command(file: &Path, steps: &[Instruction], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let last = |word: &str| {
        let stage = steps.iter().rposition(|step| step.word == "FROM").unwrap_or(0);
        steps[stage..].iter().rfind(|step| step.word == word)
    };
    let entrypoint = last("ENTRYPOINT");
    let Some(step) = entrypoint.or_else(|| last("CMD")) else { return findings };
    let is_list = serde_json::from_str::<Vec<String>>(&step.rest).is_ok();
    if !is_list && !step.rest.contains("data") && !step.rest.contains("$@") {
        let message = format!("the shell form of `{}` passes no dataset and no config to the script", step.word);
        let words: Vec<String> = step.rest.split_whitespace().map(|word| format!("\"{word}\"")).collect();
        let remedy = format!("write it as a list: `{} [{}]`", step.word, words.join(", "));
        findings.push(Finding::new(file, Some(step.line), Trap::ShellForm, message, remedy));
    }
    let words = command_words(&step.rest);
    let is_script = |word: &&String| script::is_called_file(word) && !word.contains('$');
    let Some(script) = words.iter().take(2).find(is_script) else { return findings };
    let name = script.rsplit('/').next().unwrap_or(script);
    let is_copied = files.iter().any(|file| file.path.rsplit('/').next() == Some(name));
    let is_made = steps.iter().any(|step| {
        step.word == "RUN" && names_file(&step.rest, name)
            || step.has_document
            || step.word == "RUN"
                && ["git clone", "wget", "curl", "pip install"].iter().any(|by| step.rest.contains(by))
            || step.rest.contains("--from")
    });
    // A base image may hold the script, if nothing is copied.
    if !is_copied && !is_made && copies(steps).next().is_some() {
        let message = format!("the command of the image is `{script}`, which no step copies or creates");
        let remedy = format!("correct the name, or copy the script: `COPY {name} {script}`");
        findings.push(Finding::new(file, Some(step.line), Trap::MissingCommand, message, remedy));
    }
    findings
}

/// Data and the history of git that the Dockerfile copies.
fn unwanted_files(file: &Path, steps: &[Instruction], files: &[File]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for step in copies(steps) {
        let mut copied: Vec<&File> = Vec::new();
        for source in copy_sources(&step.rest).0 {
            let pattern = source.trim_start_matches("./").trim_matches('/');
            if pattern.contains('$') {
                continue;
            }
            let wanted = DockerIgnore::parse([if matches!(pattern, "" | ".") { "**" } else { pattern }])?;
            copied.extend(files.iter().filter(|file| wanted.excludes(&file.path)));
        }
        if copied.iter().any(|file| file.path == ".git" || file.path.starts_with(".git/")) {
            let message = "the step copies `.git`: the image holds the whole history, and changes with every commit";
            findings.push(Finding::new(
                file,
                Some(step.line),
                Trap::GitInImage,
                message,
                "name `.git` in `.dockerignore`",
            ));
        }
        let is_data =
            |file: &&&File| DATA.iter().any(|end| file.path.ends_with(end)) && !file.path.starts_with(".git/");
        let data: Vec<&File> = copied.iter().filter(is_data).copied().collect();
        let bytes: u64 = data.iter().map(|file| file.size).sum();
        if let Some(largest) = data.iter().max_by_key(|file| file.size).filter(|_| bytes >= MUCH_DATA) {
            let message = format!(
                "the step copies {} of data in {} into the image; the largest is `{}`",
                format_bytes(bytes),
                format_count(data.len(), "file"),
                largest.path
            );
            let remedy = "name the files in `.dockerignore`: jobs get their dataset through the io-dir";
            findings.push(Finding::new(file, Some(step.line), Trap::DataInImage, message, remedy));
        }
    }
    Ok(findings)
}

/// A path or pattern of the context with its links resolved: the builder follows them, the walk does not. None if it
/// leads out of the context or nowhere.
fn resolve_links(root: &Path, pattern: &str) -> Option<String> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().position(|part| part.contains(['*', '?', '['])).unwrap_or(parts.len());
    let real = root.join(parts[..plain].join("/")).canonicalize().ok()?;
    let real = real.strip_prefix(root.canonicalize().ok()?).ok()?;
    Some(real.join(parts[plain..].join("/")).to_str()?.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let found = check(folder.path()).unwrap().findings.into_iter();
            found
                .map(|found| format!("{} {}", found.line.unwrap_or(0), found.message.replace(" cannot be copied", "")))
                .collect()
        };
        let out = "3 `out/hostname`: a link leads out of the context";
        let apart = "4 `real/a b`: the builder ignores quotes, and splits the name at its spaces";
        let missing = "4 `link/g`: it is not in the context";
        assert_eq!(messages(""), [out, apart, missing]);
        assert!(messages("real").contains(&"2 `link/f`: `.dockerignore` excludes it".to_owned()));
    }

    #[test]
    fn each_mistake_in_a_context_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("Dockerfile", "FROM x\nCOPY nope.py *.sh hidden /a/\nENTRYPOINT [\"/a/run.sh\"]\n");
        write(".dockerignore", "hidden\n");
        write("hidden", "");
        write("run.sh", "python3 pca.py\n");
        write("id_rsa", "");
        write("notes.txt", "-----BEGIN RSA PRIVATE KEY-----");
        let found = check(folder.path()).unwrap().findings;
        let mut traps: Vec<String> = found.iter().map(|found| format!("{:?} {:?}", found.trap, found.line)).collect();
        traps.sort();
        assert_eq!(
            traps,
            [
                "MissingSource Some(2)",
                "MissingSource Some(2)",
                "NoInterpreter Some(1)",
                "NotExecutable None",
                "RelativePath Some(1)",
                "Secret None",
                "Secret Some(1)",
            ]
        );
    }

    fn dockerfile_traps(dockerfile: &str, files: &[(&str, usize)]) -> Vec<(Trap, Option<usize>)> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write("Dockerfile", dockerfile.as_bytes());
        write("pca.py", b"io-dir/results");
        for (name, size) in files {
            write(name, &vec![0; *size]);
        }
        let findings = check(folder.path()).unwrap().findings;
        findings.into_iter().map(|finding| (finding.trap, finding.line)).collect()
    }

    #[test]
    fn a_secret_is_known_by_its_name() {
        for name in [".env", "a/.env.local", "id_rsa", "x/tls.key", ".aws/credentials", "a/my_credentials_1.json"] {
            assert!(has_secret_name(name), "{name}");
        }
        for name in [".env/lib/x.py", "environment", "id_rsa.pub", "keys.txt", "credentials", "credentials.md"] {
            assert!(!has_secret_name(name), "{name}");
        }
    }

    #[test]
    fn the_command_has_to_exist_and_to_get_its_arguments() {
        let traps = |command: &str| dockerfile_traps(&format!("FROM x\nCOPY pca.py /\n{command}\n"), &[]);
        assert_eq!(traps("ENTRYPOINT [\"python3\", \"/pca.py\"]"), []);
        assert_eq!(traps("CMD python3 /pca.py"), [(Trap::ShellForm, Some(3))]);
        assert_eq!(traps("CMD python3 /pca.py $data $config"), []);
        assert_eq!(traps("ENTRYPOINT [\"/pca/run.sh\"]"), [(Trap::MissingCommand, Some(3))]);
        assert_eq!(traps("RUN echo >/run.sh\nENTRYPOINT [\"/run.sh\"]"), []);
        assert_eq!(traps("ENTRYPOINT [\"bash\"]"), []);
    }

    #[test]
    fn data_and_the_history_of_git_do_not_belong_into_an_image() {
        let files =
            [(".git/HEAD", 5), ("a.npy", 6_000_000), ("b/c.mat", 6_000_000), ("io-dir/results/x.npy", 20_000_000)];
        let copy_all = "FROM x\nCOPY . /pca/\nCMD [\"python3\", \"/pca/pca.py\"]\n";
        assert_eq!(dockerfile_traps(copy_all, &files), [(Trap::GitInImage, Some(2)), (Trap::DataInImage, Some(2))]);
        assert_eq!(dockerfile_traps("FROM x\nCOPY pca.py /pca/\n", &files), []);
        assert_eq!(dockerfile_traps(copy_all, &[("a.npy", 1000)]), []);
    }
}
