//! Where addresses are, from a database in MaxMind's format (MaxMind's own or DB-IP's, cities or countries).
//!
//! Contract: an answer is coarse (a tenth of a degree), a private address is nowhere, and without a database
//! everything is nowhere and nothing else changes. Looking up takes no lock; a new file is read beside the old one
//! and takes its place only when it is sound.
//!
//! ```
//! let geo = geo::Geo::new("/no/such/file.mmdb");
//! assert!(geo.refresh().is_err());
//! assert_eq!(geo.lookup([203, 0, 113, 9].into()), None);
//! assert!(geo.gather([([203, 0, 113, 9].into(), "/live")]).is_empty());
//! ```

mod country;
mod gather;
pub mod metrics;
mod place;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use maxminddb::Reader;
use observe::Mutex;

use crate::metrics::{LOADS, Loaded};

pub use gather::Listeners;
pub use place::Place;

/// The largest file that is read: it is held in memory, and those in use have about 130 MB.
const LARGEST: u64 = 512 * 1024 * 1024;

observe::event! {
    /// A database was read.
    struct PlacesLoaded<'a> { kind: &'a str, built: &'a str, bytes: u64 }
    = Info "geo_database_loaded": "The database of places was loaded"

    /// A database could not be read.
    struct PlacesUnusable<'a> { path: &'a str, error: &'a str }
    = Warn "geo_database_unusable": "The database of places cannot be used; the one before stays"
}

/// Why a database is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeoError {
    /// There is none.
    #[error("there is no database of places at {0}")]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("the database of places {path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not a database of places, or a damaged or an enormous one.
    #[error("{path} is no sound database of places: {reason}")]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The places of addresses.
#[derive(Debug)]
pub struct Geo {
    path: PathBuf,
    database: ArcSwapOption<Database>,
    /// The file that was looked at last. The lock is held while a new one is read, by whoever refreshes.
    seen: Mutex<Option<Seen>>,
}

/// A database in memory.
#[derive(Debug)]
pub(crate) struct Database {
    reader: Reader<Vec<u8>>,
}

/// What tells one file from the next of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Geo {
    /// Knows no place until [`refresh`](Geo::refresh) finds a database.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            database: ArcSwapOption::empty(),
            seen: Mutex::new("geo_file", None),
        }
    }

    /// Reads a database. It waits for the disk.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, GeoError> {
        let geo = Self::new(path);
        geo.refresh()?;
        Ok(geo)
    }

    /// Reads the file if it is another than at the last call; true if a new database is in use. It waits for the
    /// disk. After an error the database before stays in use, and the same file is not read again.
    pub fn refresh(&self) -> Result<bool, GeoError> {
        let mut last = self.seen.lock();
        let about = fs::metadata(&self.path).map_err(|error| unreadable(&self.path, error))?;
        let seen = Seen {
            modified: about.modified().ok(),
            bytes: about.len(),
        };
        if *last == Some(seen) {
            return Ok(false);
        }
        *last = Some(seen);
        match Database::read(&self.path) {
            Ok(database) => {
                let about = database.reader.metadata();
                observe::emit(PlacesLoaded {
                    kind: &about.database_type,
                    built: &built(about.build_epoch).map_or_else(String::new, |at| at.to_string()),
                    bytes: seen.bytes,
                });
                LOADS.of(Loaded::Ok).inc();
                self.database.store(Some(database.into()));
                Ok(true)
            }
            Err(error) => {
                observe::emit(PlacesUnusable {
                    path: &self.path.display().to_string(),
                    error: &error.to_string(),
                });
                LOADS.of(Loaded::Failed).inc();
                Err(error)
            }
        }
    }

    /// Where an address is; none for private addresses, and for those that the database does not know.
    pub fn lookup(&self, ip: IpAddr) -> Option<Place> {
        let database = self.database.load();
        database.as_deref()?.place(ip)
    }

    /// The places of listeners with their numbers, by mount: most listeners first, then country, then city.
    pub fn gather<M: AsRef<str>>(&self, listeners: impl IntoIterator<Item = (IpAddr, M)>) -> Vec<Listeners> {
        match self.database.load().as_deref() {
            Some(database) => gather::gather(database, listeners),
            None => Vec::new(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a database.
    pub fn is_loaded(&self) -> bool {
        self.database.load().is_some()
    }

    /// When the database in use was made.
    pub fn built(&self) -> Option<Timestamp> {
        let database = self.database.load();
        built(database.as_deref()?.reader.metadata().build_epoch)
    }

    /// How old the file is, for whoever decides on a download.
    pub fn file_age(&self, now: SystemTime) -> Option<Duration> {
        let modified = fs::metadata(&self.path).ok()?.modified().ok()?;
        Some(now.duration_since(modified).unwrap_or_default())
    }
}

/// Whether a file is a sound database of places, looked through to the end. It waits for the disk and takes seconds.
pub fn check(path: &Path) -> Result<(), GeoError> {
    let database = Database::read(path)?;
    database.reader.verify().map_err(|error| unsound(path, error))
}

impl Database {
    fn read(path: &Path) -> Result<Self, GeoError> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let about = file.metadata().map_err(|error| unreadable(path, error))?;
        if about.len() > LARGEST {
            return Err(unsound(path, format_args!("it has {} bytes", about.len())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
        file.take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, error))?;
        let reader = Reader::from_source(bytes).map_err(|error| unsound(path, error))?;
        Ok(Self { reader })
    }

    /// Where the record of an address is in the file, for addresses that have one.
    pub(crate) fn record(&self, ip: IpAddr) -> Option<usize> {
        let ip = ip.to_canonical();
        if place::is_private(ip) {
            return None;
        }
        self.reader.lookup(ip).ok()?.offset()
    }

    pub(crate) fn place(&self, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        if place::is_private(ip) {
            return None;
        }
        Place::of(self.reader.lookup(ip).ok()?.decode().ok()??)
    }
}

fn built(epoch: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(epoch).ok()?).ok()
}

fn unreadable(path: &Path, source: io::Error) -> GeoError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => GeoError::Missing(path),
        _ => GeoError::Io { path, source },
    }
}

fn unsound(path: &Path, reason: impl std::fmt::Display) -> GeoError {
    GeoError::Unsound {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
