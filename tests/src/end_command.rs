//! A command that runs when a test ends, even if the test or its runner is killed.

use std::ffi::OsStr;
use std::io::PipeWriter;
use std::os::unix::process::parent_id;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

/// Waits until its stdin ends, and becomes the command. `setsid` keeps `^C` and a signal to the test's process group
/// from it.
const WAIT_FOR_END: [&str; 4] = ["bash", "-c", r#"cat; exec "$@""#, "end-command"];

/// A command that runs when this is dropped, or when the process of the test ends.
#[derive(Debug)]
pub struct EndCommand {
    process: Child,
    words: String,
    /// Its other end is the command's stdin. The kernel closes it at the end of the test's process.
    lifeline: Option<PipeWriter>,
}

impl EndCommand {
    /// Prepares a command and its arguments. Its output is discarded.
    ///
    /// # Panics
    /// When there is no `setsid`.
    pub fn new(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        end_with_runner();
        let (stdin, lifeline) = std::io::pipe().unwrap();
        let mut command = Command::new("setsid");
        command.args(WAIT_FOR_END).args(words).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
        EndCommand { process: command.spawn().unwrap(), words: format!("{command:?}"), lifeline: Some(lifeline) }
    }
}

impl Drop for EndCommand {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let status = self.process.wait();
        // A test that fails shows its own cause.
        assert!(std::thread::panicking() || status.is_ok_and(|status| status.success()), "{} fails", self.words);
    }
}

/// Ends this process when the process that started it has ended: a killed runner leaves its tests behind.
#[expect(clippy::exit, reason = "nobody waits for the result of this test any more")]
fn end_with_runner() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let runner = parent_id();
        std::thread::spawn(move || {
            while parent_id() == runner {
                std::thread::sleep(Duration::from_millis(200));
            }
            std::process::exit(1);
        });
    });
}
