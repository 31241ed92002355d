//! Reads the DSN as libpq does, both forms, with the settings that the client library doesn't know.
//!
//! ```text
//! postgresql://user:password@host:5432/db?sslmode=verify-full&sslrootcert=/ca.pem ┐ ┌─ Config (the client's)
//! host=host user=user password='pass word' dbname=db sslmode=verify-full …        ┴─┴─ Verify (ours)
//! ```
//!
//! No error holds a piece of the DSN but the names of settings from a fixed list: a misplaced quote may make
//! anything of it, a part of the password too.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::percent;
use crate::secret::Secret;

/// Why a DSN is not taken. It holds no piece of the DSN but the names of settings from a fixed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DsnError {
    /// There is no DSN at all.
    pub is_empty: bool,
    /// What is wrong.
    pub detail: String,
    /// The setting that is to blame, where one is.
    pub setting: Option<String>,
    /// The file that is to blame, where one is.
    pub file: Option<String>,
}

impl DsnError {
    pub(super) fn setting(mut self, setting: &str) -> Self {
        self.setting = Some(setting.to_owned());
        self
    }

    pub(super) fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }
}

/// What the server's certificate has to be, where TLS is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verify {
    /// Anything: TLS against listeners only (`prefer`, `require`).
    Nothing,
    /// Issued below one of these roots, for whatever name (`verify-ca`, or `require` with `sslrootcert`).
    Chain(PathBuf),
    /// Issued below one of these roots, or the machine's where there is none, for the host's name (`verify-full`).
    Name(Option<PathBuf>),
}

/// A DSN, taken apart: key=value pairs or a `postgresql://` URL, as libpq reads them. It may be printed: it shows no
/// password.
#[derive(Clone)]
pub struct PostgresDsn {
    pub(super) config: Config,
    pub(super) verify: Verify,
    text: Secret,
}

/// Settings that change nothing here: encoding and GSS are not negotiated, and TLS is 1.2 or newer as it is.
const WITHOUT_EFFECT: [&str; 4] = ["client_encoding", "fallback_application_name", "sslcompression", "sslsni"];

/// The TLS settings that the client library doesn't know, or not all values of.
#[derive(Default)]
struct Tls {
    mode: Option<String>,
    root: Option<String>,
}

impl Tls {
    /// Takes a setting if it is one of these.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, DsnError> {
        match key {
            "sslmode" => self.mode = Some(value.into()),
            "sslrootcert" => self.root = Some(value.into()).filter(|root: &String| !root.is_empty()),
            "gssencmode" if value != "require" => {}
            "ssl_min_protocol_version" if matches!(value, "TLSv1" | "TLSv1.1" | "TLSv1.2") => {}
            "sslcert"
            | "sslkey"
            | "sslcrl"
            | "requirepeer"
            | "gssencmode"
            | "ssl_min_protocol_version"
            | "passfile"
            | "service" => {
                return Err(refuse("this setting, or its value, is not supported").setting(key));
            }
            _ => return Ok(WITHOUT_EFFECT.contains(&key)),
        }
        Ok(true)
    }

    fn resolve(self) -> Result<(SslMode, Verify), DsnError> {
        let file = self.root.as_deref().filter(|root| *root != "system").map(PathBuf::from);
        let system = self.root.is_some() && file.is_none();
        let chain = |file: Option<PathBuf>| file.map_or(Verify::Nothing, Verify::Chain);
        let resolved = match self.mode.as_deref() {
            // libpq's words: `sslrootcert=system` alone means `verify-full`, and nothing weaker goes with it.
            None if system => (SslMode::Require, Verify::Name(None)),
            Some(mode) if system && mode != "verify-full" => {
                return Err(refuse("sslrootcert=system goes with sslmode=verify-full alone").setting("sslmode"));
            }
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            None | Some("allow" | "prefer") => (SslMode::Prefer, Verify::Nothing),
            Some("verify-ca") if file.is_none() => {
                return Err(refuse("sslmode=verify-ca needs a file with the roots").setting("sslrootcert"));
            }
            Some("require" | "verify-ca") => (SslMode::Require, chain(file)),
            Some("verify-full") => (SslMode::Require, Verify::Name(file)),
            Some(_) => {
                let modes = "it has to be disable, allow, prefer, require, verify-ca or verify-full";
                return Err(refuse(modes).setting("sslmode"));
            }
        };
        Ok(resolved)
    }
}

