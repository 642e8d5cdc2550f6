//! Opening a task's standard streams as containerd names them.

mod logger;
mod terminal;

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::error::Error;
use logger::Logger;

pub use terminal::Terminal;

/// How long what nobody has read is kept after the container was deleted, unless the
/// shim ends before. Nobody waits meanwhile: a client of containerd has read everything
/// when it deletes a task, but it deletes an executed process before it looks at its
/// own end of the fifo.
const UNREAD: Duration = Duration::from_secs(2);

/// How often a late reader is looked for at first, and at most how seldom later.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Where a task's standard streams go, as containerd sent it.
///
/// Each is empty (no stream), a path or `fifo://PATH` (a fifo that containerd
/// reads or writes, or an existing file), `file://PATH` (appended to, created
/// with its folders), or for the output `binary://PROGRAM?ARGUMENTS` (a logger
/// that gets both outputs).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StdioPaths {
    /// Container id, told to a logger.
    pub id: String,
    /// containerd namespace, told to a logger.
    pub namespace: String,
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Open standard streams, ready to be given to a process.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// The same streams once more.
    ///
    /// # Errors
    /// Fails when the process has no descriptors left.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self {
            stdin: self.stdin.try_clone()?,
            stdout: self.stdout.try_clone()?,
            stderr: self.stderr.try_clone()?,
        })
    }
}

/// What the shim keeps open while the container lives.
///
/// A fifo's other end is held too: a reader that vanishes (containerd restarts)
/// then neither breaks the pipe under the container nor loses what is in it, and
/// a writer of the input that comes late is not taken for the end of input.
#[derive(Debug)]
pub struct StdioHold {
    input: Mutex<Option<OwnedFd>>,
    outputs: Mutex<Outputs>,
    logger: Option<Logger>,
}

#[derive(Debug, Default)]
struct Outputs {
    /// Of a process that runs.
    held: Vec<HeldOutput>,
    /// Of one that has ended, until a reader has come.
    ended: Vec<AbortOnDropHandle<()>>,
}

/// The reading end of an output's fifo.
#[derive(Debug)]
struct HeldOutput {
    reader: OwnedFd,
    path: PathBuf,
}

impl HeldOutput {
    /// Lets go of the fifo once it has another reader, however late that is: one that
    /// opened it after the last writer had gone would wait for a writer for ever, and
    /// what was written would be lost.
    async fn release(self) {
        let Ok(_writer) = writing_end(&self.path) else { return };
        drop(self.reader);
        let mut pause = FIRST_LOOK;
        while writing_end(&self.path).err() == Some(Errno::NXIO) {
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LAST_LOOK);
        }
    }
}

impl StdioPaths {
    /// Opens all three streams. No open waits for a peer; a logger is given ten
    /// seconds to become ready.
    ///
    /// # Errors
    /// Names the stream and its path.
    pub async fn open(&self) -> Result<(Stdio, StdioHold), Error> {
        let stdin = open_input(&Target::parse("stdin", &self.stdin)?)?;
        let mut outputs = Vec::new();
        let (stdout, stderr, logger) = match Target::parse("stdout", &self.stdout)? {
            Target::Logger { program, arguments } => {
                let (logger, stdout, stderr) =
                    Logger::start(&program, &arguments, &self.id, &self.namespace).await?;
                (stdout, stderr, Some(logger))
            }
            target => {
                let stdout = open_output(&target, &mut outputs)?;
                let stderr = open_output(&Target::parse("stderr", &self.stderr)?, &mut outputs)?;
                (stdout, stderr, None)
            }
        };
        let hold = StdioHold {
            input: Mutex::new(stdin.1),
            outputs: Mutex::new(Outputs { held: outputs, ended: Vec::new() }),
            logger,
        };
        Ok((Stdio { stdin: stdin.0, stdout, stderr }, hold))
    }
}

