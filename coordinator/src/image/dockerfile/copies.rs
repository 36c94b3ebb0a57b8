//! Copies of a whole directory: they come to the same when they are made one after the other, each of some of its files.

use std::ops::Range;

use super::lines::Instruction;
use super::reach::{Reach, plain};

/// A `COPY` of one directory of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeCopy {
    /// The directory, or whatever has that name; empty for all of the context.
    pub directory: Vec<u8>,
    /// The instruction in the file.
    line: Range<usize>,
    /// What is copied, in the file.
    source: Range<usize>,
}

impl WholeCopy {
    /// What it takes from the context.
    pub fn reach(&self) -> Reach {
        if self.directory.is_empty() { Reach::Everything } else { Reach::of(self.directory.clone()) }
    }
}

/// Options with which a copy in two steps is the same.
const KNOWN: &[&str] = &["chown", "chmod"];

/// The copy, if this is one, and stands in a line of its own.
pub(super) fn whole(instruction: &Instruction) -> Option<WholeCopy> {
    let [source, target] = instruction.words.as_slice() else { return None };
    let plainly = instruction.keyword == "COPY" && instruction.option_names().all(|name| KNOWN.contains(&name));
    // A list of texts, or a text in quotes, may be anything.
    if !plainly || source.text.starts_with('[') || target.text.contains(['"', '\'', '\\', '`', '<']) {
        return None;
    }
    Some(WholeCopy { directory: plain(&source.text)?, line: instruction.line.clone()?, source: source.place.clone()? })
}

/// The Dockerfile in which each of these is copied from several places, one after the other.
pub fn copied_from(text: &[u8], copies: &[(WholeCopy, Vec<Vec<u8>>)]) -> Vec<u8> {
    let mut copies: Vec<_> = copies.iter().collect();
    copies.sort_by_key(|(copy, _)| copy.line.start);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (WholeCopy { line, source, .. }, places) in copies {
        out.extend_from_slice(&text[at..line.start]);
        let lines: Vec<Vec<u8>> =
            places.iter().map(|place| [&text[line.start..source.start], place, &text[source.end..line.end]].concat()).collect();
        out.extend_from_slice(&lines.join(&b'\n'));
        at = line.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}
