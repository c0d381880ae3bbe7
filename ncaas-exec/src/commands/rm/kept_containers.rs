//! The containers that `rm` keeps, and the reports about them.

use std::cell::RefCell;

use ncaas_core::failure::{Failure, Kind};
use ncaas_core::pipe::Output;
use ncaas_core::quantity::format_count;
use ncaas_core::text::shell_line;
use ncaas_core::tool::Tool;

use super::unsaved::Unsaved;

/// At most this many containers are named in the command that discards them.
const NAMES_SHOWN: usize = 5;

#[derive(Default)]
pub(super) struct KeptContainers {
    /// Those with something that was not saved, which are reported together at the end.
    unsaved: RefCell<Vec<(String, Unsaved)>>,
    /// In a pipe, the kinds of unsaved data whose remedy was reported.
    explained: RefCell<Vec<Unsaved>>,
    /// The containers of jobs with an error, which are reported together at the end of a pipe.
    with_error: RefCell<Vec<String>>,
}

impl KeptContainers {
    /// Adds a container with something that was not saved.
    pub(super) fn add(&self, name: String, unsaved: Unsaved) {
        self.unsaved.borrow_mut().push((name, unsaved));
    }

    /// Reports such a container in a pipe, in which the next record may come in days. The first one of each kind is
    /// reported with its remedy.
    pub(super) fn report_at_once(&self, tool: Tool, output: &Output, unsaved: Unsaved, failure: Failure) {
        let mut explained = self.explained.borrow_mut();
        let hint = failure.hint.clone().filter(|_| !explained.contains(&unsaved));
        explained.push(unsaved);
        output.report_failure(tool, &Failure { hint, ..failure });
    }

    /// Adds the container of a job with an error.
    pub(super) fn add_with_error(&self, name: String) {
        self.with_error.borrow_mut().push(name);
    }

    /// Reports the containers that were added.
    pub(super) fn report(&self, tool: Tool, output: &Output) {
        self.report_unsaved(tool, output);
        match self.with_error.borrow().as_slice() {
            [] => {}
            [name] => tool.note(&format!("kept the container `{name}`: its job has an error")),
            [name, more @ ..] => tool.note(&format!(
                "kept the container `{name}` and {}: their jobs have an error",
                format_count(more.len() as u64, "more container")
            )),
        }
    }

    /// One container is reported with its remedy, several in a list.
    fn report_unsaved(&self, tool: Tool, output: &Output) {
        let mut kept = self.unsaved.take();
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let [(name, unsaved)] = kept.as_slice() {
            return output.report_failure(tool, &unsaved.failure(name));
        }
        if kept.is_empty() {
            return;
        }
        let list = kept.iter().map(|(name, unsaved)| format!("\n  {name}: {}", unsaved.describe()));
        let message =
            format!("kept {} containers, whose logs or files were not saved:{}", kept.len(), list.collect::<String>());
        let any = |what: fn(&Unsaved) -> bool| kept.iter().any(|(_, unsaved)| what(unsaved));
        let all = if any(|unsaved| unsaved.left_out) { " --all" } else { "" };
        let push = if any(|unsaved| unsaved.is_from_bucket) { " | ncaas-sync push" } else { "" };
        let names = kept.iter().map(|(name, _)| name.as_str()).take(NAMES_SHOWN);
        let force = shell_line(["ncaas-exec", "rm", "--force"].into_iter().chain(names));
        let more = if kept.len() > NAMES_SHOWN { " ..." } else { "" };
        let failure = Failure::new(Kind::ResultsMissing, message).hint(format!(
            "`ncaas-exec ls --all --mine | ncaas-logs save | ncaas-sync collect{all}{push} | ncaas-exec rm` saves them and \
             removes the containers; `{force}{more}` discards them"
        ));
        output.report_failure(tool, &failure);
    }
}
