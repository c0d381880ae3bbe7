//! The terminal that the user sits at: raw while a shell in a container has it, and as it was afterwards.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;

/// The terminal of the session that a process belongs to, whatever its stdin and stdout are.
const TERMINAL: &str = "/dev/tty";

/// The terminal in raw mode. Dropped, it is as it was before.
#[derive(Debug)]
pub(crate) struct Terminal {
    tty: AsyncFd<File>,
    before: Termios,
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
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(tty.get_ref(), OptionalActions::Now, &raw).map_err(io::Error::from).doing("set up", path)?;
        Ok(Terminal { tty, before })
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
    }
}
