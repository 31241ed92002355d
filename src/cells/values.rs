//! Which Arrow types have an exact JSON form and the refusal of those that have none.

use arrow_schema::{DataType, Field};

/// Types nested deeper than this are refused; a hostile schema must not exhaust the stack.
const MAX_DEPTH: usize = 32;

/// A value or type inside a column that has no JSON form. Boxed: cells are written by the million and
/// almost none ends in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(Box<(String, String)>);

impl Unfit {
    /// This is wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self(Box::new((String::new(), what.into())))
    }

    /// The same, one step further in: put together from the inside out.
    #[must_use]
    pub fn below(mut self, step: &str) -> Self {
        self.0.0.insert_str(0, step);
        self
    }

    /// The way inside the column (`.field`, `[index]`), and what is wrong there.
    pub fn parts(self) -> (String, String) {
        *self.0
    }
}

/// Whether every value of this type other than NaN, an infinity and an instant out of range has a JSON form.
pub fn check_type(data_type: &DataType) -> Result<(), Unfit> {
    check(data_type, 0)
}

fn check(data_type: &DataType, depth: usize) -> Result<(), Unfit> {
    use DataType as T;
    if depth > MAX_DEPTH {
        return Err(Unfit::new(format!("nested more than {MAX_DEPTH} deep")));
    }
    match data_type {
        T::Null
        | T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::UInt64
        | T::Float16
        | T::Float32
        | T::Float64
        | T::Timestamp(..)
        | T::Date32
        | T::Date64
        | T::Time32(_)
        | T::Time64(_)
        | T::Binary
        | T::LargeBinary
        | T::BinaryView
        | T::FixedSizeBinary(_)
        | T::Utf8
        | T::LargeUtf8
        | T::Utf8View
        | T::Decimal32(..)
        | T::Decimal64(..)
        | T::Decimal128(..)
        | T::Decimal256(..) => Ok(()),
        T::List(item) | T::LargeList(item) | T::ListView(item) | T::LargeListView(item) | T::FixedSizeList(item, _) => {
            check(item.data_type(), depth + 1).map_err(|unfit| unfit.below("[]"))
        }
        T::Dictionary(_, value) => check(value, depth + 1),
        T::Struct(fields) => {
            if let Some(name) = repeated_name(fields.iter().map(AsRef::as_ref)) {
                return Err(Unfit::new("two fields have this name").below(&format!(".{name}")));
            }
            fields.iter().try_for_each(|field| {
                check(field.data_type(), depth + 1).map_err(|unfit| unfit.below(&format!(".{}", field.name())))
            })
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 => {
                pair.iter().try_for_each(|side| check(side.data_type(), depth + 1).map_err(|unfit| unfit.below("[]")))
            }
            _ => Err(Unfit::new("a map without keys and values")),
        },
        // Neither a number nor a text says what they are, and nobody has agreed on more; run ends
        // are no Parquet type.
        T::Duration(_) | T::Interval(_) | T::Union(..) | T::RunEndEncoded(..) => {
            Err(Unfit::new(format!("{data_type} has no JSON form")))
        }
    }
}

/// A name that two of `fields` have: two keys of one name are one key to most readers of JSON.
pub fn repeated_name<'a>(fields: impl Iterator<Item = &'a Field>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    fields.map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{IntervalUnit, TimeUnit};

    use super::*;

    #[test]
    fn the_way_to_an_unfit_type_is_told() {
        let lap = Field::new("lap", DataType::Duration(TimeUnit::Second), true);
        let list = DataType::List(Arc::new(Field::new("item", DataType::Struct(vec![lap].into()), true)));
        let (path, what) = check_type(&list).unwrap_err().parts();
        assert_eq!(path, "[].lap");
        assert!(what.contains("Duration"), "{what}");
        assert!(check_type(&DataType::Interval(IntervalUnit::DayTime)).is_err());
    }

    #[test]
    fn depth_and_repeated_names_are_bounded() {
        let nested = |in_item: DataType| DataType::List(Arc::new(Field::new("item", in_item, true)));
        let deep = (0..MAX_DEPTH).fold(DataType::Int8, |deep, _| nested(deep));
        assert!(check_type(&deep).is_ok());
        assert!(check_type(&nested(deep.clone())).is_err());
        let object = DataType::Struct(vec![Field::new("a", deep.clone(), true)].into());
        let pair =
            DataType::Struct(vec![Field::new("k", DataType::Utf8, false), Field::new("v", deep.clone(), true)].into());
        let map = DataType::Map(Arc::new(Field::new("entries", pair, false)), false);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(deep));
        for deeper in [object, map, dictionary] {
            assert!(check_type(&deeper).is_err(), "each kind of nesting counts");
        }
        let twice = vec![Field::new("a", DataType::Int8, true), Field::new("a", DataType::Int8, true)];
        assert_eq!(check_type(&DataType::Struct(twice.into())).unwrap_err().parts().0, ".a");
    }
}
