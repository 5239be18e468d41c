//! Saving the file: whole or not at all, one writer at a time, nothing of others lost.
//!
//! Contract: at any moment the path holds a complete old or a complete new file. Keys of other
//! versions and edits made meanwhile by others survive a save.
//!
//! The new content goes to `<path>.tmp`, is synced, and is renamed over the path. The temporary file is
//! locked meanwhile, so that the server and `tinyice set` do not write at the same time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::{Map, Value, ser::PrettyFormatter};

use crate::{json, load::Document, patch, record::Record, settings::Config};

/// How long one previous generation is kept before the next one replaces it.
const BACKUP_EVERY: Duration = Duration::from_secs(3600);

/// The file as a place to save to. One owner saves; between processes a lock decides.
#[derive(Debug)]
pub struct Store {
    document: Document,
    rename: fn(&Path, &Path) -> io::Result<()>,
}

/// What a save did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Saved {
    /// Whether the file was written; a configuration without changes is not.
    pub written: bool,
    /// Keys that somebody else changed on disk and that were kept; a reload makes them count.
    pub merged: Vec<String>,
    /// A copy of the file on disk, when the same keys had been changed there and here. Worth an error line.
    pub conflict: Option<PathBuf>,
    /// The file could not be replaced and was written in place; see the copy `<path>.bak`.
    pub in_place: bool,
}

/// Why a save failed. The old file is untouched unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; {}", path.display(), self.advice())]
pub struct SaveError {
    /// The file that could not be written.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl SaveError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the server's user write the directory; in a container mount the directory, not the file"
            }
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only; mount the directory writable",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on the disk; the old file is untouched"
            }
            io::ErrorKind::NotFound => "create the directory",
            io::ErrorKind::AlreadyExists => "it exists already; load it instead",
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                "mount the directory, not the file"
            }
            _ => "check the disk",
        }
    }
}

impl Store {
    /// Saves go to where the document came from.
    #[must_use]
    pub fn new(document: Document) -> Self {
        Self {
            document,
            rename: |from, to| fs::rename(from, to),
        }
    }

    /// Takes a newly read document, after a reload.
    pub fn replace(&mut self, document: Document) {
        self.document = document;
    }

    /// The document as of the last load or save.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Writes what differs from the last load or save. Give it the file's configuration, never one
    /// with flags applied ([`Config::with`]).
    ///
    /// # Errors
    /// [`SaveError`]; nothing is changed here or on disk, and the caller keeps its old configuration.
    pub fn save(&mut self, config: &Config) -> Result<Saved, SaveError> {
        let new = config.write_fields(false);
        if new == self.document.base && self.document.seen.is_some() {
            return Ok(Saved::default());
        }
        let target = target(&self.document.path);
        let failed = |source| SaveError {
            path: target.clone(),
            source,
        };
        let mut tree = self.document.tree.clone();
        patch::patch(&mut tree, &self.document.base, &new);

        let mut temporary = Temporary::open(&target).map_err(failed)?;
        let mut saved = Saved {
            written: true,
            ..Saved::default()
        };
        let disk = read_if_any(&target).map_err(failed)?;
        if let Some(disk) = &disk
            && self.document.seen.as_ref() != Some(disk)
        {
            let merge = merge(&self.document.tree, tree, disk);
            tree = merge.tree;
            saved.merged = merge.merged;
            if merge.conflict {
                saved.conflict = Some(keep_conflict(&target, disk).map_err(failed)?);
            }
        }
        let bytes = to_bytes(&tree);
        if let Some(disk) = &disk {
            self.keep_generation(&target, disk).map_err(failed)?;
        }
        temporary.fill(&bytes, &target).map_err(failed)?;
        if let Err(source) = temporary.replace(&target, self.rename) {
            if !matches!(
                source.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
            ) {
                return Err(failed(source));
            }
            // A single file mounted into a container cannot be replaced, only written.
            write_in_place(&target, &bytes, disk.as_deref()).map_err(failed)?;
            temporary.remove();
            saved.in_place = true;
        }
        self.document.tree = tree;
        self.document.base = new;
        self.document.seen = Some(bytes);
        self.document.migrated = false;
        Ok(saved)
    }

    /// The copies of what is about to be replaced: hourly, and once before a migration.
    fn keep_generation(&self, target: &Path, disk: &[u8]) -> io::Result<()> {
        if self.document.migrated {
            let before = beside(target, &format!("pre-{}", env!("CARGO_PKG_VERSION")));
            if !before.exists() {
                write_private(&before, disk)?;
            }
        }
        let backup = beside(target, "bak");
        let age = fs::metadata(&backup)
            .and_then(|meta| meta.modified())
            .map(|at| SystemTime::now().duration_since(at));
        match age {
            // A clock that went back makes the copy look new; it is then replaced an hour later.
            Ok(Ok(age)) if age < BACKUP_EVERY => Ok(()),
            Ok(Err(_)) => Ok(()),
            _ => write_private(&backup, disk),
        }
    }
}

