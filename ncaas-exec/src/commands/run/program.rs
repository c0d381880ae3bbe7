//! Finds the program that a command line executes, behind wrappers such as `env` and `timeout`, and the script of a
//! shell or interpreter.

use ncaas_core::layout::base_name;

/// Shells that take a script after `-c`.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// Interpreters that execute their first argument: name, options that replace it, other options with a value.
const INTERPRETERS: [(&str, &[&str], &[&str]); 8] = [
    ("python", &["-c", "-m"], &["-W", "-X"]),
    ("Rscript", &["-e"], &[]),
    ("perl", &["-e", "-E"], &["-I"]),
    ("ruby", &["-e"], &["-I", "-r"]),
    ("node", &["-e", "-p", "--eval", "--print"], &["-r", "--require"]),
    ("julia", &["-e", "-E"], &["-p", "-t", "-J"]),
    ("octave", &["--eval"], &[]),
    ("php", &["-r", "-f"], &["-d", "-c"]),
];

const SCRIPT_EXTENSIONS: [&str; 7] = [".sh", ".bash", ".py", ".R", ".pl", ".jl", ".rb"];

/// Programs that execute the rest of their arguments: name, number of own arguments, options with a value.
const WRAPPERS: [(&str, usize, &[&str]); 19] = [
    ("env", 0, &["-u", "-C", "--unset", "--chdir"]),
    ("timeout", 1, &["-k", "-s", "--kill-after", "--signal"]),
    ("nice", 0, &["-n", "--adjustment"]),
    ("ionice", 0, &["-c", "-n"]),
    ("nohup", 0, &[]),
    ("stdbuf", 0, &["-i", "-o", "-e"]),
    ("setsid", 0, &[]),
    ("time", 0, &["-f", "-o"]),
    ("tini", 0, &["-p", "-e"]),
    ("dumb-init", 0, &["-r", "--rewrite"]),
    ("catatonit", 0, &[]),
    ("gosu", 1, &[]),
    ("su-exec", 1, &[]),
    ("chroot", 1, &[]),
    ("taskset", 1, &[]),
    ("xvfb-run", 0, &["-n", "-s", "-e", "-f", "-p", "-w"]),
    ("conda", 1, &["-n", "-p", "--name", "--prefix", "--cwd"]),
    ("mamba", 1, &["-n", "-p", "--name", "--prefix", "--cwd"]),
    ("micromamba", 1, &["-n", "-p", "-r", "--name", "--prefix", "--root-prefix"]),
];

/// The program that a command line executes in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// A program or a script file; following words are its arguments.
    File,
    /// A shell that executes the script `text`; both are indices of words.
    ShellScript { shell: usize, text: usize },
    /// A shell or interpreter without a script.
    Interpreter,
}

pub(super) fn is_complete(program: Program) -> bool {
    program != Program::Interpreter
}

/// Finds the program behind wrappers such as `env` and `timeout`. `None` if the line ends before.
pub(super) fn find_program(line: &[String]) -> Option<Program> {
    let mut at = 0;
    loop {
        let name = base_name(line.get(at)?);
        if name == "busybox" || name == "exec" {
            at += 1;
        } else if SHELLS.contains(&name) {
            return Some(find_shell_script(line, at));
        } else if let Some((_, scripts, values)) = INTERPRETERS.iter().find(|(known, ..)| is_version_of(name, known)) {
            return Some(find_interpreter_script(&line[at + 1..], scripts, values));
        } else if let Some((wrapper, own_arguments, values)) = WRAPPERS.iter().find(|(known, ..)| *known == name) {
            at = skip_wrapper(line, at + 1, wrapper, *own_arguments, values);
        } else {
            return Some(Program::File);
        }
    }
}

/// `python3` and `python3.11` are versions of `python`.
fn is_version_of(name: &str, interpreter: &str) -> bool {
    name.strip_prefix(interpreter).is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Index of the first word after a wrapper's options and own arguments.
fn skip_wrapper(line: &[String], mut at: usize, wrapper: &str, mut own_arguments: usize, values: &[&str]) -> usize {
    while let Some(word) = line.get(at) {
        if word == "--" {
            at += 1 + own_arguments;
            break;
        } else if values.contains(&word.as_str()) {
            at += 2;
        } else if (word.starts_with('-') && word.len() > 1) || (wrapper == "env" && word.contains('=')) {
            at += 1;
        } else if own_arguments > 0 {
            own_arguments -= 1;
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// The program or script that the shell at index `shell` executes.
fn find_shell_script(line: &[String], shell: usize) -> Program {
    let mut has_command_option = false;
    let mut at = shell + 1;
    while let Some(option) = line.get(at) {
        if option == "--" || option == "-" {
            at += 1;
            break;
        } else if let Some(long) = option.strip_prefix("--") {
            at += if matches!(long, "rcfile" | "init-file") { 2 } else { 1 };
        } else if option.starts_with(['-', '+']) && option.len() > 1 {
            has_command_option |= option.starts_with('-') && option.contains('c');
            // `-o` and `-O` are followed by the name of a setting.
            at += if option.ends_with(['o', 'O']) { 2 } else { 1 };
        } else {
            break;
        }
    }
    if line.len() <= at {
        Program::Interpreter
    } else if has_command_option {
        Program::ShellScript { shell, text: at }
    } else {
        Program::File
    }
}

fn find_interpreter_script(arguments: &[String], scripts: &[&str], values: &[&str]) -> Program {
    let mut at = 0;
    while let Some(option) = arguments.get(at).filter(|word| word.starts_with('-') && word.len() > 1) {
        if scripts.iter().any(|script| option.starts_with(script)) {
            return Program::File;
        }
        at += if values.contains(&option.as_str()) { 2 } else { 1 };
    }
    if at < arguments.len() { Program::File } else { Program::Interpreter }
}

/// Whether the first word of a command is a script, or an interpreter that gets one.
pub(super) fn is_script(word: &str) -> bool {
    let name = base_name(word);
    let is_interpreter = INTERPRETERS.iter().any(|(known, ..)| is_version_of(name, known));
    is_interpreter || SHELLS.contains(&name) || SCRIPT_EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}