impl PostgresDsn {
    /// Reads a DSN.
    ///
    /// # Errors
    ///
    /// It is empty, can't be read, or asks for what is not supported. No error holds a part of the DSN.
    pub fn parse(dsn: &Secret) -> Result<Self, DsnError> {
        let text = dsn.expose().trim();
        if text.is_empty() {
            return Err(DsnError { is_empty: true, ..refuse("the DSN is empty") });
        }
        let mut tls = Tls::default();
        let is_url = ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme));
        if !is_url && text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('=')) {
            return Err(refuse("a URL has to start with postgresql:// or postgres://"));
        }
        let rest = if is_url { take_from_url(text, &mut tls)? } else { take_from_pairs(text, &mut tls)? };
        let unreadable =
            "it is neither a list of key=value pairs nor a postgresql:// URL, or has a setting that is not known";
        let mut config: Config = rest.parse().map_err(|_| refuse(unreadable))?;
        let (mode, verify) = tls.resolve()?;
        config.ssl_mode(mode);
        refuse_misread(&config)?;
        if config.get_hosts().is_empty() {
            // TLS wants a name; an address is one.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        if config.get_hosts().is_empty() {
            return Err(refuse("it names no host").setting("host"));
        }
        if config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) && mode == SslMode::Require {
            return Err(refuse("there is no TLS over a Unix socket").setting("sslmode"));
        }
        if config.get_application_name().is_none() {
            config.application_name("wsp");
        }
        Ok(Self { config, verify, text: dsn.clone() })
    }

    /// Whether the server has to show a certificate for its name (`verify-full`).
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self.verify, Verify::Name(_))
    }

    /// Whether any of its hosts is a Unix socket's folder.
    #[must_use]
    pub fn uses_socket(&self) -> bool {
        self.config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)))
    }

    /// Whether every host is this machine, by a loopback address or the name `localhost`. An address that is given beside
    /// a name is the one that is connected to.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let addresses = self.config.get_hostaddrs();
        if !addresses.is_empty() {
            return addresses.iter().all(|address| address.to_canonical().is_loopback());
        }
        self.config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                let address = name.parse::<IpAddr>().map(|address| address.to_canonical().is_loopback());
                address.unwrap_or_else(|_| name.eq_ignore_ascii_case("localhost"))
            }
            Host::Unix(_) => false,
        })
    }

    /// Whether it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The same with this password.
    #[must_use]
    pub fn with_password(mut self, password: &Secret) -> Self {
        self.config.password(password.expose());
        self
    }

    /// Hosts, ports and database, for people: no user, no password, no other setting.
    #[must_use]
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(at)),
            Host::Tcp(name) => format!("{name}:{}", port(at)),
            Host::Unix(folder) => format!("{}:{}", folder.display(), port(at)),
        });
        // libpq's default is the user's name, which is nobody else's business.
        let database = self.config.get_dbname().map(|name| format!("/{name}")).unwrap_or_default();
        format!("postgres://{}{database}", hosts.collect::<Vec<_>>().join(","))
    }

    /// What must not be seen anywhere: its text, and the password in it.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        let password = self.config.get_password().map(|bytes| Secret::new(String::from_utf8_lossy(bytes).into_owned()));
        [self.text.clone()].into_iter().chain(password).collect()
    }
}

impl fmt::Debug for PostgresDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDsn").field("verify", &self.verify).finish_non_exhaustive()
    }
}

/// Refuses values that a misplaced quote or a bare `@` has put a piece of the password into: servers and TLS repeat the
/// names of users, databases and hosts in their errors.
fn refuse_misread(config: &Config) -> Result<(), DsnError> {
    for host in config.get_hosts() {
        let Host::Tcp(name) = host else { continue };
        if name.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '=' | '\'' | '"' | '?' | '#')) {
            let detail = "it is no host name; an @ or another such character of the password has to be percent-encoded";
            return Err(refuse(detail).setting("host"));
        }
    }
    let texts = [
        ("user", config.get_user()),
        ("dbname", config.get_dbname()),
        ("options", config.get_options()),
        ("application_name", config.get_application_name()),
    ];
    for (setting, text) in texts {
        if text.is_some_and(|text| text.to_ascii_lowercase().contains("password")) {
            return Err(refuse("its value holds the setting `password`: a quote or an & is misplaced").setting(setting));
        }
    }
    Ok(())
}

/// Takes the TLS settings out of a URL's query; the rest stays as it is.
fn take_from_url<'a>(text: &'a str, tls: &mut Tls) -> Result<Cow<'a, str>, DsnError> {
    // A password may hold a bare `?`: the client library too reads up to the first `@` as credentials.
    let after_credentials = text.find('@').unwrap_or(0);
    let Some(at) = text[after_credentials..].find('?').map(|at| after_credentials + at) else { return Ok(text.into()) };
    let mut kept = Vec::new();
    for pair in text[at + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value =
            percent::decode(value).ok_or_else(|| refuse("a value in its query is not percent-encoded UTF-8"))?;
        if !tls.take(key, &value)? {
            kept.push(pair);
        }
    }
    let base = &text[..at];
    Ok(if kept.is_empty() { base.into() } else { format!("{base}?{}", kept.join("&")).into() })
}

