//! Listening on Unix sockets, for a proxy on the same machine.
//!
//! Contract: a socket file is taken over only when nobody listens on it any more, and removed only by the one who
//! answers for it and only while it is still the same file. A file that is no socket is never touched.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::sockets::{BACKLOG, BindError, Held};

/// For the server's user and group: a proxy is made a member of the group.
const MODE: u32 = 0o660;

/// A socket that listens, and its file if that is ours.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    pub(crate) listener: UnixListener,
    pub(crate) file: Option<Arc<SocketFile>>,
}

impl UnixSocket {
    /// Opens a socket, replacing a file that a former process left behind.
    pub(crate) fn open(path: &Path) -> Result<Self, BindError> {
        let failed = |error| BindError::Failed {
            address: shown(path),
            error,
        };
        match listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            opened => return opened.map_err(failed),
        }
        match abandoned(path).map_err(failed)? {
            Some(file) => file.remove(path).map_err(failed)?,
            None => return Err(BindError::SocketInUse(path.to_owned())),
        }
        listen(path).map_err(failed)
    }

    /// One that is open already, once more. Nothing when it is no longer found at its path.
    pub(crate) fn again(path: &Path, held: &Held<'_>) -> Option<Self> {
        let is_it = |socket: &&UnixListener| {
            let address = socket.local_addr();
            address.is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let socket = held.unix.iter().find(is_it)?;
        let file = held.files.find(path);
        let found = fs::symlink_metadata(path).ok()?;
        let is_there = file.as_ref().map_or_else(
            || found.file_type().is_socket(),
            |file| file.id == FileId::of(&found),
        );
        let listener = socket.try_clone().ok().filter(|_| is_there)?;
        Some(Self { listener, file })
    }

    /// Takes over a socket that listens already. `owned` says whether its file is removed at the end.
    pub(crate) fn adopt(listener: UnixListener, owned: bool) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let file = match address.as_pathname() {
            Some(path) if owned => Some(Arc::new(SocketFile::of(path)?)),
            _ => None,
        };
        Ok(Self { listener, file })
    }

    /// As in the configuration: `unix:/path`.
    pub(crate) fn address(&self) -> String {
        let path = self.listener.local_addr().ok();
        shown(
            path.as_ref()
                .and_then(|path| path.as_pathname())
                .unwrap_or(Path::new("")),
        )
    }
}

fn shown(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn listen(path: &Path) -> io::Result<UnixSocket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // Nobody can connect before `listen`, so nobody gets in by the mode that the file has until now.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixSocket {
        listener: socket.into(),
        file: Some(Arc::new(file)),
    })
}

/// The file at the path, if it is a socket on which nobody listens.
fn abandoned(path: &Path) -> io::Result<Option<FileId>> {
    let found = fs::symlink_metadata(path)?;
    if !found.file_type().is_socket() {
        let what = "there is a file that is not a socket; remove it or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose backlog is full would make a blocking call wait.
    caller.set_nonblocking(true)?;
    match caller.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Some(FileId::of(&found))),
        _ => Ok(None),
    }
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(file: &fs::Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
        }
    }

    /// Removes the file, unless another has its name by now.
    fn remove(self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(found) if Self::of(&found) == self => fs::remove_file(path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A socket's file, removed when nobody here listens any more.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: FileId,
    is_left: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: FileId::of(&fs::symlink_metadata(path)?),
            is_left: AtomicBool::new(false),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_left.load(Ordering::Relaxed) {
            // What stays behind is taken over by the next start.
            let _ = self.id.remove(&self.path);
        }
    }
}

/// The files of the Unix sockets of a [`crate::Listening`].
#[derive(Debug, Clone, Default)]
pub struct SocketFiles(Vec<Weak<SocketFile>>);

impl SocketFiles {
    pub(crate) fn of(sockets: &[UnixSocket]) -> Self {
        let files = sockets.iter().filter_map(|socket| socket.file.as_ref());
        Self(files.map(Arc::downgrade).collect())
    }

    fn find(&self, path: &Path) -> Option<Arc<SocketFile>> {
        self.0
            .iter()
            .filter_map(Weak::upgrade)
            .find(|file| file.path == path)
    }

