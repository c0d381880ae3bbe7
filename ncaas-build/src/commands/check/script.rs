//! Mistakes in a script that jobs run.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ncaas_core::failure::{IoContext, Result};
use ncaas_core::shebang::{self, ShebangDefect};

use super::finding::{Finding, Report, Trap};
use super::shell_commands::{Command, commands};

/// A larger file is not a script, in bytes.
const LARGE: u64 = 1 << 20;
/// Endings of files that scripts of analyses use.
const SCRIPT_FILE_ENDINGS: [&str; 12] =
    [".py", ".sh", ".m", ".R", ".r", ".jl", ".json", ".yaml", ".yml", ".npy", ".mat", ".csv"];
/// The command by which a script enters its own folder.
const OWN_FOLDER: &str = r#"cd -- "$(dirname -- "${BASH_SOURCE[0]}")""#;

/// The mistakes in a script that is named on the command line.
pub(super) fn check(path: &Path) -> Result<Report> {
    let text = read(path)?;
    let mut findings = check_as_entrypoint(path, text.as_deref(), is_executable(path)?);
    let text = text.unwrap_or_default();
    findings.extend(check_content(path, &text));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_workflow = is_workflow(&text);
    let mut notes = if is_workflow { vec![workflow_note(path)] } else { Vec::new() };
    if !is_workflow
        && !mentions_io_dir(&text)
        && !beside.into_iter().any(|path| read(&path).is_ok_and(|text| text.is_some_and(|text| mentions_io_dir(&text))))
    {
        notes.push(no_io_dir_note(path));
    }
    Ok(Report { findings, notes })
}

/// Whether a script gets its dataset by the workflow commands of the platform's client, and not as arguments.
pub(super) fn is_workflow(text: &str) -> bool {
    commands(text).iter().any(|command| {
        let words = &command.words;
        words.windows(2).any(|pair| pair[0].ends_with("neurocaas-contrib") && pair[1] == "workflow")
    })
}

/// The note about a script that uses the workflow protocol.
pub(super) fn workflow_note(path: &Path) -> String {
    format!(
        "`{}` calls `neurocaas-contrib workflow`: build its image with `--protocol workflow`, or run its jobs with \
         `ncaas-exec run --protocol workflow`",
        path.display()
    )
}

/// Whether a word names a file that scripts of analyses use, by its ending.
pub(super) fn is_called_file(word: &str) -> bool {
    SCRIPT_FILE_ENDINGS.iter().any(|end| word.len() > end.len() && word.ends_with(end))
}

/// The mistakes in a script as the one that the engine starts. A program has no text.
pub(super) fn check_as_entrypoint(path: &Path, text: Option<&str>, executable: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = path.display();
    if !executable {
        let message = "the script is not executable: it runs from a shell, but a job cannot start it";
        findings.push(Finding::new(path, None, Trap::NotExecutable, message, format!("`chmod +x {name}`")));
    }
    let Some(text) = text else { return findings };
    if let Err(ShebangDefect { reason, remedy }) = shebang::examine(text.as_bytes())
        && !text.contains("\r\n")
    {
        let message = format!("the script {reason}");
        findings.push(Finding::new(path, Some(1), Trap::NoInterpreter, message, remedy));
    }
    findings.extend(relative_path(path, text));
    findings
}

/// The mistakes in a script, whether the engine or another script starts it.
pub(super) fn check_content(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(line) = text.split('\n').position(|line| line.ends_with('\r')) {
        let message = "the script has Windows line endings (CR LF): its interpreter is not found";
        let remedy = shebang::line_ending_remedy(&path.display().to_string());
        findings.push(Finding::new(path, Some(line + 1), Trap::Crlf, message, remedy));
    }
    let mut conda_is_loaded = false;
    for command in commands(text) {
        // It works after the shell functions of conda are loaded.
        conda_is_loaded = conda_is_loaded
            || command.words.iter().any(|word| word.contains("conda.sh") || word.contains("shell.bash"));
        if !conda_is_loaded
            && matches!(command.program(), [conda, activate, ..] if conda == "conda" && activate == "activate")
        {
            let message = "`conda activate` works only in an interactive shell";
            let remedy = "write `source activate ENVIRONMENT`";
            findings.push(Finding::new(path, Some(command.line), Trap::CondaActivate, message, remedy));
        }
    }
    findings
}

/// The first relative path of a file that the script reads, unless it changes its folder before.
pub(super) fn relative_path(path: &Path, text: &str) -> Option<Finding> {
    for command in commands(text) {
        if command.words.first().is_some_and(|first| first == "cd" || first == "pushd") {
            return None;
        }
        let is_relative = |word: &str| {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
            plain && !word.starts_with(['/', '-']) && is_called_file(word)
        };
        let mut words = command.words.iter().enumerate();
        if let Some((_, word)) = words.find(|(at, word)| is_relative(word) && !is_written(&command, *at)) {
            let message = format!("`{word}` is relative to the working directory of the job, not to the script");
            let remedy = format!("change to the folder of the script before it: `{OWN_FOLDER}`");
            return Some(Finding::new(path, Some(command.line), Trap::RelativePath, message, remedy));
        }
    }
    None
}

