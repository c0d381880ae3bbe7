//! The user's terminal: raw while a shell in a container uses it, and restored afterwards.
//!
//! A small guardian process restores the terminal if this process is killed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;

/// The controlling terminal, independent of stdin and stdout.
const TERMINAL: &str = "/dev/tty";

/// Saves the terminal's settings and prints a line; saves them again in raw mode; and waits for the end of stdin, which
/// comes when this process ends for any reason. If the terminal is still raw then, the first settings are restored. The
/// script ignores the terminal's signals, and TTOU, which the kernel sends to background processes that change
/// settings.
const GUARDIAN: &str = r#"
trap '' INT QUIT TERM HUP TTOU
exec 3</dev/tty
before=$(stty -g <&3) && echo ready && read -r _ || exit
raw=$(stty -g <&3)
read -r _
[ "$(stty -g <&3)" != "$raw" ] || stty "$before" <&3
"#;

/// The terminal in raw mode. Its settings are restored when this is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: AsyncFd<File>,
    before: Termios,
    /// `None` on a machine without a shell.
    guardian: Option<Child>,
}

impl Terminal {
    /// Opens the terminal and switches it to raw mode. Fails with [`Kind::Usage`] if there is no terminal.
    pub(crate) fn open_raw() -> Result<Self> {
        let path = Path::new(TERMINAL);
        // Opened again, because O_NONBLOCK on a shared descriptor would affect every process that uses it.
        let tty = File::options().read(true).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let tty = tty.map_err(|_| {
            Failure::new(Kind::Usage, "an interactive shell needs a terminal")
                .hint("`ncaas-exec in CONTAINER -- COMMAND` runs a command without a terminal")
        })?;
        let before = tcgetattr(&tty).map_err(io::Error::from).doing("read the settings of", path)?;
        #[expect(deprecated, reason = "unsound for descriptors that change; a file's does not, and the rest is unsafe")]
        let tty = AsyncFd::new(tty).doing("listen to", path)?;
        let guardian = start_guardian();
        let mut raw = before.clone();
        raw.make_raw();
        // From here on, dropping it restores the settings.
        let mut terminal = Terminal { tty, before, guardian };
        tcsetattr(terminal.tty.get_ref(), OptionalActions::Now, &raw).map_err(io::Error::from).doing("set up", path)?;
        if let Some(stdin) = terminal.guardian.as_mut().and_then(|guardian| guardian.stdin.as_mut()) {
            // Fails only if the guardian has ended.
            let _ = stdin.write_all(b"raw\n");
        }
        Ok(terminal)
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        tcgetwinsize(self.tty.get_ref()).ok().map(|size| (size.ws_row, size.ws_col))
    }

    /// Reads what the user types; 0 bytes if the terminal was closed.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.tty.readable().await?;
            if let Ok(read) = ready.try_io(|tty| tty.get_ref().read(buffer)) {
                return read;
            }
        }
    }

    /// Writes output.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.tty.writable().await?;
            if let Ok(written) = ready.try_io(|tty| tty.get_ref().write(bytes)) {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if the terminal was closed.
        let _ = tcsetattr(self.tty.get_ref(), OptionalActions::Drain, &self.before);
        if let Some(mut guardian) = self.guardian.take() {
            // Its stdin is closed first, which ends it.
            let _ = guardian.wait();
        }
    }
}

/// Starts the guardian and waits until it has saved the terminal's settings. Without a guardian the terminal stays raw
/// if this process is killed.
fn start_guardian() -> Option<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARDIAN]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let ready = child.stdout.take().and_then(|mut stdout| stdout.read(&mut [0; 8]).ok()).unwrap_or_default();
    if ready == 0 {
        let _ = child.wait();
        return None;
    }
    Some(child)
}
