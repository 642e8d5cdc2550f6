//! Files that the output of guests is copied to.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use fs_err::File;
use telemetry::Stream;

use super::sink::{Sink, lock};

/// The files of a folder, two for each component.
pub(super) struct LogFiles {
    folder: PathBuf,
    /// By their names.
    files: Mutex<BTreeMap<String, Arc<Sink>>>,
}

impl LogFiles {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, files: Mutex::default() }
    }

    /// The file for one stream of a component.
    pub(super) fn of(&self, component: &str, stream: Stream) -> Arc<Sink> {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        // As Spin names them; an id is a plain name.
        let name = format!("{component}_{stream}.txt");
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&name) {
            return Arc::clone(file);
        }
        let file = LogFile { path: self.folder.join(&name), file: None, said: false };
        let sink = Sink::new("guest-log-file", Box::new(file));
        files.insert(name, Arc::clone(&sink));
        sink
    }

    /// Waits until everything is written, at most until `deadline`; whether it is.
    pub(super) fn flush(&self, deadline: Instant) -> bool {
        lock(&self.files).values().all(|file| file.flush(deadline))
    }
}

/// A file that the first line for it makes.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// That it cannot be written has been said.
    said: bool,
}

impl LogFile {
    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(File::options().create(true).append(true).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.open().and_then(|file| file.write(bytes));
        if let Err(error) = &written
            && !std::mem::replace(&mut self.said, true)
        {
            tracing::error!(%error, "output of guests is not copied to {}", self.path.display());
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}
