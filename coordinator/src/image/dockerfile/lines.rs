//! A Dockerfile's lines, put together into instructions: directives, comments, continuations, here-documents. Words remember where they stand.

use std::collections::BTreeMap;
use std::ops::Range;

/// One instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) keyword: String,
    /// `--name=value` before the rest.
    options: Vec<Flag>,
    /// What follows, split at blanks.
    pub(super) words: Vec<Word>,
    /// What follows, as it is, lines put together.
    pub(super) rest: String,
    /// Its bytes in the file, if it is all in one line.
    pub(super) line: Option<Range<usize>>,
}

/// A word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Its bytes in the file; nothing if it goes over the end of a line.
    pub(super) place: Option<Range<usize>>,
}

/// `--name=value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Flag {
    name: String,
    value: Word,
}

/// Lines that were put together, and where their parts come from.
#[derive(Debug, Default)]
struct Logical {
    text: String,
    /// Where a part begins here, where in the file, and how long it is.
    parts: Vec<(usize, usize, usize)>,
}

impl Logical {
    fn push(&mut self, part: &str, at: usize) {
        self.parts.push((self.text.len(), at, part.len()));
        self.text.push_str(part);
    }

    /// Bytes of the file.
    fn place(&self, here: Range<usize>) -> Option<Range<usize>> {
        let within = |(begin, _, length): &&(usize, usize, usize)| *begin <= here.start && here.end <= begin + length;
        let (begin, at, _) = self.parts.iter().find(within)?;
        Some(at + here.start - begin..at + here.end - begin)
    }

    /// Words with their places.
    fn words(&self) -> impl Iterator<Item = (Word, usize)> {
        let begin = self.text.as_ptr() as usize;
        self.text.split_whitespace().map(move |word| {
            let at = word.as_ptr() as usize - begin;
            (Word { text: word.to_owned(), place: self.place(at..at + word.len()) }, at)
        })
    }
}

impl Instruction {
    fn parse(line: &Logical) -> Option<Self> {
        let mut words = line.words().peekable();
        let keyword = words.next()?.0.text.to_ascii_uppercase();
        let mut options = Vec::new();
        while let Some((word, _)) = words.next_if(|(word, _)| word.text.starts_with("--")) {
            options.push(flag(&word));
        }
        let rest = words.peek().map(|(_, at)| line.text[*at..].trim_end().to_owned()).unwrap_or_default();
        let place = match line.parts.as_slice() {
            [(_, at, length)] => Some(*at..at + length),
            _ => None,
        };
        Some(Self { keyword, options, words: words.map(|(word, _)| word).collect(), rest, line: place })
    }

    pub(super) fn flag(&self, name: &str) -> Option<&Word> {
        self.options.iter().find(|flag| flag.name == name).map(|flag| &flag.value)
    }

    pub(super) fn flags<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Word> {
        self.options.iter().filter(move |flag| flag.name == name).map(|flag| &flag.value)
    }

    pub(super) fn option_names(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|flag| flag.name.as_str())
    }

    /// `FROM image AS name`.
    pub(super) fn stage_name(&self) -> Option<String> {
        match self.words.as_slice() {
            [_, word, name, ..] if word.text.eq_ignore_ascii_case("as") => Some(name.text.clone()),
            _ => None,
        }
    }

    /// Words that end the here-documents which begin in this instruction, and whether their tabs are stripped.
    fn documents(&self) -> Vec<(String, bool)> {
        if !["RUN", "COPY", "ADD"].contains(&self.keyword.as_str()) {
            return Vec::new();
        }
        self.words.iter().filter_map(|word| document(&word.text)).collect()
    }
}

/// `--name=value`, the value without quotes around it.
fn flag(word: &Word) -> Flag {
    let (name, value) = word.text[2..].split_once('=').unwrap_or((&word.text[2..], ""));
    let plain = value.trim_start_matches(['"', '\'']);
    let begin = word.text.len() - plain.len();
    let plain = plain.trim_end_matches(['"', '\'']);
    let place = word.place.as_ref().map(|place| place.start + begin..place.start + begin + plain.len());
    Flag { name: name.to_owned(), value: Word { text: plain.to_owned(), place } }
}

/// The word that ends a here-document, and whether its tabs are stripped.
pub(super) fn document(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|character: char| character.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strips) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let name = rest.trim_matches(['"', '\'']);
    let plain = !name.is_empty() && name.chars().all(|character| character.is_alphanumeric() || character == '_' || character == '.');
    plain.then(|| (name.to_owned(), strips))
}

/// Directives by name, and the instructions.
pub(super) fn read(text: &str) -> (BTreeMap<String, Word>, Vec<Instruction>) {
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let directives = directives(text, start);
    let escape = directives.get("escape").and_then(|value| value.text.chars().next()).unwrap_or('\\');
    let mut instructions = Vec::new();
    let mut lines = lines(text, start);
    let mut logical = Logical::default();
    while let Some((at, line)) = lines.next() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(part) = line.trim_end().strip_suffix(escape) {
            logical.push(part, at);
            continue;
        }
        logical.push(line, at);
        let Some(instruction) = Instruction::parse(&std::mem::take(&mut logical)) else { continue };
        for (end, strips) in instruction.documents() {
            let ends = |line: &str| if strips { line.trim_start_matches('\t') == end } else { line == end };
            lines.by_ref().find(|(_, line)| ends(line));
        }
        instructions.push(instruction);
    }
    instructions.extend(Instruction::parse(&logical));
    (directives, instructions)
}

/// Lines without their ends, and where they begin.
fn lines(text: &str, start: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text[start..].split_inclusive('\n').map(move |line| {
        let begin = at;
        at += line.len();
        let line = line.strip_suffix('\n').unwrap_or(line);
        (begin, line.strip_suffix('\r').unwrap_or(line))
    })
}

/// `# name = value` in the first lines, before anything else.
fn directives(text: &str, start: usize) -> BTreeMap<String, Word> {
    let parse = |(at, line): (usize, &str)| {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let known = ["syntax", "escape", "check"].contains(&name.as_str());
        let value = value.trim();
        let begin = at + value.as_ptr() as usize - line.as_ptr() as usize;
        known.then(|| (name, Word { text: value.to_owned(), place: Some(begin..begin + value.len()) }))
    };
    lines(text, start).map_while(parse).collect()
}
