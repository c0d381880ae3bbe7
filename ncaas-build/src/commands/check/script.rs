//! The traps in a script that an image is to run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ncaas_core::failure::{IoContext, Result};

use super::finding::{Finding, Trap};
use super::shell_commands::commands;

/// A larger file is no script.
const LARGE: u64 = 1 << 20;
/// What the names of files end in that scripts of analyses call.
const CALLED: [&str; 12] = [".py", ".sh", ".m", ".R", ".r", ".jl", ".json", ".yaml", ".yml", ".npy", ".mat", ".csv"];
/// How a script goes to its own folder.
const OWN_FOLDER: &str = r#"cd -- "$(dirname -- "${BASH_SOURCE[0]}")""#;

/// The traps in one script that is named on the command line.
pub(super) fn check(path: &Path) -> Result<Vec<Finding>> {
    let text = read(path)?;
    let mut findings = of_entry(path, text.as_deref(), is_executable(path)?);
    let text = text.unwrap_or_default();
    findings.extend(of_text(path, &text));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    if !text.contains("io-dir") && !beside.into_iter().any(|path| mentions_io_dir(&path)) {
        findings.push(no_io_dir(path));
    }
    Ok(findings)
}

/// What is wrong with a script as the one that the engine starts. It may have no text: a program can be started too.
pub(super) fn of_entry(path: &Path, text: Option<&str>, executable: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = path.display();
    if !executable {
        let message = "the script is not executable: it runs when typed at a shell, and fails when a job starts it";
        findings.push(Finding::new(path, None, Trap::NotExecutable, message, format!("`chmod +x {name}`")));
    }
    let Some(text) = text else { return findings };
    if !text.starts_with("#!") {
        let message = "the script names no interpreter in its first line";
        findings.push(Finding::new(path, Some(1), Trap::NoInterpreter, message, "begin it with `#!/usr/bin/env bash`"));
    }
    findings.extend(relative_path(path, text));
    findings
}

/// What is wrong with a script whoever runs it.
pub(super) fn of_text(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(line) = text.split('\n').position(|line| line.ends_with('\r')) {
        let message = "the script has the line endings of Windows (CRLF): its interpreter is not found";
        let remedy = format!("`sed -i 's/\\r$//' {}`; in git: `*.sh text eol=lf` in .gitattributes", path.display());
        findings.push(Finding::new(path, Some(line + 1), Trap::Crlf, message, remedy));
    }
    let mut hooked = false;
    for command in commands(text) {
        // With conda's own functions loaded, it works.
        hooked = hooked || command.words.iter().any(|word| word.contains("conda.sh") || word.contains("shell.bash"));
        if !hooked && matches!(command.program(), [conda, activate, ..] if conda == "conda" && activate == "activate") {
            let message = "`conda activate` works at a prompt, and not in a script";
            let remedy = "`source activate ENVIRONMENT`";
            findings.push(Finding::new(path, Some(command.line), Trap::CondaActivate, message, remedy));
        }
    }
    findings
}

/// The first relative path, where the script does not change its folder before.
fn relative_path(path: &Path, text: &str) -> Option<Finding> {
    for command in commands(text) {
        if command.words.first().is_some_and(|first| first == "cd" || first == "pushd") {
            return None;
        }
        let relative = command.words.iter().find(|word| {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
            plain
                && !word.starts_with(['/', '-'])
                && CALLED.iter().any(|end| word.len() > end.len() && word.ends_with(end))
        });
        if let Some(word) = relative {
            let message = format!("`{word}` is looked for in the job's working directory, not beside the script");
            let remedy = format!("before it: `{OWN_FOLDER}`");
            return Some(Finding::new(path, Some(command.line), Trap::RelativePath, message, remedy));
        }
    }
    None
}

/// Nothing that the container will have speaks of the io-dir.
pub(super) fn no_io_dir(path: &Path) -> Finding {
    let message = "nothing here writes to the io-dir: a job would end without results";
    Finding::new(path, None, Trap::NoIoDir, message, "write results to `$HOME/io-dir/results`")
}

/// Whether a file speaks of the io-dir. One that cannot be read does not.
pub(super) fn mentions_io_dir(path: &Path) -> bool {
    read(path).is_ok_and(|text| text.is_some_and(|text| text.contains("io-dir") || text.contains("io_dir")))
}

/// A file's text. None of one that is too large for a script, or is no text.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if !metadata.is_file() || metadata.len() > LARGE {
        return Ok(None);
    }
    let bytes = std::fs::read(path).doing("read", path)?;
    // Texts in other encodings are read as far as they can be; programs and archives have zeros.
    Ok((!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether anybody may execute it.
pub(super) fn is_executable(path: &Path) -> Result<bool> {
    Ok(std::fs::metadata(path).doing("read", path)?.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot write its file has failed")]
mod tests {
    use super::*;

    fn traps(text: &str) -> Vec<(Trap, Option<usize>)> {
        let path = Path::new("run.sh");
        let findings = of_entry(path, Some(text), true).into_iter().chain(of_text(path, text));
        findings.map(|finding| (finding.trap, finding.line)).collect()
    }

    #[test]
    fn a_script_with_good_habits_has_no_traps() {
        let good = "#!/bin/bash\n# conda activate x\ncat <<END\nrun.sh DATASET\nEND\ncd \"$(dirname \"$0\")\"\n\
                    source activate x\npython3 pca.py \"$1\"\n";
        assert_eq!(traps(good), []);
        let hooked = "#!/bin/bash\nsource /opt/conda/etc/profile.d/conda.sh\nconda activate x\npython3 /x/pca.py\n";
        assert_eq!(traps(hooked), []);
    }

    #[test]
    fn conda_activate_is_a_trap_only_where_it_is_a_command() {
        let harmless = "#!/bin/sh\necho \"first; conda activate x\"\ntrue # then; conda activate x\n";
        assert_eq!(traps(harmless), []);
        let traps =
            traps("#!/bin/sh\ny=$((1<<3))\nif true; then conda activate a; fi\ntrue && \\\n  A=1 conda activate b\n");
        assert_eq!(traps, [(Trap::CondaActivate, Some(3)), (Trap::CondaActivate, Some(5))]);
    }

    #[test]
    fn a_program_is_no_script() {
        let file = tempfile::NamedTempFile::with_suffix(".sh").unwrap();
        std::fs::write(file.path(), b"\x7fELF\0\r\n").unwrap();
        let text = read(file.path()).unwrap();
        assert_eq!(of_entry(file.path(), text.as_deref(), true), []);
        assert_eq!(of_text(file.path(), &text.unwrap_or_default()), []);
    }

    #[test]
    fn each_trap_is_found_at_its_line() {
        assert_eq!(traps("echo\n"), [(Trap::NoInterpreter, Some(1))]);
        assert_eq!(traps("#!/bin/sh\r\necho\r\n"), [(Trap::Crlf, Some(1))]);
        assert_eq!(traps("#!/bin/sh\nif x; then\n  conda activate a\nfi\n"), [(Trap::CondaActivate, Some(3))]);
        assert_eq!(traps("#!/bin/sh\npython3 'lib/pca.py' $1\n"), [(Trap::RelativePath, Some(2))]);
        let path = Path::new("run.sh");
        assert_eq!(
            of_entry(path, Some("#!/bin/sh\n"), false).first().map(|found| found.trap),
            Some(Trap::NotExecutable)
        );
    }
}
