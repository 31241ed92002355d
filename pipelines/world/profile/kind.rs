//! What a setting takes.

/// What a setting takes. Values are texts; the kind says which texts the reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that has to be there.
    Name,
    /// A text that is never shown: it is a secret, or may hold one.
    Secret,
    /// A whole number.
    Whole,
    /// A number that may have a fraction.
    Real,
    /// On or off.
    Switch,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A list of texts.
    List,
    /// A list of these words.
    ListOf(&'static [&'static str]),
    /// A list where the empty text is an answer too.
    GivenList,
    /// The address of an HTTP server.
    HttpUrl,
    /// An address with a port to listen on, or `off`.
    Listen,
    /// Addresses of brokers.
    Brokers,
}

impl Kind {
    /// The kind of a line of the table: the one given, else a whole number where there are bounds, else any text.
    #[must_use]
    pub const fn of(given: &[Self], bounds: &[&str]) -> Self {
        match given {
            [kind, ..] => *kind,
            [] if bounds.is_empty() => Self::Text,
            [] => Self::Whole,
        }
    }
}