/// Takes the TLS settings out of key=value pairs; the rest is written anew.
fn take_from_pairs(text: &str, tls: &mut Tls) -> Result<Cow<'static, str>, DsnError> {
    let mut kept = String::new();
    let mut rest = text;
    while !rest.trim_start().is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| refuse("a setting without a value"))?;
        let key = key.trim();
        let (value, after) = take_value(after.trim_start())?;
        if !tls.take(key, &value)? {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            kept.extend([key, "='", &quoted, "' "]);
        }
        rest = after;
    }
    Ok(kept.into())
}

/// A value at the start of `text`: in quotes, or up to the next space; a backslash takes the next character as it is.
fn take_value(text: &str) -> Result<(String, &str), DsnError> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let (mut value, mut characters) = (String::new(), body.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            space if !quoted && space.is_whitespace() => return Ok((value, &body[at..])),
            plain => value.push(plain),
        }
    }
    if quoted { Err(refuse("a quoted value without an end")) } else { Ok((value, "")) }
}

pub(super) fn refuse(detail: impl Into<String>) -> DsnError {
    DsnError { is_empty: false, detail: detail.into(), setting: None, file: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<PostgresDsn, DsnError> {
        PostgresDsn::parse(&Secret::new(text))
    }

    #[test]
    fn its_place_shows_hosts_and_database_alone() {
        for (text, place) in [
            ("postgres://app:hunter2@db.example/wsp?sslmode=require", "postgres://db.example:5432/wsp"),
            ("postgres://hunter2@a,b:7/d", "postgres://a:5432,b:7/d"),
            ("host=a,b port=7 user=hunter2", "postgres://a:7,b:7"),
            ("host=::1 dbname=d user=hunter2 application_name=hunter2", "postgres://[::1]:5432/d"),
            ("host=/run/db user=u password=hunter2 dbname=d", "postgres:///run/db:5432/d"),
        ] {
            assert_eq!(parse(text).unwrap().place(), place, "{text}");
        }
    }

    #[test]
    fn a_password_may_come_from_elsewhere() {
        let without = parse("postgres://app@db.example/wsp").unwrap();
        assert!(!without.has_password());
        let with = without.with_password(&Secret::new("p@ss:/ 'x"));
        assert_eq!(with.config.get_password(), Some(&b"p@ss:/ 'x"[..]));
        assert!(with.secrets().contains(&Secret::new("p@ss:/ 'x")));
        for text in ["postgres://u:p@h/d", "postgres://u@h/d?password=p", "postgres://u:@h/d", "host=h password=p"] {
            assert!(parse(text).unwrap().has_password(), "{text}");
        }
    }

    fn tls(text: &str) -> (SslMode, Verify) {
        let dsn = parse(text).unwrap();
        (dsn.config.get_ssl_mode(), dsn.verify)
    }

    #[test]
    fn both_forms_say_the_same() {
        let url = parse("postgresql://us%20er:p%27%5Cw@db.example:5433/name?sslmode=verify-full&connect_timeout=3");
        let pairs = parse(
            r"host = db.example port=5433 user='us er' password='p\'\\w' dbname=name sslmode=verify-full connect_timeout=3",
        );
        let (url, pairs) = (url.unwrap(), pairs.unwrap());
        assert!(url.config == pairs.config);
        assert_eq!((url.verify, pairs.verify), (Verify::Name(None), Verify::Name(None)));
        assert_eq!(url.config.get_password(), Some(&br"p'\w"[..]));
        assert_eq!(url.config.get_application_name(), Some("wsp"));
    }

    #[test]
    fn modes_mean_what_libpq_means_by_them() {
        let root = || PathBuf::from("/ca file.pem");
        for (settings, mode, verify) in [
            ("", SslMode::Prefer, Verify::Nothing),
            ("sslmode=disable", SslMode::Disable, Verify::Nothing),
            ("sslmode=allow", SslMode::Prefer, Verify::Nothing),
            ("sslmode=require", SslMode::Require, Verify::Nothing),
            ("sslmode=require&sslrootcert=/ca%20file.pem", SslMode::Require, Verify::Chain(root())),
            ("sslrootcert=/ca%20file.pem&sslmode=verify-ca", SslMode::Require, Verify::Chain(root())),
            (
                "sslmode=verify-full&sslrootcert=/ca%20file.pem&gssencmode=disable",
                SslMode::Require,
                Verify::Name(Some(root())),
            ),
            ("sslmode=verify-full&sslrootcert=system", SslMode::Require, Verify::Name(None)),
            ("sslrootcert=system", SslMode::Require, Verify::Name(None)),
        ] {
            assert_eq!(tls(&format!("postgres://u:p?w@h/d?{settings}")), (mode, verify), "{settings}");
        }
    }

    #[test]
    fn an_address_is_a_name_too() {
        let dsn = parse("hostaddr=127.0.0.1 user=u").unwrap();
        assert_eq!(dsn.config.get_hosts(), [Host::Tcp("127.0.0.1".into())]);
    }

    #[test]
    fn refusals_tell_the_setting_and_nothing_of_the_text() {
        for (text, field) in [
            ("host=h password=hunter2 sslmode=hunter2", Some("sslmode")),
            ("host=h password=hunter2 sslmode=verify-ca", Some("sslrootcert")),
            ("host=h password=hunter2 sslmode=require sslrootcert=system", Some("sslmode")),
            ("host=h password=hunter2 sslcert=hunter2", Some("sslcert")),
            ("host=/run/hunter2 sslmode=require", Some("sslmode")),
            ("password=hunter2", Some("host")),
            ("host=h password=a hunter2=b", None),
            ("host=h password='hunter2", None),
            ("hunter2", None),
            ("postgresql+psycopg://u:hunter2@h/d", None),
            ("postgres://u:hunter2@h/d?hunter2", None),
            ("postgres://u:hunter2@h:hunter2/d", None),
            ("postgres://u:hunter2@h/d?hunter2=1", None),
            ("postgres://u@h/d?sslmode=%zzhunter2", None),
            // A piece of the password would stand in what the server, the resolver or TLS says.
            ("postgres://u:p@hunter2@h/d", Some("host")),
            ("postgres://u:p@hunter2#x@h/d", Some("host")),
            ("host=h user='u password=hunter2' dbname=d", Some("user")),
            ("host=h user=u dbname='d PASSWORD=hunter2'", Some("dbname")),
            ("postgres://u@h/d%26password=hunter2", Some("dbname")),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.is_empty, error.setting.as_deref()), (false, field), "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert!(parse(" ").unwrap_err().is_empty);
    }

    #[test]
    fn what_a_strict_profile_asks_is_asked_of_what_was_parsed() {
        for (text, verified, socket, loopback) in [
            ("postgres://u:p@db.example/d?sslmode=verify-full", true, false, false),
            ("postgres://u:p@db.example/d?sslmode=%76erify-full", true, false, false),
            ("host=db.example sslrootcert=system", true, false, false),
            ("host=db.example sslmode=verify-ca sslrootcert=/ca", false, false, false),
            ("host=db.example", false, false, false),
            ("host=127.0.0.1", false, false, true),
            ("postgres://u:p@LOCALHOST,[::1]:5433/d", false, false, true),
            ("postgres://u:p@localhost,db.example/d", false, false, false),
            ("host=localhost hostaddr=10.0.0.1", false, false, false),
            ("host=db.example hostaddr=127.0.0.1", false, false, true),
            ("host=127.0.0.1.example", false, false, false),
            ("host=/var/run/postgresql", false, true, false),
            ("dbname=x host = '/tmp'", false, true, false),
            ("host=db.internal,/tmp dbname=x", false, true, false),
            ("postgresql://u:p@%2Ftmp/db", false, true, false),
            ("postgresql://u:p@db.internal,%2ftmp/db", false, true, false),
            ("postgresql:///db?user=x&host=%2Ftmp", false, true, false),
            ("postgresql://wsp:x%2Fy@db.internal/wsp?sslmode=require&sslrootcert=%2Fca.pem", false, false, false),
        ] {
            let dsn = parse(text).unwrap();
            assert_eq!(
                (dsn.is_verified(), dsn.uses_socket(), dsn.is_loopback()),
                (verified, socket, loopback),
                "{text}"
            );
        }
    }

    #[test]
    fn its_secrets_are_the_text_and_the_password_itself() {
        let secrets = parse("postgres://u:p%40ss@h/d").unwrap().secrets();
        let texts: Vec<_> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(texts, ["postgres://u:p%40ss@h/d", "p@ss"]);
        assert_eq!(parse("host=h").unwrap().secrets().len(), 1);
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", parse("postgres://u:hunter2@h/d").unwrap()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_password_survives_quoting(password in "\\PC{1,20}") {
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            let dsn = parse(&format!("host=h password='{quoted}' sslmode=disable")).unwrap();
            prop_assert_eq!(dsn.config.get_password(), Some(password.as_bytes()));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(postgres://)?[a-z=@?&%' \\\\é]{0,40}") {
            let _ = parse(&text);
        }
    }
}
