//! Texts that the decoder has not checked one by one.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;

/// What is wrong with a text that is none.
pub(super) const NO_UTF8: &str = "a text column holds bytes that are not UTF-8";

/// Whether every text in `array` is UTF-8, which the decoder does not check of each by itself where texts run together.
pub(super) fn is_utf8(array: &Arc<dyn Array>) -> bool {
    fn all<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> bool {
        values.all(|text| text.is_none_or(|text| std::str::from_utf8(text.as_bytes()).is_ok()))
    }
    match array.data_type() {
        DataType::Utf8 => all(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => all(array.as_string::<i64>().iter()),
        DataType::Utf8View => all(array.as_string_view().iter()),
        DataType::List(_) => is_utf8(array.as_list::<i32>().values()),
        DataType::LargeList(_) => is_utf8(array.as_list::<i64>().values()),
        DataType::ListView(_) => is_utf8(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => is_utf8(array.as_list_view::<i64>().values()),
        DataType::FixedSizeList(..) => is_utf8(array.as_fixed_size_list().values()),
        DataType::Struct(_) => array.as_struct().columns().iter().all(is_utf8),
        DataType::Map(..) => array.as_map().entries().columns().iter().all(is_utf8),
        DataType::Dictionary(..) => is_utf8(array.as_any_dictionary().values()),
        _ => true,
    }
}
