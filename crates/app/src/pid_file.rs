//! The file that says which process is the server.
//!
//! Contract: it is locked while the process lives, so a second server on the same file is refused and a stale
//! one is recognised.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use observe::{Mutex, task};
use rustix::fs::{FlockOperation, flock};

/// The written file; dropping it removes it.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    _locked: File,
    stays: bool,
}

/// Why there is no pid file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// A live process holds it.
    #[error("another TinyIce is running with the pid file {0}; stop it or choose another with -pid-file")]
    Taken(PathBuf),
    /// It cannot be written, which is no reason not to serve.
    #[error("cannot write the pid file {0}: {1}")]
    Unwritable(PathBuf, io::Error),
}

impl PidFile {
    /// Writes the number of this process.
    pub(crate) fn write(path: &Path) -> Result<Self, PidFileError> {
        let unwritable = |error| PidFileError::Unwritable(path.to_owned(), error);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(unwritable)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(PidFileError::Taken(path.to_owned()));
        }
        file.set_len(0).map_err(unwritable)?;
        file.rewind().map_err(unwritable)?;
        write!(file, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self {
            path: path.to_owned(),
            _locked: file,
            stays: false,
        })
    }
}

impl PidFile {
    /// Leaves the file to a successor, which writes its own number into it.
    pub(crate) fn hand_over(mut self) {
        self.stays = true;
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        // A file that is gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Holds the file while the server runs. A successor takes it over once its predecessor lets go.
pub(crate) struct PidKeeper {
    file: Arc<Mutex<Option<PidFile>>>,
}

impl PidKeeper {
    /// Keeps `file`, or waits for the one at `awaited`.
    pub(crate) fn new(file: Option<PidFile>, awaited: Option<PathBuf>) -> Self {
        let keeper = Self {
            file: Arc::new(Mutex::new("pid-file", file)),
        };
        if let Some(path) = awaited {
            let file = Arc::downgrade(&keeper.file);
            task::spawn("pid-file", (), async move {
                while let Some(file) = file.upgrade() {
                    if let Ok(taken) = PidFile::write(&path) {
                        *file.lock() = Some(taken);
                        return;
                    }
                    drop(file);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            })
            .detach();
        }
        keeper
    }

    /// Leaves the file to a successor.
    pub(crate) fn hand_over(&mut self) {
        if let Some(file) = self.file.lock().take() {
            file.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_refused_and_a_stale_file_is_taken_over() {
        let folder = std::env::temp_dir().join(format!("tinyice-pid-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let path = folder.join("tinyice.pid");
        std::fs::write(&path, "99999999").expect("writable");
        let first = PidFile::write(&path).expect("stale files are taken over");
        assert_eq!(
            std::fs::read_to_string(&path).ok(),
            Some(std::process::id().to_string())
        );
        assert!(matches!(PidFile::write(&path), Err(PidFileError::Taken(_))));
        drop(first);
        assert!(!path.exists());
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
