//! The command line of a job: entrypoint and command of its container, with the paths of dataset and config.
//!
//! An analysis gets the dataset as `$1` and the config as `$2` of its script, whatever form the image's entrypoint and
//! command have: a program, a shell with `-c`, either behind `env` or `timeout`. Where placeholders such as `{data}`
//! name the paths, nothing is appended. A command for which it is not known how it takes arguments is refused.

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::base_name;

use super::program::{Program, find_program, is_complete, is_script};

/// Shell syntax after which arguments cannot simply be appended to a script.
const SHELL_SYNTAX: [&str; 8] = ["|", "`", "$(", "(", "{", "#", "<<", "\\\n"];
/// Last words of a compound command, which takes no arguments.
const COMPOUND_ENDS: [&str; 4] = ["fi", "done", "esac", "}"];

/// Entrypoint and command before the arguments are added.
#[derive(Debug, Clone, Default)]
pub(super) struct BaseCommand {
    /// The entrypoint: of the image, or from the command line.
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    /// Whether the user chose the command; otherwise it is the image's default.
    pub(super) is_explicit: bool,
}

/// The inputs of an analysis, for its command line.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    pub(super) data: Option<String>,
    pub(super) config: Option<String>,
    /// Values of the placeholders, by name without braces.
    pub(super) placeholders: Vec<(&'static str, String)>,
    /// Whether paths are appended; a script of the workflow protocol gets none.
    pub(super) append: bool,
}

/// The final command line of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
}

/// Adds the arguments to a command. Fails with [`Kind::Usage`] if the image has no command, or only an interpreter,
/// which would execute the dataset; or if it is not known how the command takes arguments.
pub(super) fn complete_command(base: BaseCommand, arguments: &Arguments) -> Result<CommandLine> {
    let BaseCommand { mut entrypoint, mut command, is_explicit } = base;
    split_env_string(&mut entrypoint);
    split_env_string(&mut command);
    let has_paths = arguments.append && (arguments.data.is_some() || arguments.config.is_some());
    let contains_placeholder = |word: &String| substitute(word, &arguments.placeholders) != *word;
    let mut executed = None;
    let has_placeholder = entrypoint.iter().chain(&command).any(contains_placeholder);
    if has_paths && !has_placeholder && !is_explicit && find_program(&entrypoint).is_some_and(is_complete) {
        match find_program(&command) {
            // The entrypoint prepares something and executes its arguments: it would execute the dataset.
            Some(Program::Interpreter) => return Err(would_execute_dataset(&[entrypoint, command].concat())),
            Some(Program::ShellScript { shell, text }) => {
                let before = entrypoint.len();
                executed = Some(Program::ShellScript { shell: shell + before, text: text + before });
            }
            _ if command.first().is_some_and(|word| is_script(word) || executes_arguments(&entrypoint, word)) => {}
            // The image's command holds default arguments of its entrypoint: the paths replace them.
            _ => command.clear(),
        }
    }
    let entrypoint_length = entrypoint.len();
    let mut line: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if line.is_empty() {
        return Err(Failure::new(Kind::Usage, "the image has no command")
            .hint("give one after `--`, or set CMD in the image: `ncaas-build commit --script` does"));
    }
    let program = executed.or_else(|| find_program(&line));
    if has_placeholder {
        if let Some(Program::ShellScript { text, .. }) = program
            && contains_placeholder(&line[text])
        {
            return Err(Failure::new(Kind::Usage, "placeholders are not allowed inside a shell script").hint(
                "use \"$data\" and \"$config\" in the script, or \"$1\" with the placeholder as an argument after it",
            ));
        }
        for word in &mut line {
            *word = substitute(word, &arguments.placeholders);
        }
    } else if has_paths {
        match program {
            Some(Program::File) => {}
            Some(Program::ShellScript { shell, text }) => {
                if text + 1 == line.len() {
                    if !is_explicit && !uses_arguments(&line[text]) {
                        let script = forward_arguments(&line[text]).ok_or_else(|| unknown_arguments(&line[text]))?;
                        line[text] = script;
                    }
                    let before = texts_before_all_arguments(&line[text]);
                    if before.iter().copied().any(is_end_of_command) {
                        return Err(would_execute_dataset(&line));
                    } else if before.is_empty() {
                        // The first word after the script is `$0`.
                        line.push(line[shell].clone());
                    }
                }
            }
            Some(Program::Interpreter) | None => return Err(would_execute_dataset(&line)),
        }
        line.push(arguments.data.clone().unwrap_or_default());
        line.extend(arguments.config.clone());
    }
    let command = line.split_off(entrypoint_length);
    Ok(CommandLine { entrypoint: line, command })
}

