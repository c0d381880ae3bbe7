//! Start and end of each program, and its stderr.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use schemars::Schema;

pub use crate::exit_status::ExitStatus;
use crate::failure::{Failure, Kind, Result, with_hint};
use crate::record::Record;
pub use crate::status_line::JobCounts;
use crate::status_line::{CountsLine, REDRAW, line_start};
use crate::{command_line, schema, signals, text};

/// The flag of verbs that can print failures only.
const QUIET: &str = "quiet";

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
        signals::received().await;
    }

    /// The exit status: `status`, or that of the signal that was received.
    pub(crate) fn status_after(self, status: u8) -> ExitStatus {
        match signals::last_signal() {
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
    let outcome = signals::handle_signals().and_then(|()| {
        let mut command = command_line::complete_command(A::command());
        if let Some(generated) = crate::generate::run_if_requested(command.clone()) {
            return generated;
        }
        let matches = command_line::parse_arguments(&mut command);
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
