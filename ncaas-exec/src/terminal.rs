//! The terminal that the user sits at: raw while a shell in a container has it, and as it was afterwards, however this
//! process ends. One that is killed cannot see to that itself: a small process beside it does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;

/// The terminal of the session that a process belongs to, whatever its stdin and stdout are.
const TERMINAL: &str = "/dev/tty";

/// Notes how the terminal is, says so, notes how it is when it is raw, and waits for the end of its stdin, which comes
/// with our own, whatever that is. A terminal that is still raw is then made as it was; one that is not has somebody
/// else who sees to it. Its own signals it outlives: the terminal's, and the one that stops who sets up a terminal from
/// the background.
const GUARDIAN: &str = r#"
trap '' INT QUIT TERM HUP TTOU
exec 3</dev/tty
before=$(stty -g <&3) && echo noted && read -r _ || exit
raw=$(stty -g <&3)
read -r _
[ "$(stty -g <&3)" != "$raw" ] || stty "$before" <&3
"#;

/// The terminal in raw mode. Dropped, it is as it was before.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: AsyncFd<File>,
    before: Termios,
    /// None on a machine without a shell.
    guardian: Option<Child>,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// [`Kind::Usage`] where the process has none.
    pub(crate) fn take() -> Result<Self> {
        let path = Path::new(TERMINAL);
        // It is opened anew so that not waiting for it is a matter of ours, and not of everybody who has it open.
        let tty = File::options().read(true).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let tty = tty.map_err(|_| {
            Failure::new(Kind::Usage, "a shell needs a terminal, and there is none")
                .hint("for a command without one there is `ncaas-exec in CONTAINER -- COMMAND`")
        })?;
        let before = tcgetattr(&tty).map_err(io::Error::from).doing("read the settings of", path)?;
        #[expect(deprecated, reason = "unsound for descriptors that change; a file's does not, and the rest is unsafe")]
        let tty = AsyncFd::new(tty).doing("listen to", path)?;
        let guardian = guardian();
        let mut raw = before.clone();
        raw.make_raw();
        // From here on it is to be restored.
        let mut terminal = Terminal { tty, before, guardian };
        tcsetattr(terminal.tty.get_ref(), OptionalActions::Now, &raw).map_err(io::Error::from).doing("set up", path)?;
        if let Some(stdin) = terminal.guardian.as_mut().and_then(|guardian| guardian.stdin.as_mut()) {
            // A guardian that has gone guards nothing.
            let _ = stdin.write_all(b"raw\n");
        }
        Ok(terminal)
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        tcgetwinsize(self.tty.get_ref()).ok().map(|size| (size.ws_row, size.ws_col))
    }

    /// What has been typed; nothing when the terminal has gone.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.tty.readable().await?;
            if let Ok(read) = ready.try_io(|tty| tty.get_ref().read(buffer)) {
                return read;
            }
        }
    }

    /// Shows output.
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
        // A terminal that has gone needs no settings.
        let _ = tcsetattr(self.tty.get_ref(), OptionalActions::Drain, &self.before);
        if let Some(mut guardian) = self.guardian.take() {
            // The end of its stdin comes first, and ends it.
            let _ = guardian.wait();
        }
    }
}

/// Starts the process that outlives ours, and lets it note how the terminal is. Without one, the terminal of a shell
/// that is killed stays raw, and all else is as it should be.
fn guardian() -> Option<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARDIAN]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let noted = child.stdout.take().and_then(|mut stdout| stdout.read(&mut [0; 8]).ok()).unwrap_or_default();
    if noted == 0 {
        let _ = child.wait();
        return None;
    }
    Some(child)
}