fn would_execute_dataset(line: &[String]) -> Failure {
    Failure::new(Kind::Usage, format!("the command `{}` would execute the dataset", line.join(" ")))
        .hint("the image names no script: give the command after `--`, for example `-- python main.py`")
}

/// Whether an entrypoint most likely executes the command, which begins with `word`: images whose entrypoint is named
/// so prepare an environment, and a path is not a subcommand.
fn executes_arguments(entrypoint: &[String], word: &str) -> bool {
    let name = entrypoint.last().map_or("", |word| base_name(word));
    let prepares = name.contains("entrypoint") || ["entry.sh", "startup.sh", "init"].contains(&name);
    !word.starts_with('-') && (prepares || word.contains('/'))
}

/// Splits the argument of `env -S` into words, as `env` does.
fn split_env_string(line: &mut Vec<String>) {
    if let [env, option, text, ..] = line.as_slice()
        && base_name(env) == "env"
        && option == "-S"
        && !text.contains(['$', '\\'])
        && let Some(words) = shlex::split(text)
    {
        line.splice(1..3, words);
    }
}

/// Replaces all placeholders of a word in one pass: a value that looks like a placeholder stays as it is, and so does
/// the variable `${data}` of a shell.
fn substitute(word: &str, placeholders: &[(&'static str, String)]) -> String {
    let mut result = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        result.push_str(before);
        let is_variable = before.ends_with('$');
        let found = placeholders
            .iter()
            .filter(|_| !is_variable)
            .find_map(|(name, value)| after.strip_prefix(*name)?.strip_prefix('}').map(|remaining| (value, remaining)));
        match found {
            Some((value, remaining)) => {
                result.push_str(value);
                rest = remaining;
            }
            None => {
                result.push('{');
                rest = after;
            }
        }
    }
    result + rest
}

/// Whether a shell script reads its arguments, or the variables that hold them.
fn uses_arguments(script: &str) -> bool {
    script.match_indices('$').any(|(at, _)| {
        let name = script[at + 1..].trim_start_matches('{');
        name.starts_with(['1', '2', '@', '*', '#']) || name.starts_with("data") || name.starts_with("config")
    })
}

/// The parts of a shell script before each `$0 $@`, by which it takes the words after it, the first one included.
fn texts_before_all_arguments(script: &str) -> Vec<&str> {
    let takes_all = |(at, name): &(usize, &str)| {
        let rest = script[at + name.len()..].trim_start_matches(['"', ' ']);
        ["$@", "${@}", "$*"].iter().any(|all| rest.starts_with(all))
    };
    let names = script.match_indices("$0").chain(script.match_indices("${0}"));
    names.filter(takes_all).map(|(at, _)| script[..at].trim_end_matches('"').trim_end()).collect()
}

/// Whether a shell reads the word after this text as a command.
fn is_end_of_command(text: &str) -> bool {
    text.is_empty() || text.ends_with([';', '&', '|', '(', '\n']) || text.split_whitespace().next_back() == Some("exec")
}

/// The script with its arguments passed on to its last command, if that can be done.
fn forward_arguments(script: &str) -> Option<String> {
    let script = script.trim();
    let last = script.rsplit([';', '\n', ' ', '\t']).next().unwrap_or_default();
    let has_syntax = SHELL_SYNTAX.iter().any(|syntax| script.contains(syntax));
    if has_syntax || script.is_empty() || script.ends_with(['&', ';', '\\']) || COMPOUND_ENDS.contains(&last) {
        return None;
    }
    Some(format!("{script} \"$@\""))
}

fn unknown_arguments(script: &str) -> Failure {
    let shown: String = script.chars().take(60).collect();
    Failure::new(Kind::Usage, format!("the image's command `{shown}` does not use the dataset")).hint(
        "write \"$1\" (dataset) and \"$2\" (config), or \"$@\", in the image's command, or give a command after `--`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn arguments() -> Arguments {
        Arguments {
            data: Some("D".to_owned()),
            config: Some("C".to_owned()),
            placeholders: vec![("data", "D".to_owned()), ("out", "{data}".to_owned())],
            append: true,
        }
    }

    /// Words are separated by `|`; the result is `entrypoint || command`.
    fn completed(entrypoint: &str, command: &str, is_explicit: bool) -> String {
        let base = BaseCommand { entrypoint: words(entrypoint), command: words(command), is_explicit };
        match complete_command(base, &arguments()) {
            Ok(line) => format!("{} || {}", line.entrypoint.join("|"), line.command.join("|")),
            Err(failure) => format!("{:?}", failure.kind),
        }
    }

    #[test]
    fn the_dataset_is_the_first_argument_of_the_script_in_every_form() {
        for (entrypoint, command, expected) in [
            ("", "./run.sh", " || ./run.sh|D|C"),
            ("", "./run.sh|-v", " || ./run.sh|-v|D|C"),
            ("", "bash|run.sh", " || bash|run.sh|D|C"),
            ("", "python3.11|-u|main.py", " || python3.11|-u|main.py|D|C"),
            ("", "python|-m|analysis", " || python|-m|analysis|D|C"),
            // Shell form.
            ("", "/bin/sh|-c|./run.sh", " || /bin/sh|-c|./run.sh \"$@\"|/bin/sh|D|C"),
            ("/bin/sh|-c|./run.sh", "", "/bin/sh|-c|./run.sh \"$@\" || /bin/sh|D|C"),
            ("/bin/sh|-c|echo $1", "", "/bin/sh|-c|echo $1 || /bin/sh|D|C"),
            ("", "sh|-c|cd /app && ./run.sh", " || sh|-c|cd /app && ./run.sh \"$@\"|sh|D|C"),
            // Options of the shell, wrappers.
            ("/bin/bash|-o|pipefail|-c|S $1", "", "/bin/bash|-o|pipefail|-c|S $1 || /bin/bash|D|C"),
            ("", "bash|-l|-c|S $1", " || bash|-l|-c|S $1|bash|D|C"),
            ("", "bash|-lc|S $1", " || bash|-lc|S $1|bash|D|C"),
            ("", "bash|-c|--|S $1", " || bash|-c|--|S $1|bash|D|C"),
            ("", "busybox|sh|-c|S $1", " || busybox|sh|-c|S $1|sh|D|C"),
            ("", "env|A=1|-u|B|bash|-c|S $1", " || env|A=1|-u|B|bash|-c|S $1|bash|D|C"),
            ("", "timeout|-k|1|5|bash|-c|S $1", " || timeout|-k|1|5|bash|-c|S $1|bash|D|C"),
            ("", "conda|run|-n|x|sh|-c|S $1", " || conda|run|-n|x|sh|-c|S $1|sh|D|C"),
            // `$0` is given.
            ("", "bash|-c|S $1|name", " || bash|-c|S $1|name|D|C"),
            ("/bin/sh|-c|exec \"$0\" \"$@\"|S", "", "/bin/sh|-c|exec \"$0\" \"$@\"|S || D|C"),
            ("bash|-c|. ./x; exec S $0 $@", "", "bash|-c|. ./x; exec S $0 $@ || D|C"),
            ("bash|-c|echo $0; S $@", "", "bash|-c|echo $0; S $@ || bash|D|C"),
            // The client of the platform.
            ("", "bash|-c|S ${data} ${config}", " || bash|-c|S ${data} ${config}|bash|D|C"),
            // Entrypoint and command are one line if the entrypoint is incomplete.
            ("bash|-c", "./run.sh", "bash|-c || ./run.sh \"$@\"|bash|D|C"),
            ("bash", "run.sh", "bash || run.sh|D|C"),
            ("tini|--", "./run.sh", "tini|-- || ./run.sh|D|C"),
            ("timeout|5", "python|main.py", "timeout|5 || python|main.py|D|C"),
            // The default command of a complete entrypoint is replaced.
            ("/app/run", "--help", "/app/run || D|C"),
            ("python|main.py", "--help", "python|main.py || D|C"),
            ("python|main.py", "train", "python|main.py || D|C"),
            // An entrypoint that executes its arguments.
            ("/entrypoint.sh", "/opt/run.sh|-v", "/entrypoint.sh || /opt/run.sh|-v|D|C"),
            ("/entrypoint.sh", "python3|main.py", "/entrypoint.sh || python3|main.py|D|C"),
            ("/entrypoint.sh", "bash|-c|S $1", "/entrypoint.sh || bash|-c|S $1|bash|D|C"),
            ("/opt/x_entrypoint.sh", "tool|-v", "/opt/x_entrypoint.sh || tool|-v|D|C"),
            ("/opt/x_entrypoint.sh", "--help", "/opt/x_entrypoint.sh || D|C"),
            ("/app/run", "/opt/tool", "/app/run || /opt/tool|D|C"),
            ("/usr/bin/env|-S|A=1 python3 -u|main.py", "", "/usr/bin/env|A=1|python3|-u|main.py || D|C"),
        ] {
            assert_eq!(completed(entrypoint, command, false), expected, "{entrypoint} | {command}");
        }
        assert_eq!(completed("/app/run", "--fast", true), "/app/run || --fast|D|C");
        assert_eq!(completed("", "sh|-c|echo ok", true), " || sh|-c|echo ok|sh|D|C");
    }

    #[test]
    fn a_command_that_would_execute_the_dataset_or_lose_it_is_refused() {
        for command in ["", "bash", "bash|-l", "python", "python3|-u", "env|A=1", "tini|--", "bash|-c", "sh|-c|(a)"] {
            assert_eq!(completed("", command, false), "Usage", "{command}");
        }
        for script in [
            "exec \"$0\" \"$@\"",
            ". ./x && \"${0}\" \"$@\"",
            "$0 $*",
            "echo $0; exec \"$0\" \"$@\"",
            "echo $0 $@; ${0} $@",
        ] {
            assert_eq!(completed(&format!("sh|-c|{script}"), "", false), "Usage", "{script}");
        }
        assert_eq!(completed("bash", "", false), "Usage");
        assert_eq!(completed("/entrypoint.sh", "bash", false), "Usage");
        assert_eq!(completed("", "bash", true), "Usage");
    }

    #[test]
    fn placeholders_replace_the_appended_paths() {
        assert_eq!(completed("", "run|--in={data}|{out}|{x}", true), " || run|--in=D|{data}|{x}");
        assert_eq!(completed("/app/run", "{data}", false), "/app/run || D");
        assert_eq!(completed("", "sh|-c|cat {data}", true), "Usage");
        assert_eq!(completed("", "sh|-c|cat \"$1\"|sh|{data}", true), " || sh|-c|cat \"$1\"|sh|D");
    }

    #[test]
    fn a_command_without_inputs_is_unchanged() {
        let base = BaseCommand { command: words("sh|-c|x"), ..BaseCommand::default() };
        let line = complete_command(base, &Arguments::default());
        assert_eq!(line.map(|line| line.command), Ok(words("sh|-c|x")));
        let workflow = Arguments { append: false, ..arguments() };
        let base = BaseCommand { entrypoint: words("./run.sh"), command: words("-v"), is_explicit: false };
        assert_eq!(complete_command(base, &workflow).map(|line| line.command), Ok(words("-v")));
    }
}
