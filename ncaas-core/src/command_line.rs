//! The command line of each program: what clap's derive does not give it.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};

use crate::{schema, suggestion, text};

/// The longest line of `--help`, in characters.
const HELP_WIDTH: usize = 100;

/// Completes the definition of a program's arguments, the same for all five.
pub(crate) fn complete_command(command: Command) -> Command {
    with_negative_values(schema::with_flag(command.propagate_version(true).max_term_width(HELP_WIDTH)))
}

/// Accepts values that begin with `-` for times and sizes: their parsers explain the error, and clap would take them
/// for flags.
fn with_negative_values(command: Command) -> Command {
    let is_amount = |argument: &Arg| {
        let name = argument.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
        let is_named = name.is_some_and(|name| ["TIME", "AGE", "SIZE"].contains(&name));
        is_named && argument.get_action().takes_values() && !argument.is_require_equals_set()
    };
    command.mut_subcommands(|verb| {
        verb.mut_args(|argument| if is_amount(&argument) { argument.allow_hyphen_values(true) } else { argument })
    })
}

/// Parses the command line, or ends the program with clap's message. The message repeats arguments, which may contain
/// file names from outside: control characters in them are replaced.
pub(crate) fn parse_arguments(command: &mut Command) -> ArgMatches {
    command.try_get_matches_from_mut(std::env::args_os()).unwrap_or_else(|error| {
        let shown = std::env::args_os().map(|argument| text::mark_control(&argument.to_string_lossy()));
        let mut error = command.try_get_matches_from_mut(shown).err().unwrap_or(error);
        suggest_verbs(&mut error, command);
        let is_file = |argument: &String| argument.starts_with('-') && Path::new(argument).exists();
        let file = std::env::args().skip(1).find(is_file).filter(|_| error.kind() == ErrorKind::UnknownArgument);
        if let Some(file) = file {
            let tip = format!("to name the file, use './{}'", text::mark_control(&file));
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error.exit()
    })
}

/// Adds verbs to the message about a misspelt one. clap finds none that are similar to short words such as `rn`.
fn suggest_verbs(error: &mut clap::Error, command: &Command) {
    let Some(ContextValue::String(verb)) = error.get(ContextKind::InvalidSubcommand) else { return };
    if error.get(ContextKind::SuggestedSubcommand).is_none() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(Command::get_name);
        let similar = suggestion::all_nearest(verb, verbs).into_iter().map(str::to_owned).collect::<Vec<_>>();
        if !similar.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(similar));
        }
    }
}
