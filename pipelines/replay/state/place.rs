//! Where states are: folders, or a database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wsp::checkpoint::CheckpointStore;
use wsp::checkpoint::file::TextFolders;
#[cfg(feature = "postgres")]
use wsp::checkpoint::postgres::{DsnError, PostgresCheckpoints, PostgresDsn};
use wsp::clock::Clock;
use wsp::disk::Disk;
#[cfg(feature = "postgres")]
use wsp::secret::Secret;

use super::super::error::Error;
use super::super::target::Place;
use super::form::{Replays, StateName};

/// What addresses of databases begin with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// The flags that name a password.
const PASSWORDS: [&str; 2] = ["--state-password-env", "--state-password-file"];
/// How long a hold on a state in a database lasts without a renewal.
#[cfg(feature = "postgres")]
const LEASE: Duration = Duration::from_secs(15);

/// Where a state is kept.
#[derive(Debug, Clone)]
pub enum StatePlace {
    /// In this folder.
    Folder(PathBuf),
    /// In a Postgres database, under a name by target and inputs.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresDsn>),
}

/// A place with a name in it.
pub(super) struct Address {
    pub(super) store: Arc<dyn CheckpointStore<Replays>>,
    pub(super) name: StateName,
    /// How people read it. It holds no secret.
    pub(super) shown: String,
    /// The folder, where it is one.
    pub(super) folder: Option<PathBuf>,
    /// How long a process that died may go on holding it.
    pub(super) outlives: Duration,
}

impl StatePlace {
    /// What `--state` means. The password of a database is elsewhere: command lines are seen by every user of a machine.
    ///
    /// # Errors
    ///
    /// If it can't be used, naming the flag. No message repeats a part of the address or of the password.
    pub fn new(at: &Path, password: Option<&Place>) -> Result<Self, Error> {
        let text = at.to_str().filter(|text| SCHEMES.iter().any(|scheme| text.starts_with(scheme)));
        if let Some(text) = text {
            return Self::database(text, password);
        }
        if let Some(place) = password {
            let what = "it goes with --state postgres://USER@HOST/DATABASE";
            return Err(Error::flag(place.flag(PASSWORDS[0], PASSWORDS[1]), what));
        }
        Ok(Self::Folder(at.to_owned()))
    }

    #[cfg(feature = "postgres")]
    fn database(text: &str, password: Option<&Place>) -> Result<Self, Error> {
        let dsn = PostgresDsn::parse(&Secret::new(text)).map_err(|error| unusable(&error))?;
        if dsn.has_password() {
            let what = "it holds a password, which all users of this machine can see; leave it out, and name it by \
                        --state-password-env VARIABLE or --state-password-file FILE";
            return Err(Error::flag("--state", what));
        }
        let dsn = match password {
            Some(place) => dsn.with_password(&place.read(place.flag(PASSWORDS[0], PASSWORDS[1]))?),
            None => dsn,
        };
        Ok(Self::Postgres(Box::new(dsn)))
    }

    #[cfg(not(feature = "postgres"))]
    fn database(_: &str, _: Option<&Place>) -> Result<Self, Error> {
        Err(Error::flag("--state", "this build of the program has no Postgres; build it with the feature `postgres`"))
    }

    /// Where the state `name` is here. Folders are on `disk`, and leases go by `clock`.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(unused_variables, clippy::unnecessary_wraps, reason = "the face of the build with Postgres")
    )]
    pub(super) fn address(&self, name: &str, disk: Arc<dyn Disk>, clock: impl Clock) -> Result<Address, Error> {
        Ok(match self {
            Self::Folder(folder) => Address::folder(folder.clone(), disk),
            #[cfg(feature = "postgres")]
            Self::Postgres(dsn) => {
                let store = PostgresCheckpoints::<Replays, _>::new(dsn, clock).map_err(|error| unusable(&error))?;
                Address {
                    store: Arc::new(store.lease(LEASE)),
                    name: StateName(name.into()),
                    shown: format!("{} {name}", dsn.place()),
                    folder: None,
                    outlives: LEASE,
                }
            }
        })
    }
}

impl Address {
    pub(super) fn folder(folder: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self {
            store: Arc::new(TextFolders::<Replays>::new(disk, "")),
            name: StateName(folder.clone()),
            shown: folder.display().to_string(),
            folder: Some(folder),
            outlives: Duration::ZERO,
        }
    }
}

#[cfg(feature = "postgres")]
fn unusable(error: &DsnError) -> Error {
    let DsnError { detail, setting, file, .. } = error;
    let parts = [setting.as_ref().map(|setting| format!("{setting}: ")), file.as_ref().map(|file| format!("{file}: "))];
    Error::flag("--state", format!("{}{detail}", parts.into_iter().flatten().collect::<String>()))
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use super::*;

    fn place(at: &str, password: Option<&str>) -> Result<StatePlace, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), password.unwrap_or_default()).unwrap();
        let password = password.map(|_| Place::File(file.path().to_owned()));
        StatePlace::new(Path::new(at), password.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_a_database_and_anything_else_a_folder() {
        for at in ["state", "/tmp/state", "./postgres:", "postgres", "host=a user=b"] {
            assert!(matches!(place(at, None), Ok(StatePlace::Folder(folder)) if folder == Path::new(at)), "{at}");
        }
        for (at, password) in [("postgres://u@h/d", None), ("postgresql://u@h/d?sslmode=verify-full", Some("p w\n"))] {
            let Ok(StatePlace::Postgres(dsn)) = place(at, password) else { panic!("{at}") };
            assert_eq!(dsn.has_password(), password.is_some());
            assert_eq!(dsn.place(), "postgres://h:5432/d");
        }
    }

    #[test]
    fn what_can_not_be_used_is_refused_and_no_secret_is_shown() {
        for (at, password, words) in [
            ("postgres://u:hunter2@h/d", None, "--state: it holds a password"),
            ("postgres://u:hunter2@h/d", Some("other"), "--state-password-env VARIABLE or --state-password-file FILE"),
            ("postgres://u@h/d?password=hunter2", None, "--state: it holds a password"),
            ("postgres://u:hun/ter2@x@h/d", None, "--state: host: it is no host name"),
            ("postgres://u@h/d?sslmode=hunter2", None, "--state: sslmode: it has to be disable"),
            ("postgres://u@h/d?hunter2=1", None, "has a setting that is not known"),
            ("postgres://u@h/d", Some(""), "--state-password-file: the secret is empty"),
            ("folder", Some("hunter2"), "--state-password-file: it goes with --state postgres://"),
        ] {
            let error = place(at, password).map(|_| ()).unwrap_err();
            assert!(error.contains(words), "{at}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("ter2"), "{at}: {error}");
        }
    }

    #[test]
    fn a_place_shows_no_secret() {
        let place = place("postgres://hunter3@h/d", Some("hunter2")).unwrap();
        let StatePlace::Postgres(dsn) = &place else { panic!("{place:?}") };
        assert!(!format!("{place:?} {}", dsn.place()).contains("hunter"), "{place:?}");
    }
}