    /// Leaves the files to a successor that listens on the same sockets.
    pub fn leave(&self) {
        for file in self.0.iter().filter_map(Weak::upgrade) {
            file.is_left.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A folder of its own for each test, gone at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("front-unix-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("http.sock")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_is_for_user_and_group_and_goes_with_the_socket() {
        let folder = Folder::new("mode");
        let path = folder.socket();
        let socket = UnixSocket::open(&path).expect("a new socket");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(socket.address(), format!("unix:{}", path.display()));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_in_use_is_an_error_and_stays() {
        let folder = Folder::new("busy");
        let path = folder.socket();
        let first = UnixSocket::open(&path).expect("a new socket");
        let error = UnixSocket::open(&path).expect_err("it is taken");
        assert!(
            matches!(&error, BindError::SocketInUse(taken) if *taken == path),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .starts_with(&format!("unix:{} is already in use", path.display())),
            "{error}"
        );
        UnixStream::connect(&path).expect("the first one still listens");
        drop(first);
    }

    #[test]
    fn a_file_that_was_left_behind_is_replaced() {
        let folder = Folder::new("stale");
        let path = folder.socket();
        // As a killed process leaves it.
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists());
        let _socket = UnixSocket::open(&path).expect("nobody listens there");
        UnixStream::connect(&path).expect("we do");
    }

    #[test]
    fn other_files_are_not_touched() {
        let folder = Folder::new("other");
        let path = folder.socket();
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(UnixSocket::open(&path), Err(BindError::Failed { .. })));
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        // Neither is a file that took the place of the socket.
        fs::remove_file(&path).expect("ours");
        let socket = UnixSocket::open(&path).expect("a new socket");
        fs::remove_file(&path).expect("somebody else");
        fs::write(&path, "precious").expect("somebody else");
        drop(socket);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_that_names_the_path() {
        let error = UnixSocket::open(Path::new("/nonexistent/http.sock")).expect_err("no such folder");
        assert!(
            matches!(&error, BindError::Failed { address, .. } if address == "unix:/nonexistent/http.sock"),
            "{error}"
        );
    }

    #[test]
    fn a_successor_inherits_the_file() {
        let folder = Folder::new("successor");
        let path = folder.socket();
        let old = UnixSocket::open(&path).expect("a new socket");
        let files = SocketFiles::of(std::slice::from_ref(&old));
        let inherited = old.listener.try_clone().expect("a descriptor");
        let new = UnixSocket::adopt(inherited, true).expect("a socket");
        files.leave();
        drop(old);
        UnixStream::connect(&path).expect("the successor listens");
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_is_kept_while_it_is_found_at_its_path() {
        let folder = Folder::new("again");
        let path = folder.socket();
        let old = UnixSocket::open(&path).expect("a new socket");
        let files = SocketFiles::of(std::slice::from_ref(&old));
        let unix = [old.listener.try_clone().expect("a descriptor")];
        let held = Held {
            tcp: &[],
            unix: &unix,
            files: &files,
        };
        assert!(UnixSocket::again(&folder.0.join("other.sock"), &held).is_none());
        let new = UnixSocket::again(&path, &held).expect("the same socket");
        drop(old);
        assert!(path.exists(), "the file is the new one's too");
        UnixStream::connect(&path).expect("it listens");
        // Somebody removed the file: whoever connects to the path finds nothing, so a new socket is needed.
        fs::remove_file(&path).expect("a file");
        assert!(UnixSocket::again(&path, &held).is_none());
        drop(UnixListener::bind(&path).expect("another socket"));
        assert!(UnixSocket::again(&path, &held).is_none());
        drop(new);
        assert!(path.exists(), "it is another file now");
    }

    #[test]
    fn the_file_of_a_service_manager_stays() {
        let folder = Folder::new("manager");
        let path = folder.socket();
        let managed = UnixListener::bind(&path).expect("a socket");
        let adopted = UnixSocket::adopt(managed.try_clone().expect("a descriptor"), false).expect("a socket");
        drop(adopted);
        assert!(path.exists());
    }
}
