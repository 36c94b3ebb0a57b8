//! `.dockerignore`, with the meaning that BuildKit's clients give it.
//!
//! Not gitignore: patterns are rooted (`*.log` is the top level only, `**/*.log` everywhere), the last match wins, `!` includes again even below an
//! excluded directory, a leading `/` means nothing, `#` begins a comment in the first column only, blanks around a pattern do not count.
//! A directory that matches takes with it what is below, as long as no later pattern says otherwise. The rules, and their corners, are those of
//! moby/patternmatcher, held by random cases that it judged (`fixtures/captures/dockerignore`). Three of its accidents are not copied: a letter after
//! a backslash is that letter and not a class of a regular expression, `*` and `?` between brackets stand for themselves, and a malformed pattern is
//! refused wherever the fault stands in it.

/// The patterns of an ignore file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// An ignore file says something impossible.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: `{pattern}` is not a pattern")]
pub struct IgnoreError {
    /// Where, from 1.
    pub line: usize,
    /// What.
    pub pattern: String,
}

/// Which patterns matched a directory: what is in it is judged by that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched(Vec<bool>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// `!`: what matches is included again.
    includes: bool,
    text: Vec<u8>,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// `**` and then plain text: any path that ends so.
    Ends(Vec<u8>),
    /// Everything else.
    Glob(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: a character, but no slash.
    One,
    /// `*`: any characters, but no slash.
    Many,
    /// `**/` or `**` before more: nothing, or anything that ends in a slash.
    Folders,
    /// `**` at the end: anything.
    Rest,
    /// `[...]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    /// Reads an ignore file.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            let line = trim(line);
            let (includes, body) = match line.strip_prefix(b"!") {
                Some(rest) => (true, trim(rest)),
                None => (false, line),
            };
            if body.is_empty() && !includes {
                continue;
            }
            let wrong = || IgnoreError { line: number + 1, pattern: String::from_utf8_lossy(line).into_owned() };
            patterns.push(Pattern::parse(includes, body).ok_or_else(wrong)?);
        }
        Ok(Self { patterns })
    }

    /// Whether a path is excluded, given how its directory was judged (`Matched::default()` at the top), and how it was judged itself.
    /// Excluding a directory does not exclude what is in it: that is judged by itself.
    pub fn judge(&self, path: &[u8], directory: &Matched) -> (bool, Matched) {
        let mut excluded = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let by_directory = directory.0.get(index).copied().unwrap_or(false);
            if !by_directory && pattern.includes != excluded {
                continue;
            }
            if by_directory || pattern.matches(path) {
                matched[index] = true;
                excluded = !pattern.includes;
            }
        }
        (excluded, Matched(matched))
    }

    /// Whether anything below an excluded directory may be included again: if not, nobody need look.
    pub fn may_include_below(&self, directory: &[u8]) -> bool {
        self.patterns.iter().filter(|pattern| pattern.includes).any(|pattern| {
            let plain = pattern.text.strip_suffix(b"/**").or_else(|| pattern.text.strip_suffix(b"/*")).unwrap_or(&pattern.text);
            let has_glob = plain.iter().any(|byte| b"*?[]^\\".contains(byte));
            has_glob || is_below_or_same(plain, directory)
        })
    }
}

fn is_below_or_same(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn trim(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

impl Pattern {
    fn parse(includes: bool, body: &[u8]) -> Option<Self> {
        if body.is_empty() {
            return None;
        }
        let text = cleaned(body);
        let tokens = tokens(&text)?;
        let plain_end = text.strip_prefix(b"**").filter(|_| tokens[1..].iter().all(|token| matches!(token, Token::Byte(_))));
        let shape = match plain_end {
            Some(end) if !text.contains(&b'\\') => Shape::Ends(end.to_vec()),
            _ => Shape::Glob(tokens),
        };
        Some(Self { includes, text, shape })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match &self.shape {
            Shape::Ends(end) => path.ends_with(end) || end.strip_prefix(b"/").is_some_and(|name| name == path),
            Shape::Glob(tokens) => glob(tokens, path),
        }
    }
}

/// The shortest equivalent path, without a leading slash: `./a//b/../c/` is `a/c`.
fn cleaned(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            other => parts.push(other),
        }
    }
    match (parts.is_empty(), rooted) {
        (true, true) => b"/".to_vec(),
        (true, false) => b".".to_vec(),
        (false, _) => parts.join(&b'/'),
    }
}

fn tokens(text: &[u8]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'*' if rest.starts_with(b"*") => {
                rest = &rest[1..];
                rest = rest.strip_prefix(b"/").unwrap_or(rest);
                tokens.push(if rest.is_empty() { Token::Rest } else { Token::Folders });
            }
            b'*' => tokens.push(Token::Many),
            b'?' => tokens.push(Token::One),
            b'[' => {
                let (class, after) = class(rest)?;
                tokens.push(class);
                rest = after;
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first()?;
                tokens.push(Token::Byte(escaped));
                rest = after;
            }
            other => tokens.push(Token::Byte(other)),
        }
    }
    Some(tokens)
}

