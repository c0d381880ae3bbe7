//! Start and end of each program: arguments, signals, panics, stderr, exit status.
//!
//! A separate thread handles signals, so that a tool always ends within a second.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, Parser};
use schemars::Schema;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

pub use crate::exit_status::ExitStatus;
use crate::failure::{Failure, Kind, Result, with_hint};
pub use crate::job_counts::JobCounts;
use crate::job_counts::{CountsLine, REDRAW, line_start};
use crate::record::Record;
use crate::{schema, suggestion, text};

/// How long a tool may take to end after the first signal before it is ended.
const TIME_TO_END: Duration = Duration::from_millis(900);

/// The signal that this process has received; 0 for none.
static SIGNAL: AtomicU8 = AtomicU8::new(0);
static SIGNALLED: Notify = Notify::const_new();

/// The flag of verbs that can print failures only.
const QUIET: &str = "quiet";

/// The longest line of `--help`, in characters.
const HELP_WIDTH: usize = 100;

/// The running program.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    name: &'static str,
    /// Whether the user asked for failures only.
    is_quiet: bool,
}

impl Tool {
    /// A program with this name in records and messages.
    pub const fn named(name: &'static str) -> Self {
        Tool { name, is_quiet: false }
    }

    /// Whether only failures are printed.
    pub fn is_quiet(self) -> bool {
        self.is_quiet
    }

    /// The name, for example `ncaas-exec`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Prints a message on stderr, unless the tool is quiet.
    pub fn note(self, words: &str) {
        if !self.is_quiet {
            self.note_failure(words);
        }
    }

    /// Prints a message with a hint on a second line, unless the tool is quiet.
    pub fn note_with_hint(self, words: &str, hint: &str) {
        self.note(&with_hint(words, Some(hint)));
    }

    /// Prints a message about the failure of a job on stderr, even if the tool is quiet.
    pub fn note_failure(self, words: &str) {
        self.write_stderr(&format!("{}: {words}\n", self.name));
    }

    /// Prints a line of a job's or a build's output on stderr, even if the tool is quiet.
    pub fn print_output(self, line: &str) {
        self.write_stderr(&format!("{line}\n"));
    }

    /// Runs `work`. Meanwhile shows how many jobs wait, run and have ended, if stderr is a terminal.
    pub async fn show_counts<T>(self, counts: impl Fn() -> JobCounts, work: impl Future<Output = T>) -> T {
        if self.is_quiet || !std::io::stderr().is_terminal() {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(REDRAW);
        let mut line = CountsLine::new();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => line.draw(counts()),
            }
        }
    }

    /// Prints a warning, if there is one, and adds it to the record.
    pub fn warn(self, record: &mut Record, warning: Option<&str>) {
        if let Some(warning) = warning {
            self.note(warning);
            record.warn(warning);
        }
    }

    /// Prints a failure on stderr, with its hint on a second line.
    pub fn report_failure(self, failure: &Failure) {
        self.write_stderr(&format!("{}\n", failure.for_people(self.name)));
    }

    /// Resolves when SIGINT, SIGTERM or SIGHUP was received.
    pub async fn interrupted(self) {
        loop {
            let notified = SIGNALLED.notified();
            if SIGNAL.load(Ordering::Acquire) != 0 {
                return;
            }
            notified.await;
        }
    }

    /// The exit status: `status`, or that of the signal that was received.
    pub(crate) fn status_after(self, status: u8) -> ExitStatus {
        match SIGNAL.load(Ordering::Acquire) {
            0 => ExitStatus(status),
            signal => ExitStatus(128 + signal),
        }
    }

    /// Writes a message, which may contain text from outside.
    fn write_stderr(self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        let line = format!("{}{}", line_start(&stderr), text::strip_control(text));
        // A failure to write to stderr cannot be reported.
        stderr.write_all(line.as_bytes()).unwrap_or(());
    }
}

/// Runs a program: parses its arguments as `A`, runs `verb` on a current-thread runtime (1.6 times as fast as a
/// multi-threaded one for the engine's streams), and returns the exit status. `schema` is the JSON Schema of the
/// records of a verb.
pub fn run<A: Parser>(
    name: &'static str,
    schema: fn(&str) -> Schema,
    verb: impl AsyncFnOnce(Tool, A) -> Result<ExitStatus>,
) -> ExitCode {
    let tool = Tool::named(name);
    std::panic::set_hook(Box::new(move |panic| {
        tool.write_stderr(&format!("{name}: internal error, please report it: {panic}\n"));
        // The status of a Rust program that panicked. Without this, an optimised one would end by SIGABRT.
        #[expect(clippy::exit, reason = "an optimised program has no code to unwind")]
        std::process::exit(101);
    }));
    let outcome = handle_signals().and_then(|()| {
        let command = A::command().propagate_version(true).max_term_width(HELP_WIDTH);
        let mut command = with_negative_values(schema::with_flag(command));
        if let Some(generated) = crate::generate::run_if_requested(command.clone()) {
            return generated;
        }
        let matches = parse_arguments(&mut command);
        let tool =
            Tool { is_quiet: matches.subcommand().is_some_and(|(_, flags)| schema::is_set(flags, QUIET)), ..tool };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Kind::Io, format!("cannot start: {error}")))?;
        let outcome = match schema::requested_verb(&matches) {
            Some(name) => schema::print(&schema(name)),
            None => {
                let arguments = A::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
                runtime.block_on(verb(tool, arguments))
            }
        };
        // A thread that waits for stdin must not delay the end.
        runtime.shutdown_background();
        outcome
    });
    let ExitStatus(status) = outcome.unwrap_or_else(|failure| {
        tool.report_failure(&failure);
        tool.status_after(failure.kind.exit_status())
    });
    ExitCode::from(status)
}

/// Accepts values that begin with `-` for times and sizes: their parsers explain the error, and clap would take them for
/// flags.
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
fn parse_arguments(command: &mut Command) -> ArgMatches {
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

fn handle_signals() -> Result<()> {
    // A program that `nohup` starts outlives its terminal.
    let hang_up = (!ignores_hang_up()).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up))
        .map_err(|error| Failure::new(Kind::Io, format!("cannot listen for signals: {error}")))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let signal = u8::try_from(signal).unwrap_or(SIGTERM as u8);
            let first = SIGNAL.swap(signal, Ordering::AcqRel) == 0;
            // A terminal that closes may send its signal more than once.
            if !first && i32::from(signal) != SIGHUP {
                end_now(signal);
            }
            SIGNALLED.notify_waiters();
            std::thread::spawn(move || {
                std::thread::sleep(TIME_TO_END);
                end_now(signal);
            });
        }
    });
    Ok(())
}

/// Whether this process was started with SIGHUP ignored.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default();
    ignored & (1 << (SIGHUP - 1)) != 0
}

#[expect(clippy::exit, reason = "the one place that ends a tool which does not end by itself")]
fn end_now(signal: u8) {
    std::process::exit(128 + i32::from(signal));
}
