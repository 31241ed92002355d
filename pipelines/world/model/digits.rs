//! Formats numbers for people.

/// A whole number in groups of three digits, `1234567` as `1,234,567`; anything else as it is.
#[must_use]
pub fn grouped(number: &str) -> String {
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let first = (number.len() + 2) % 3 + 1;
    let (head, rest) = number.split_at(first.min(number.len()));
    rest.as_bytes().chunks(3).fold(head.to_owned(), |out, group| out + "," + &String::from_utf8_lossy(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let told = ["0", "100", "1024", "86400", "1000000", "0.000001"].map(grouped);
        assert_eq!(told, ["0", "100", "1,024", "86,400", "1,000,000", "0.000001"]);
    }
}
