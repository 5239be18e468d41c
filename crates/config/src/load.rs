//! Reading the file: text to tree to typed configuration, with every problem and its place.
//!
//! Contract: a file without errors gives a complete configuration; whatever cannot be used is named in
//! a warning and stays in the document for the next save.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path as FsPath, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    checks, json, migrations, patch,
    problem::{LoadError, Notes, Path, Problem},
    record::Record,
    settings::Config,
};

/// Larger files are not configurations.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A file that was read: its meaning, its warnings and the tree that saves work on.
#[derive(Debug)]
pub struct Loaded {
    /// What the file means.
    pub config: Config,
    /// What is odd about it, in file order.
    pub warnings: Vec<Problem>,
    /// What the file holds.
    pub document: Document,
}

/// The tree of a file as it was read, kept so that a save changes only what changed.
#[derive(Clone)]
pub struct Document {
    pub(crate) path: PathBuf,
    /// The file's tree, keys of other versions included.
    pub(crate) tree: Map<String, Value>,
    /// What the tree means in our terms; a save writes the difference to this.
    pub(crate) base: Map<String, Value>,
    /// The bytes last seen on disk; none when there was no file.
    pub(crate) seen: Option<Vec<u8>>,
    /// Whether reading changed the meaning, so that the old form deserves a copy.
    pub(crate) migrated: bool,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document {}", self.path.display())
    }
}

impl Loaded {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`] names the place and the way out.
    pub fn read(path: impl AsRef<FsPath>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => LoadError::Missing {
                path: path.to_owned(),
            },
            _ => LoadError::Unreadable {
                path: path.to_owned(),
                source,
            },
        };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > LARGEST {
            return Err(unreadable(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file is over 64 MiB",
            )));
        }
        Self::parse(path, fs::read(path).map_err(unreadable)?)
    }

    /// Reads the content of a file; the path serves messages and later saves.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub fn parse(path: &FsPath, bytes: Vec<u8>) -> Result<Self, LoadError> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            let source = io::Error::new(io::ErrorKind::InvalidData, "the file is UTF-16");
            return Err(LoadError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
        let mut notes = Notes::new(&text);
        if matches!(text, Cow::Owned(_)) {
            let at = text.find(char::REPLACEMENT_CHARACTER).unwrap_or(0);
            notes.warn(
                at,
                "",
                "bytes that are not UTF-8 were replaced",
                "save the file as UTF-8",
            );
        }
        let read = read_text(&text, &mut notes);
        let problems = notes.finish();
        let (mut config, mut tree) = match read {
            Some(read) if !problems.iter().any(Problem::is_error) => read,
            _ => {
                return Err(LoadError::Invalid {
                    path: path.to_owned(),
                    problems,
                });
            }
        };
        drop(text);
        let base = config.write_fields(false);
        let migrated = migrations::apply(&mut config);
        patch::quote_ports(&mut tree);
        let document = Document {
            path: path.to_owned(),
            tree,
            base,
            seen: Some(bytes),
            migrated,
        };
        Ok(Self {
            config,
            warnings: problems,
            document,
        })
    }
}

impl Document {
    /// The path that was read.
    #[must_use]
    pub fn path(&self) -> &FsPath {
        &self.path
    }

    /// The tree of a file that does not exist yet.
    #[must_use]
    pub fn empty(path: impl Into<PathBuf>) -> Self {
        let base = Config::default().write_fields(false);
        Self {
            path: path.into(),
            tree: Map::new(),
            base,
            seen: None,
            migrated: false,
        }
    }

    /// The whole file as it would be with every key written out, unknown ones included.
    #[must_use]
    pub fn complete(&self, config: &Config) -> Value {
        let mut tree = self.tree.clone();
        let whole = config.write_fields(false);
        patch::patch(&mut tree, &self.base, &whole);
        patch::fill(&mut tree, &whole);
        Value::Object(tree)
    }
}

/// The tree and its meaning, before migrations.
fn read_text(text: &str, notes: &mut Notes<'_>) -> Option<(Config, Map<String, Value>)> {
    let parsed = match json::parse(text) {
        Ok(parsed) => parsed,
        Err(bad) => {
            notes.error(bad.at, "", bad.what, bad.fix);
            return None;
        }
    };
    if let Some(at) = parsed.trailing {
        notes.warn(
            at,
            "",
            "text after the end of the configuration is not read",
            "remove it",
        );
    }
    let mut config = Config::read_record(&parsed.root, &Path::Root, notes)?;
    checks::settle(&mut config, &parsed.root, notes);
    checks::check(&config, &parsed.root, notes);
    match parsed.root.to_value() {
        Value::Object(tree) => Some((config, tree)),
        _ => None,
    }
}
