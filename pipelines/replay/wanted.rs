//! Which columns of a row are read by themselves, besides being part of its body.
//!
//! ```text
//! --time, --key, --id, --body-column, {column} in URL, method or a header ──► Wanted: names, each once, and what each is for
//! ```

use super::error::Error;
use super::request_line::RequestLine;
use super::template::Template;

/// What the flags say about columns, before it is known what a file has.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Columns of the event time: of each file, or line, the first that it has.
    pub time: Vec<String>,
    /// Columns of the order key.
    pub key: Vec<String>,
    /// Columns of the id; none: a hash.
    pub id: Vec<String>,
    /// The column that is the body; none: the whole row.
    pub body: Option<String>,
}

/// The columns whose values are read, and where they go. Times are apart: they are read first.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Names, each once.
    pub(super) names: Vec<String>,
    /// Places in `names`.
    pub(super) key: Vec<usize>,
    pub(super) id: Vec<usize>,
    pub(super) body: Option<usize>,
    /// Places in `names` by the columns of method and URL, in their order.
    pub(super) line: Vec<usize>,
    /// Places in `names` by the columns of the templates, in their order.
    pub(super) headers: Vec<usize>,
}

impl Wanted {
    /// The columns that `columns`, the request line and the headers' templates name.
    pub(super) fn new(columns: &Columns, line: Option<&RequestLine>, templates: &[Template]) -> Result<Self, Error> {
        for (flag, names) in [("--time", &columns.time), ("--key", &columns.key), ("--id", &columns.id)] {
            if names.iter().any(String::is_empty) {
                return Err(Error::flag(flag, "a column without a name; name columns as a,b"));
            }
        }
        let mut wanted = Self::default();
        wanted.key = columns.key.iter().map(|name| wanted.place(name)).collect();
        wanted.id = columns.id.iter().map(|name| wanted.place(name)).collect();
        wanted.body = columns.body.as_ref().map(|name| wanted.place(name));
        wanted.line = line.into_iter().flat_map(RequestLine::columns).map(|name| wanted.place(name)).collect();
        let names = templates.iter().flat_map(Template::columns);
        wanted.headers = names.map(|name| wanted.place(name)).collect();
        Ok(wanted)
    }

    fn place(&mut self, name: &str) -> usize {
        self.names.iter().position(|other| other == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_once_whatever_it_is_for() {
        let text = |name: &str| name.to_owned();
        let columns = Columns {
            time: vec![text("t")],
            key: vec![text("customer"), text("shop")],
            id: vec![text("order")],
            body: None,
        };
        let templates = [Template::new("X-Shop: {shop}/{order}").unwrap()];
        let line = RequestLine::new("{op}", "/{shop}").unwrap();
        let wanted = Wanted::new(&columns, Some(&line), &templates).unwrap();
        assert_eq!(wanted.names, ["customer", "shop", "order", "op"]);
        assert_eq!((wanted.key, wanted.id, wanted.headers), (vec![0, 1], vec![2], vec![1, 2]));
        assert_eq!(wanted.line, [3, 1]);
        let unnamed = Columns { key: vec![String::new()], ..Columns::default() };
        assert!(Wanted::new(&unnamed, None, &[]).unwrap_err().to_string().contains("--key"));
    }
}
