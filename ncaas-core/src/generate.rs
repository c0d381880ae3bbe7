//! Documents generated from a tool's command line: man pages, shell completions, the list of its verbs.
//!
//! `TOOL --generate man|completions DIR` writes them into a folder, `TOOL --generate verbs` prints a line for each
//! verb. `--help` does not show the option: the Makefile, the packages and the tests use it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::exit_status::ExitStatus;
use crate::failure::{Failure, Kind, Result};

/// The meaning of each exit status of a tool.
const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "Every record succeeded."),
    ("1", "At least one record carries an error, or a job failed."),
    ("2", "The command line is wrong."),
    ("3", "The Docker Engine, the bucket or the scheduler cannot be reached."),
    ("129, 130, 143", "SIGHUP, SIGINT or SIGTERM ended the tool."),
];

/// Generates what the program's arguments ask for. None if they are not a `--generate`.
pub(crate) fn run_if_requested(command: Command) -> Option<Result<ExitStatus>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("--generate") {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let generated = match *arguments {
        ["man", folder] => write_man_pages(command, folder.as_ref()),
        ["completions", folder] => write_completions(command, folder.as_ref()),
        ["verbs"] => print_verbs(&command),
        _ => return Some(Err(Failure::new(Kind::Usage, "`--generate` takes `man DIR`, `completions DIR` or `verbs`"))),
    };
    Some(match generated {
        Ok(()) => Ok(ExitStatus::SUCCESS),
        Err(error) => Err(Failure::new(Kind::Io, format!("cannot write what was generated: {error}"))),
    })
}

/// `TOOL.1` and a `TOOL-VERB.1` for each verb.
fn write_man_pages(mut command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    command = command.disable_help_subcommand(true);
    command.build();
    let tool = command.get_name().to_owned();
    let names: Vec<String> = verbs(&command).map(|verb| page_name(verb).to_owned()).collect();
    let others = |own: &str| {
        let pages = std::iter::once(&tool).chain(&names).filter(|name| *name != own);
        pages.map(|name| format!("{name}(1)")).collect::<Vec<_>>().join(", ")
    };
    for verb in verbs(&command) {
        write_man_page(verb, folder, &[], &others(page_name(verb)))?;
    }
    write_man_page(&command, folder, &EXIT_STATUS, &others(&tool))
}

fn write_man_page(command: &Command, folder: &Path, statuses: &[(&str, &str)], see_also: &str) -> io::Result<()> {
    let mut page = BufWriter::new(File::create(folder.join(format!("{}.1", page_name(command))))?);
    let man = Man::new(command.clone()).manual("ncaas").source(concat!("ncaas ", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        let text = text.to_string();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in text.lines().filter(|line| *line != "Examples:") {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    if !statuses.is_empty() {
        roff.control("SH", ["EXIT STATUS"]);
        for (status, meaning) in statuses {
            roff.control("TP", []).text([bold(*status)]).text([roman(*meaning)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(see_also)]);
    roff.to_writer(&mut page)?;
    page.flush()
}

fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

/// `TOOL.bash`, `_TOOL` for zsh, `TOOL.fish`.
fn write_completions(mut command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, folder)?;
    }
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut command, &name, &mut script);
    // clap_complete 4.6 spells a hyphen in the name of a program in two ways, so that no verb is recognised (clap 6421).
    let verb = |hyphen: &str| format!("{}__subcmd__", name.replace('-', hyphen));
    let script = String::from_utf8_lossy(&script).replace(&verb("__subcmd__"), &verb("__"));
    fs::write(folder.join(format!("{name}.bash")), script)
}

/// A JSON object for each verb: its name, and whether it is a filter, which reads records if it has no arguments.
fn print_verbs(command: &Command) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for verb in verbs(command) {
        let is_filter = verb.get_arguments().any(|argument| argument.get_id() == "jobs");
        writeln!(stdout, r#"{{"verb":"{}","filter":{is_filter}}}"#, verb.get_name())?;
    }
    stdout.flush()
}