/// Whether a command writes the file that the word at a position names, and does not read it.
fn is_written(command: &Command, at: usize) -> bool {
    let writes = |program: &String| matches!(program.as_str(), "touch" | "tee" | "rm" | "mkdir" | "mv");
    let is_output = |before: &String| {
        before.ends_with('>') || matches!(before.as_str(), "-o" | "--out" | "--output" | "-O" | "tee")
    };
    command.program().first().is_some_and(writes) || at > 0 && is_output(&command.words[at - 1])
}

/// The note that no file mentions the io-dir, which is not a mistake: `ncaas-sync collect` finds results elsewhere.
pub(super) fn no_io_dir_note(path: &Path) -> String {
    format!(
        "`{}`: no file mentions the io-dir; write results to `$HOME/io-dir/results`; `ncaas-sync collect` also finds results elsewhere",
        path.display()
    )
}

pub(super) fn mentions_io_dir(text: &str) -> bool {
    text.contains("io-dir") || text.contains("io_dir")
}

/// The text of a file; none if it is too large for a script, or not a text.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let metadata = std::fs::metadata(path).doing("read", path)?;
    if !metadata.is_file() || metadata.len() > LARGE {
        return Ok(None);
    }
    let bytes = std::fs::read(path).doing("read", path)?;
    // Only programs and archives have zero bytes. Texts in other encodings are read as far as possible.
    Ok((!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether a file may be executed by anybody.
pub(super) fn is_executable(path: &Path) -> Result<bool> {
    Ok(std::fs::metadata(path).doing("read", path)?.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traps(text: &str) -> Vec<(Trap, Option<usize>)> {
        let path = Path::new("run.sh");
        let findings = check_as_entrypoint(path, Some(text), true).into_iter().chain(check_content(path, text));
        findings.map(|finding| (finding.trap, finding.line)).collect()
    }

    #[test]
    fn a_good_script_has_no_findings() {
        let good = "#!/bin/bash\n# conda activate x\ncat <<END\nrun.sh DATASET\nEND\ncd \"$(dirname \"$0\")\"\n\
                    source activate x\npython3 pca.py \"$1\"\n";
        assert_eq!(traps(good), []);
        let loads_conda =
            "#!/bin/bash\nsource /opt/conda/etc/profile.d/conda.sh\nconda activate x\npython3 /x/pca.py\n";
        assert_eq!(traps(loads_conda), []);
    }

    #[test]
    fn conda_activate_is_found_only_as_a_command() {
        let harmless = "#!/bin/sh\necho \"first; conda activate x\"\ntrue # then; conda activate x\n";
        assert_eq!(traps(harmless), []);
        let traps =
            traps("#!/bin/sh\ny=$((1<<3))\nif true; then conda activate a; fi\ntrue && \\\n  A=1 conda activate b\n");
        assert_eq!(traps, [(Trap::CondaActivate, Some(3)), (Trap::CondaActivate, Some(5))]);
    }

    #[test]
    fn a_program_is_not_a_script() {
        let file = tempfile::NamedTempFile::with_suffix(".sh").unwrap();
        std::fs::write(file.path(), b"\x7fELF\0\r\n").unwrap();
        let text = read(file.path()).unwrap();
        assert_eq!(check_as_entrypoint(file.path(), text.as_deref(), true), []);
        assert_eq!(check_content(file.path(), &text.unwrap_or_default()), []);
    }

    #[test]
    fn each_mistake_is_found_with_its_line() {
        for bad in ["echo\n", "\u{feff}#!/bin/sh\n", "#!/usr/bin/env bash -e\n", "#!/bin/bash -e -u\n"] {
            assert_eq!(traps(bad), [(Trap::NoInterpreter, Some(1))], "{bad:?}");
        }
        assert_eq!(traps("#!/bin/sh\nx -o out.csv\necho >out.json\ntouch a.csv\n"), [], "outputs");
        assert_eq!(traps("#!/bin/sh\r\necho\r\n"), [(Trap::Crlf, Some(1))]);
        assert_eq!(traps("#!/bin/sh\nif x; then\n  conda activate a\nfi\n"), [(Trap::CondaActivate, Some(3))]);
        assert_eq!(traps("#!/bin/sh\npython3 'lib/pca.py' $1\n"), [(Trap::RelativePath, Some(2))]);
        let path = Path::new("run.sh");
        assert_eq!(
            check_as_entrypoint(path, Some("#!/bin/sh\n"), false).first().map(|found| found.trap),
            Some(Trap::NotExecutable)
        );
    }
}