/// Creates a file that must not exist yet, whole or not at all, mode 0600.
///
/// # Errors
/// [`SaveError`], also when the path exists.
pub fn create(path: impl Into<PathBuf>, tree: &Value) -> Result<(), SaveError> {
    let path = path.into();
    let failed = |source| SaveError {
        path: path.clone(),
        source,
    };
    let empty = Map::new();
    let bytes = to_bytes(tree.as_object().unwrap_or(&empty));
    let mut temporary = Temporary::open(&path).map_err(failed)?;
    if fs::symlink_metadata(&path).is_ok() {
        temporary.remove();
        return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    temporary.fill(&bytes, &path).map_err(failed)?;
    temporary
        .replace(&path, |from, to| fs::rename(from, to))
        .map_err(failed)
}

/// A tree as the file holds it: 4 spaces of indent, one newline at the end.
#[must_use]
pub fn to_text(tree: &Value) -> String {
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    tree.serialize(&mut writer)
        .expect("a tree of values always has a text");
    out.push(b'\n');
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn to_bytes(tree: &Map<String, Value>) -> Vec<u8> {
    to_text(&Value::Object(tree.clone())).into_bytes()
}

/// Behind a symlink the file is replaced, not the link.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match fs::read_link(path) {
        Ok(link) => path.parent().unwrap_or(Path::new("")).join(link),
        Err(_) => path.to_owned(),
    })
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn read_if_any(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The locked `<path>.tmp`. Left behind by a crash it is simply used again; on an error it is removed.
struct Temporary {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Temporary {
    fn open(target: &Path) -> io::Result<Self> {
        let path = beside(target, "tmp");
        if fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            fs::remove_file(&path)?;
        }
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&path)?;
            // Some network file systems have no locks; there only one process may save.
            let _ = file.lock();
            // Whoever held the lock before has renamed the file away; then the name is another file.
            if same_file(&file, &path) {
                return Ok(Self {
                    path,
                    file,
                    done: false,
                });
            }
        }
    }

    /// Writes the content with the owner and mode of the file to be replaced, and syncs it.
    fn fill(&mut self, bytes: &[u8], target: &Path) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        copy_owner_and_mode(&self.file, target)?;
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    fn replace(&mut self, target: &Path, rename: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
        rename(&self.path, target)?;
        self.done = true;
        // Without this a power loss may bring the old name back. Not every file system can do it.
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
            let _ = directory.sync_all();
        }
        Ok(())
    }

    fn remove(&mut self) {
        self.done = true;
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            self.remove();
        }
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(unix)]
fn copy_owner_and_mode(file: &File, target: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let mut mode = 0o600;
    if let (Ok(old), Ok(new)) = (fs::metadata(target), file.metadata()) {
        mode = old.mode() & 0o777;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Only root may give files away; the group alone can often be kept.
            let _ = fchown(file, Some(old.uid()), Some(old.gid()))
                .or_else(|_| fchown(file, None, Some(old.gid())));
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn copy_owner_and_mode(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// A copy beside the file, mode 0600, itself whole or absent.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = beside(path, "part");
    let _ = fs::remove_file(&part);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, path)).inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

fn write_in_place(target: &Path, bytes: &[u8], old: Option<&[u8]>) -> io::Result<()> {
    if let Some(old) = old {
        write_private(&beside(target, "bak"), old)?;
    }
    let mut file = OpenOptions::new().write(true).truncate(true).open(target)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn keep_conflict(target: &Path, disk: &[u8]) -> io::Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let mut path = beside(target, &format!("conflict-{time}"));
    let mut count = 2;
    while path.exists() {
        path = beside(target, &format!("conflict-{time}-{count}"));
        count += 1;
    }
    write_private(&path, disk)?;
    Ok(path)
}

struct Merge {
    tree: Map<String, Value>,
    merged: Vec<String>,
    conflict: bool,
}

/// Three trees to one: what only one side changed is taken from it, what both changed is taken from us.
fn merge(base: &Map<String, Value>, ours: Map<String, Value>, disk: &[u8]) -> Merge {
    let text = String::from_utf8_lossy(disk.strip_prefix(b"\xef\xbb\xbf").unwrap_or(disk));
    let theirs = json::parse(&text).ok().map(|parsed| parsed.root.to_value());
    let Some(Value::Object(mut theirs)) = theirs else {
        return Merge {
            tree: ours,
            merged: Vec::new(),
            conflict: true,
        };
    };
    patch::quote_ports(&mut theirs);
    let mut tree = ours.clone();
    let mut merged = Vec::new();
    let mut conflict = false;
    let gone = base.keys().filter(|key| !theirs.contains_key(*key));
    for key in theirs.keys().chain(gone) {
        let (before, our, their) = (base.get(key), ours.get(key), theirs.get(key));
        if their == before || their == our {
            continue;
        }
        if our != before {
            conflict = true;
            continue;
        }
        merged.push(key.clone());
        match their {
            Some(their) => {
                tree.insert(key.clone(), their.clone());
            }
            None => {
                tree.shift_remove(key);
            }
        }
    }
    Merge {
        tree,
        merged,
        conflict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Loaded;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tinyice-store-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn opened(path: &Path) -> (Config, Store) {
        let loaded = Loaded::read(path).unwrap();
        (loaded.config, Store::new(loaded.document))
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place_with_a_copy() {
        let folder = Folder::new("in-place");
        let path = folder.0.join("tinyice.json");
        fs::write(&path, r#"{"port":"8000","mine":1}"#).unwrap();
        let (mut config, mut store) = opened(&path);
        store.rename = |_, _| Err(io::Error::from(io::ErrorKind::ResourceBusy));
        config.port = 9000;
        assert!(store.save(&config).unwrap().in_place);
        assert_eq!(Loaded::read(&path).unwrap().config.port, 9000);
        assert!(fs::read_to_string(&path).unwrap().contains("\"mine\": 1"));
        assert_eq!(
            fs::read_to_string(beside(&path, "bak")).unwrap(),
            r#"{"port":"8000","mine":1}"#
        );
        assert!(!beside(&path, "tmp").exists());
    }

    #[test]
    fn a_rename_that_fails_leaves_the_old_file_and_the_old_state() {
        let folder = Folder::new("full");
        let path = folder.0.join("tinyice.json");
        fs::write(&path, "{}").unwrap();
        let (mut config, mut store) = opened(&path);
        config.port = 9000;
        store.rename = |_, _| Err(io::Error::from(io::ErrorKind::StorageFull));
        let error = store.save(&config).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("free space on the disk; the old file is untouched"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert!(!beside(&path, "tmp").exists());
        store.rename = |from, to| fs::rename(from, to);
        assert!(
            store.save(&config).unwrap().written,
            "the change is still to be written"
        );
        assert_eq!(Loaded::read(&path).unwrap().config.port, 9000);
    }

    /// What a process killed at any moment leaves behind: the path is only ever touched by the rename,
    /// at which the temporary file is complete.
    #[test]
    fn the_path_changes_only_by_the_rename_of_a_complete_file() {
        let folder = Folder::new("atomic");
        let path = folder.0.join("tinyice.json");
        fs::write(&path, "{}").unwrap();
        // A crash left half a file here.
        fs::write(beside(&path, "tmp"), "{\"port\": \"70").unwrap();
        let (mut config, mut store) = opened(&path);
        config.port = 9000;
        store.rename = |from, to| {
            assert_eq!(fs::read_to_string(to)?, "{}");
            assert_eq!(Loaded::read(from).unwrap().config.port, 9000);
            fs::rename(from, to)
        };
        assert!(store.save(&config).unwrap().written);
    }

    #[test]
    fn trees_merge_by_top_level_key() {
        let tree = |text: &str| match serde_json::from_str(text).unwrap() {
            Value::Object(map) => map,
            other => panic!("{other}"),
        };
        for (base, ours, disk, expected, merged, conflict) in [
            (
                r#"{"a":1,"b":1}"#,
                r#"{"a":2,"b":1}"#,
                r#"{"a":1,"b":3}"#,
                r#"{"a":2,"b":3}"#,
                &["b"][..],
                false,
            ),
            (r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"a":2}"#, &[], true),
            (r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#, r#"{"a":2}"#, &[], false),
            (
                r#"{"a":1,"b":1}"#,
                r#"{"a":2,"b":1}"#,
                r#"{"a":1}"#,
                r#"{"a":2}"#,
                &["b"],
                false,
            ),
            (
                r#"{"a":1}"#,
                r#"{"a":2}"#,
                r#"{"a":1,"c":1}"#,
                r#"{"a":2,"c":1}"#,
                &["c"],
                false,
            ),
            (r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":"#, r#"{"a":2}"#, &[], true),
        ] {
            let merge = merge(&tree(base), tree(ours), disk.as_bytes());
            assert_eq!(merge.tree, tree(expected), "{disk}");
            assert_eq!(
                (merge.merged, merge.conflict),
                (merged.iter().map(ToString::to_string).collect(), conflict)
            );
        }
    }
}
