//! How a record's key is written where names are narrow: in paths, Redis keys and objects.
//!
//! Names of branches come from outside, `pull/../protected` among them. What is not a plain letter, digit, `-` or `_` is written as `%` and two digits,
//! and a space that gets too long for a file name keeps its level and a hash of the rest. No two spaces are written alike.

use super::Digest;

/// Most bytes of a written space: file names take 255.
const MOST: usize = 180;

/// A space as one part of a path.
pub(super) fn space(space: &str) -> String {
    let written = escape(space);
    if written.len() <= MOST {
        return written;
    }
    // A `~` is never written otherwise.
    format!("{}~{}", cut(escape(level(space))), Digest::of(space.as_bytes()))
}

/// The level of a space: what stands before the first slash.
pub(super) fn level(space: &str) -> &str {
    space.split('/').next().unwrap_or_default()
}

/// The level of a written space.
pub(super) fn written_level(written: &str) -> &str {
    written.split(['%', '~']).next().unwrap_or_default()
}

/// A written space as it was, for people to read; a hash stays one.
pub(super) fn read(written: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = written.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let write = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    text.bytes().map(write).collect()
}

fn cut(mut level: String) -> String {
    level.truncate(32);
    level
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_from_outside_stay_where_they_are_put() {
        assert_eq!(space("protected"), "protected");
        assert_eq!(space("pull/../protected"), "pull%2f%2e%2e%2fprotected");
        assert_eq!(space(".."), "%2e%2e");
        assert_eq!(space(""), "%");
        let long = space(&format!("branch/{}", "é".repeat(200)));
        assert!(long.starts_with("branch~") && long.len() == 7 + 64, "{long}");
    }

    proptest! {
        #[test]
        fn no_two_spaces_are_written_alike(one in ".{0,80}", other in ".{0,80}") {
            prop_assert!(one == other || space(&one) != space(&other));
        }

        #[test]
        fn a_written_space_is_one_part_of_a_path(text in ".{0,400}") {
            let written = space(&text);
            prop_assert!(!written.is_empty() && written.len() <= MOST && !written.contains(['/', '.', '\0', ':', '*', '[']));
        }

        #[test]
        fn a_level_can_be_told_from_what_was_written(level in "[a-z]{1,20}", rest in ".{0,300}") {
            let written = space(&format!("{level}/{rest}"));
            prop_assert_eq!(written_level(&written), &level);
        }

        #[test]
        fn short_ones_can_be_read_again(text in ".{1,15}") {
            prop_assert_eq!(read(&space(&text)), text);
        }
    }
}
