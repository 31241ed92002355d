//! What the Parquet library does not say of a footer, or can't bear: encrypted columns, a schema without a bottom.
//!
//! ```text
//! footer ──► schema elements: how deep?
//!       └──► column chunks: encrypted?
//! ```

use super::thrift::{Fault, Kind, Reader};

/// Groups inside groups; the library's own descent has no end but the stack's.
const MAX_DEPTH: usize = 64;

/// Why a footer is refused before the library sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// Its schema is nested too deeply.
    TooDeep,
    /// This column is encrypted.
    Encrypted(String),
}

/// What stands against the footer `bytes`. What is no footer at all is the library's to say.
pub fn objection(bytes: &[u8]) -> Option<Objection> {
    let mut reader = Reader::new(bytes);
    look(&mut reader).ok().flatten()
}

/// Hands each field of a struct to `field`, until it says something or fails. It has to read the field or skip it.
fn fields<'a, T>(
    reader: &mut Reader<'a>,
    mut field: impl FnMut(&mut Reader<'a>, i16, Kind) -> Result<Option<T>, Fault>,
) -> Result<Option<T>, Fault> {
    let mut last = 0;
    while let Some((id, kind)) = reader.field(last)? {
        if let Some(found) = field(reader, id, kind)? {
            return Ok(Some(found));
        }
        last = id;
    }
    Ok(None)
}