/// What stands between brackets, and what follows them.
fn class(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match text.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty()
            && let Some(after) = rest.strip_prefix(b"]")
        {
            return Some((Token::Class { negated, ranges }, after));
        }
        let (low, after) = class_character(rest)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix(b"-") {
            (high, rest) = class_character(after)?;
        }
        if low > high {
            return None;
        }
        ranges.push((low, high));
    }
}

fn class_character(text: &[u8]) -> Option<(char, &[u8])> {
    if text.starts_with(b"-") || text.starts_with(b"]") {
        return None;
    }
    let text = text.strip_prefix(b"\\").unwrap_or(text);
    let (character, length) = first_character(text)?;
    let rest = &text[length..];
    (!rest.is_empty()).then_some((character, rest))
}

/// The first character and its length; a byte that is no UTF-8 counts as one strange character.
fn first_character(text: &[u8]) -> Option<(char, usize)> {
    let chunk = text.utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(character) => Some((character, character.len_utf8())),
        None => Some((char::REPLACEMENT_CHARACTER, 1)),
    }
}

fn glob(tokens: &[Token], path: &[u8]) -> bool {
    let Some((token, rest)) = tokens.split_first() else { return path.is_empty() };
    match token {
        Token::Byte(byte) => path.split_first().is_some_and(|(first, after)| first == byte && glob(rest, after)),
        Token::One => one(path, |character| character != '/').is_some_and(|after| glob(rest, after)),
        Token::Class { negated, ranges } => {
            let inside = |character| ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated;
            one(path, inside).is_some_and(|after| glob(rest, after))
        }
        Token::Many => {
            let segment = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            (0..=segment).any(|length| glob(rest, &path[length..]))
        }
        Token::Folders => {
            let after_slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
            glob(rest, path) || after_slashes.into_iter().any(|at| glob(rest, &path[at..]))
        }
        Token::Rest => true,
    }
}

fn one(path: &[u8], accepts: impl Fn(char) -> bool) -> Option<&[u8]> {
    let (character, length) = first_character(path)?;
    accepts(character).then(|| &path[length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a file is excluded, judged from the top down.
    fn excluded(text: &str, path: &str) -> bool {
        let ignore = Ignore::parse(text.as_bytes()).expect("a good ignore file");
        let mut matched = Matched::default();
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends {
            (_, matched) = ignore.judge(&path.as_bytes()[..end], &matched);
        }
        ignore.judge(path.as_bytes(), &matched).0
    }

    #[test]
    fn patterns_are_rooted() {
        assert!(excluded("*.log", "a.log") && !excluded("*.log", "b/a.log") && excluded("**/*.log", "b/c/a.log"));
        assert!(excluded("/a", "a") && excluded("./a/", "a") && excluded("x/../a", "a"));
        assert!(excluded("**/node_modules", "node_modules/x") && excluded("**/node_modules", "a/node_modules/b/c"));
    }

    #[test]
    fn the_last_match_wins_even_below_an_excluded_directory() {
        let text = "docs\n!docs/README.md\ndocs/READ*\n!**/KEEP";
        assert!(excluded(text, "docs/x") && excluded(text, "docs/README.md") && !excluded(text, "docs/a/KEEP"));
        assert!(!excluded("*\n!src", "src/a/b") && excluded("*\n!src", "other/a"));
    }

    #[test]
    fn lines_are_read_as_docker_reads_them() {
        assert!(excluded("\u{feff}a\r\n", "a") && excluded("  a  ", "a") && !excluded("#a", "#a"));
        assert!(excluded(" #a", "#a"), "a comment begins in the first column");
        assert!(!excluded("a\n! a", "a") && !excluded("\n\n", "a"));
    }

    #[test]
    fn globs_have_their_corners() {
        assert!(excluded("a/**", "a/b/c") && !excluded("a/**", "a"));
        assert!(excluded("a/**/z", "a/z") && excluded("a/**/z", "a/b/c/z") && !excluded("a/**/z", "az"));
        assert!(excluded("**.log", "b/a.log") && excluded("**", "anything/at/all"));
        assert!(excluded("[a-c]?", "bé") && !excluded("[^a-c]x", "bx") && excluded("[^a-c]x", "dx"));
        assert!(excluded(r"\*", "*") && !excluded(r"\*", "a") && !excluded("a?", "a/"));
    }

    #[test]
    fn impossible_patterns_are_named() {
        for (text, line) in [("a\n[", 2), ("!", 1), ("[]", 1), ("a\\", 1), ("[b-a]", 1), ("[-]", 1)] {
            assert_eq!(Ignore::parse(text.as_bytes()).expect_err(text).line, line);
        }
    }

    #[test]
    fn a_directory_is_left_alone_when_nothing_below_can_come_back() {
        let ignore = Ignore::parse(b"*\n!src/main/**").expect("good");
        assert!(ignore.may_include_below(b"src") && ignore.may_include_below(b"src/main") && !ignore.may_include_below(b"srcs"));
        assert!(!Ignore::parse(b"*").expect("good").may_include_below(b"src"));
        assert!(Ignore::parse(b"*\n!**/x").expect("good").may_include_below(b"src"));
    }
}