impl StdioHold {
    /// Lets the container see the end of its input once every other writer has
    /// closed it too.
    pub fn close_input(&self) {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// To be called when the process has ended: whoever reads its outputs, now or later,
    /// gets what was written and then sees the end. Until then each fifo is held open.
    ///
    /// Must be called on a tokio runtime; returns at once.
    pub fn end_outputs(&self) {
        let mut outputs = self.outputs();
        let held = std::mem::take(&mut outputs.held).into_iter();
        outputs
            .ended
            .extend(held.map(|output| AbortOnDropHandle::new(tokio::spawn(output.release()))));
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of everything after the container has ended, and waits for no reader:
    /// one that has its end of a fifo keeps what is in it, and where there is none the
    /// shim keeps it in the background for two seconds more. A logger is given time
    /// to write what it has, then ended.
    ///
    /// Must be called on a tokio runtime.
    pub async fn close(&self) {
        self.close_input();
        self.end_outputs();
        for unread in std::mem::take(&mut self.outputs().ended) {
            tokio::spawn(timeout(UNREAD, unread));
        }
        if let Some(logger) = &self.logger {
            logger.finish().await;
        }
    }
}

/// One parsed stream name.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    None,
    Fifo(PathBuf),
    File(PathBuf),
    Logger { program: PathBuf, arguments: Vec<String> },
}

impl Target {
    fn parse(stream: &str, name: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(if name.is_empty() { Self::None } else { Self::Fifo(name.into()) });
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(percent_decoded(path));
        if !path.is_absolute() {
            return Err(Error::InvalidArgument(format!("{stream} {name:?} has no absolute path")));
        }
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" if stream == "stdout" => {
                Ok(Self::Logger { program: path, arguments: query_arguments(query) })
            }
            _ => Err(Error::InvalidArgument(format!(
                "{stream} {name:?} is not supported, use a fifo, file:// or for the output binary://"
            ))),
        }
    }
}

/// The arguments of a logger: each key and, if there is one, its value.
fn query_arguments(query: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.push(percent_decoded(&key.replace('+', " ")));
        if !value.is_empty() {
            arguments.push(percent_decoded(&value.replace('+', " ")));
        }
    }
    arguments
}

/// `text` with `%XX` replaced by the byte; anything else stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| tail.split_at_checked(2)).flatten().and_then(
            |(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            },
        );
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The container's end of the input and the end to hold.
fn open_input(target: &Target) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    let opened = match target {
        Target::None | Target::Logger { .. } => return Ok((null()?, None)),
        Target::Fifo(path) if is_fifo(path) => both_ends(path).and_then(|hold| {
            let end = OpenOptions::new().read(true).open(path)?;
            Ok((end.into_parts().0.into(), Some(hold)))
        }),
        Target::Fifo(path) | Target::File(path) => {
            OpenOptions::new().read(true).open(path).map(|file| (file.into_parts().0.into(), None))
        }
    };
    opened.map_err(|error| Error::failed("cannot open stdin", &error))
}

/// The container's end of an output; the end to hold goes to `held`.
fn open_output(target: &Target, held: &mut Vec<HeldOutput>) -> Result<OwnedFd, Error> {
    let opened = match target {
        Target::None | Target::Logger { .. } => return null(),
        Target::Fifo(path) if is_fifo(path) => reading_end(path).and_then(|reader| {
            let end = OpenOptions::new().write(true).open(path)?;
            held.push(HeldOutput { reader, path: path.clone() });
            Ok(end)
        }),
        Target::Fifo(path) => OpenOptions::new().append(true).open(path),
        Target::File(path) => path
            .parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| OpenOptions::new().append(true).create(true).open(path)),
    };
    opened
        .map(|file| file.into_parts().0.into())
        .map_err(|error| Error::failed("cannot open an output stream", &error))
}

fn is_fifo(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Both ends of a fifo in one descriptor, which never waits.
fn both_ends(path: &Path) -> std::io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(non_blocking());
    Ok(options.open(path)?.into_parts().0.into())
}

/// The reading end of a fifo, which never waits. Not the writing end too: the
/// reader at the other side must see the end once the container has ended.
fn reading_end(path: &Path) -> std::io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(non_blocking());
    Ok(options.open(path)?.into_parts().0.into())
}

/// The writing end of a fifo, which never waits; `NXIO` if it has no reader.
fn writing_end(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn non_blocking() -> i32 {
    OFlags::NONBLOCK.bits() as i32
}

fn null() -> Result<OwnedFd, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(|file| file.into_parts().0.into())
        .map_err(|error| Error::failed("cannot open a null stream", &error))
}

#[cfg(test)]
mod tests;
