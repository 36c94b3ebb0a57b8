//! A Dockerfile's lines, put together into instructions: directives, comments, continuations, here-documents.

use std::collections::BTreeMap;

/// One instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) keyword: String,
    /// `--name=value` before the rest.
    options: Vec<(String, String)>,
    /// What follows, split at blanks.
    pub(super) words: Vec<String>,
}

impl Instruction {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().map(str::to_owned).peekable();
        let keyword = words.next()?.to_ascii_uppercase();
        let mut options = Vec::new();
        while let Some(word) = words.next_if(|word| word.starts_with("--")) {
            let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
            options.push((name.to_owned(), value.trim_matches(['"', '\'']).to_owned()));
        }
        Some(Self { keyword, options, words: words.collect() })
    }

    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flags<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// `FROM image AS name`.
    pub(super) fn stage_name(&self) -> Option<String> {
        match self.words.as_slice() {
            [_, word, name, ..] if word.eq_ignore_ascii_case("as") => Some(name.clone()),
            _ => None,
        }
    }

    /// Words that end the here-documents which begin in this instruction, and whether their tabs are stripped.
    fn documents(&self) -> Vec<(String, bool)> {
        if !["RUN", "COPY", "ADD"].contains(&self.keyword.as_str()) {
            return Vec::new();
        }
        self.words.iter().filter_map(|word| document(word)).collect()
    }
}

fn document(word: &str) -> Option<(String, bool)> {
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
pub(super) fn read(text: &str) -> (BTreeMap<String, String>, Vec<Instruction>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = directives(text);
    let escape = directives.get("escape").and_then(|value| value.chars().next()).unwrap_or('\\');
    let mut instructions = Vec::new();
    let mut lines = text.lines();
    let mut logical = String::new();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(part) = line.trim_end().strip_suffix(escape) {
            logical.push_str(part);
            continue;
        }
        logical.push_str(line);
        let Some(instruction) = Instruction::parse(&std::mem::take(&mut logical)) else { continue };
        for (end, strips) in instruction.documents() {
            let ends = |line: &str| if strips { line.trim_start_matches('\t') == end } else { line == end };
            lines.by_ref().find(|line| ends(line));
        }
        instructions.push(instruction);
    }
    instructions.extend(Instruction::parse(&logical));
    (directives, instructions)
}

/// `# name = value` in the first lines, before anything else.
fn directives(text: &str) -> BTreeMap<String, String> {
    let parse = |line: &str| {
        let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let known = ["syntax", "escape", "check"].contains(&name.as_str());
        known.then(|| (name, value.trim().to_owned()))
    };
    text.lines().map_while(parse).collect()
}