/// Hands each struct of a list to `element`, until it says something or fails.
fn elements<'a, T>(
    reader: &mut Reader<'a>,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<Option<T>, Fault>,
) -> Result<Option<T>, Fault> {
    let (length, kind) = reader.list()?;
    if kind != Kind::Struct && length > 0 {
        return Err(Fault::Malformed);
    }
    for _ in 0..length {
        if let Some(found) = element(reader)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn nothing<T>(reader: &mut Reader<'_>, kind: Kind) -> Result<Option<T>, Fault> {
    reader.skip(kind).map(|()| None)
}

fn look(reader: &mut Reader<'_>) -> Result<Option<Objection>, Fault> {
    // Of each group on the way down, the children still to come.
    let mut open: Vec<i64> = Vec::new();
    fields(reader, |reader, id, kind| match (id, kind) {
        (2, Kind::List) => elements(reader, |reader| schema_element(reader, &mut open)),
        (4, Kind::List) => elements(reader, |reader| {
            fields(reader, |reader, id, kind| match (id, kind) {
                (1, Kind::List) => elements(reader, column_chunk),
                _ => nothing(reader, kind),
            })
        }),
        _ => nothing(reader, kind),
    })
}

fn schema_element(reader: &mut Reader<'_>, open: &mut Vec<i64>) -> Result<Option<Objection>, Fault> {
    let mut children = 0;
    fields(reader, |reader, id, kind| match (id, kind) {
        (5, Kind::Int) => {
            children = reader.int()?;
            Ok(None)
        }
        _ => nothing::<()>(reader, kind),
    })?;
    if let Some(left) = open.last_mut() {
        *left -= 1;
    }
    if children > 0 {
        open.push(children);
    }
    let is_too_deep = open.len() > MAX_DEPTH;
    while open.last().is_some_and(|left| *left <= 0) {
        open.pop();
    }
    Ok(is_too_deep.then_some(Objection::TooDeep))
}

fn column_chunk(reader: &mut Reader<'_>) -> Result<Option<Objection>, Fault> {
    let (mut path, mut is_encrypted) = (String::new(), false);
    fields(reader, |reader, id, kind| match (id, kind) {
        (3, Kind::Struct) => {
            fields(reader, |reader, id, kind| match (id, kind) {
                (3, Kind::List) => {
                    path = names(reader)?;
                    Ok(None)
                }
                _ => nothing::<()>(reader, kind),
            })?;
            Ok(None)
        }
        // How the column is encrypted: with the footer's key, or with its own and then under its path.
        (8, Kind::Struct) => {
            is_encrypted = true;
            fields(reader, |reader, id, kind| match (id, kind) {
                (2, Kind::Struct) => fields(reader, |reader, id, kind| match (id, kind) {
                    (1, Kind::List) => {
                        path = names(reader)?;
                        Ok(None)
                    }
                    _ => nothing::<()>(reader, kind),
                }),
                _ => nothing(reader, kind),
            })?;
            Ok(None)
        }
        (9, _) => {
            is_encrypted = true;
            nothing(reader, kind)
        }
        _ => nothing::<()>(reader, kind),
    })?;
    Ok(is_encrypted.then_some(Objection::Encrypted(path)))
}

/// A list of names as a path.
fn names(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let (length, kind) = reader.list()?;
    if kind != Kind::Binary && length > 0 {
        return Err(Fault::Malformed);
    }
    let mut path = String::new();
    for i in 0..length {
        path.push_str(if i == 0 { "" } else { "." });
        path.push_str(&String::from_utf8_lossy(reader.binary()?));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct's fields in compact form: `(number, type, value)`.
    fn structure(fields: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut last) = (Vec::new(), 0);
        for (id, kind, value) in fields {
            out.push((id - last) << 4 | kind);
            out.extend(value);
            last = *id;
        }
        out.push(0);
        out
    }

    fn list(kind: u8, elements: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0xf0 | kind, elements.len() as u8 | 0x80, (elements.len() >> 7) as u8];
        out.extend(elements.concat());
        out
    }

    fn text(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    fn footer(chunk: Vec<u8>) -> Vec<u8> {
        let schema = list(12, &[structure(&[(4, 8, text("m")), (5, 5, vec![2])]), structure(&[(4, 8, text("x"))])]);
        let group = structure(&[(1, 9, list(12, &[chunk])), (2, 6, vec![0]), (3, 6, vec![2])]);
        structure(&[(1, 5, vec![2]), (2, 9, schema), (3, 6, vec![2]), (4, 9, list(12, &[group]))])
    }

    #[test]
    fn an_encrypted_column_is_named() {
        let path = |names: &[&str]| list(8, &names.iter().map(|name| text(name)).collect::<Vec<_>>());
        let meta = structure(&[(1, 5, vec![2]), (3, 9, path(&["a", "b"]))]);
        let plain = structure(&[(2, 6, vec![8]), (3, 12, meta.clone())]);
        assert_eq!(objection(&footer(plain)), None);
        let by_footer_key = structure(&[(1, 12, structure(&[]))]);
        let by_footer_key = structure(&[(2, 6, vec![8]), (3, 12, meta), (8, 12, by_footer_key)]);
        assert_eq!(objection(&footer(by_footer_key)), Some(Objection::Encrypted("a.b".to_owned())));
        let by_own_key = structure(&[(2, 12, structure(&[(1, 9, path(&["c"]))]))]);
        let by_own_key = structure(&[(2, 6, vec![8]), (8, 12, by_own_key), (9, 8, text("sealed"))]);
        assert_eq!(objection(&footer(by_own_key)), Some(Objection::Encrypted("c".to_owned())));
        assert_eq!(objection(b"no footer"), None);
    }

    #[test]
    fn a_schema_may_be_wide_but_not_deep() {
        let group = |children: u8| structure(&[(4, 8, text("g")), (5, 5, vec![children * 2])]);
        let leaf = structure(&[(4, 8, text("x"))]);
        let of = |elements: Vec<Vec<u8>>| structure(&[(1, 5, vec![2]), (2, 9, list(12, &elements))]);
        let deep = |depth: usize| of(vec![group(1); depth].into_iter().chain([leaf.clone()]).collect());
        assert_eq!(objection(&deep(MAX_DEPTH)), None);
        assert_eq!(objection(&deep(MAX_DEPTH + 1)), Some(Objection::TooDeep));
        let wide = (0..60).flat_map(|_| [group(1), leaf.clone()]);
        let wide = of(std::iter::once(group(60)).chain(wide).collect());
        assert_eq!(objection(&wide), None);
    }
}
