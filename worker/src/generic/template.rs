//! A command's words with its placeholders replaced. Pure.
//!
//! | placeholder | becomes |
//! |---|---|
//! | `{units}` | the units: a word each where it stands alone, joined by commas inside a word |
//! | `{regex}` | a pattern that matches the units' names and nothing else |
//! | `{classes}` | the units as names of Java classes: `src/test/java/shop/CartTest.java` is `shop.CartTest`; words and commas as for units |
//! | `{nested}` | the same with the classes within them, which patterns of names do not always reach: `shop.CartTest,shop.CartTest$*` |
//! | `{target}` | the unit's words: a unit of Cargo such as `shop --test cart` becomes `--package shop --test cart` |
//! | `{report}`, `{reports}` | a file that does not exist yet, and an empty directory, of this command alone |
//! | `{run}` | the directory of the session's own files |
//! | `{seed}` | the run's seed |
//!
//! Nothing else in braces is touched: a command may have its own.

use std::path::Path;

/// What a command is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) units: &'a [&'a str],
    pub(super) run: &'a Path,
    pub(super) private: &'a Path,
    pub(super) seed: u64,
}

/// Where the command's report goes, if the command says so.
pub(super) fn report_file(private: &Path) -> std::path::PathBuf {
    private.join("report")
}

/// Where its reports go, if they are several.
pub(super) fn report_directory(private: &Path) -> std::path::PathBuf {
    private.join("reports")
}

/// The words of a command.
pub(super) fn expand(words: &[String], parts: &Parts<'_>) -> Vec<String> {
    words.iter().flat_map(|word| expand_word(word, parts)).collect()
}

fn expand_word(word: &str, parts: &Parts<'_>) -> Vec<String> {
    match word {
        "{units}" => parts.units.iter().map(ToString::to_string).collect(),
        "{classes}" => parts.units.iter().map(|unit| class(unit)).collect(),
        "{target}" => parts.units.iter().flat_map(|unit| target(unit)).collect(),
        _ => vec![expand_inside(word, parts)],
    }
}

/// A placeholder within a word, and what becomes of it.
type Replacement = (&'static str, fn(&Parts<'_>) -> String);

fn expand_inside(word: &str, parts: &Parts<'_>) -> String {
    let replacements: [Replacement; 8] = [
        ("{units}", |parts| parts.units.join(",")),
        ("{regex}", |parts| format!("^({})$", parts.units.iter().map(|unit| escape(unit)).collect::<Vec<_>>().join("|"))),
        ("{classes}", |parts| parts.units.iter().map(|unit| class(unit)).collect::<Vec<_>>().join(",")),
        ("{nested}", |parts| {
            parts.units.iter().map(|unit| class(unit)).map(|class| format!("{class},{class}$*")).collect::<Vec<_>>().join(",")
        }),
        ("{report}", |parts| report_file(parts.private).display().to_string()),
        ("{reports}", |parts| report_directory(parts.private).display().to_string()),
        ("{run}", |parts| parts.run.display().to_string()),
        ("{seed}", |parts| parts.seed.to_string()),
    ];
    let mut out = String::new();
    let mut rest = word;
    'word: while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        for (name, value) in replacements {
            if let Some(after) = rest.strip_prefix(name) {
                out.push_str(&value(parts));
                rest = after;
                continue 'word;
            }
        }
        out.push('{');
        rest = &rest[1..];
    }
    out + rest
}

/// A name that means itself in a regular expression.
fn escape(name: &str) -> String {
    let special = |c: char| ".^$|()[]{}*+?\\".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// The Java class in a file, by the conventions of Maven and Gradle.
pub(super) fn class(unit: &str) -> String {
    let below = ["src/test/java/", "src/test/kotlin/", "src/test/groovy/", "src/test/scala/"];
    let rest = below.iter().find_map(|root| unit.find(root).map(|at| &unit[at + root.len()..])).unwrap_or(unit);
    let stem = rest.rsplit_once('.').map_or(rest, |(stem, _)| stem);
    stem.trim_start_matches("./").replace('/', ".")
}

/// Cargo's options for one of its targets: `units::cargo` made the name.
fn target(unit: &str) -> Vec<String> {
    std::iter::once("--package").chain(unit.split(' ')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str, units: &[&str]) -> Vec<String> {
        expand_word(word, &Parts { units, run: Path::new("/r/s1"), private: Path::new("/p"), seed: 7 })
    }

    #[test]
    fn units_are_words_where_they_stand_alone_and_a_list_inside_a_word() {
        assert_eq!(expanded("{units}", &["a b.js", "c.js"]), ["a b.js", "c.js"]);
        assert_eq!(expanded("-Dtest={classes}", &["src/test/java/shop/CartTest.java", "ATest.java"]), ["-Dtest=shop.CartTest,ATest"]);
        assert_eq!(
            expanded("-Dtest={nested}", &["src/test/java/shop/CartTest.java", "ATest.java"]),
            ["-Dtest=shop.CartTest,shop.CartTest$*,ATest,ATest$*"]
        );
        assert_eq!(expanded("--only={units}", &["a", "b"]), ["--only=a,b"]);
        assert_eq!(expanded("{target}", &["shop --test cart"]), ["--package", "shop", "--test", "cart"]);
    }

    #[test]
    fn a_pattern_matches_nothing_but_the_units() {
        assert_eq!(expanded("{regex}", &["a.b", "c+(d)"]), ["^(a\\.b|c\\+\\(d\\))$"]);
    }

    #[test]
    fn foreign_braces_stay_and_nothing_is_replaced_twice() {
        assert_eq!(expanded("x{report}:{run}:{seed}:{a}{", &[]), ["x/p/report:/r/s1:7:{a}{"]);
        assert_eq!(expanded("{units}!", &["{seed}"]), ["{seed}!"]);
    }
}
