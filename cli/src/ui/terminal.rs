//! What kind of terminal there is, decided once: colour or not, live or calm, how wide.
//!
//! The order of precedence is the usual one: `--color`, then `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR=0` and `TERM=dumb`, then whether it is a terminal.

use std::io::IsTerminal;

use console::Style;

use crate::args::ColorWhen;
use crate::variables::{CLICOLOR, CLICOLOR_FORCE, Env, NO_COLOR, TERM, is_set};

/// What the two streams can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Colours for stdout.
    pub out: Paint,
    /// Colours for stderr.
    pub err: Paint,
    /// stderr is redrawn in place.
    pub live: bool,
    /// Columns for the answer.
    pub width: usize,
}

/// Columns when stdout is no terminal: whoever reads a file can scroll, and a log that is cut is lost.
const WIDTH: usize = 10_000;

impl Terminal {
    /// Looks at the streams.
    pub(crate) fn detect(when: ColorWhen, env: &Env) -> Self {
        let found = Self::decide(when, env, std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let width = console::Term::stdout().size_checked().map_or(WIDTH, |(_, width)| width.into());
        Self { width, ..found }
    }

    fn decide(when: ColorWhen, env: &Env, out: bool, err: bool) -> Self {
        let dumb = env.get(TERM).is_some_and(|term| term == "dumb");
        let colour = |terminal: bool| match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto if is_set(env, NO_COLOR) => false,
            ColorWhen::Auto if env.get(CLICOLOR_FORCE).is_some_and(|value| !value.is_empty() && value != "0") => true,
            ColorWhen::Auto if dumb || env.get(CLICOLOR).is_some_and(|value| value == "0") => false,
            ColorWhen::Auto => terminal,
        };
        Self { out: Paint(colour(out)), err: Paint(colour(err)), live: err && !dumb, width: WIDTH }
    }
}

/// Puts colour on words, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(pub bool);

impl Paint {
    fn put(self, style: Style, text: &str) -> String {
        if self.0 { style.force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
    }

    /// What went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.put(Style::new().green(), text)
    }

    /// What went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.put(Style::new().red().bold(), text)
    }

    /// What to look at.
    pub(crate) fn odd(self, text: &str) -> String {
        self.put(Style::new().yellow(), text)
    }

    /// A heading.
    pub(crate) fn strong(self, text: &str) -> String {
        self.put(Style::new().bold(), text)
    }

    /// What is there for completeness.
    pub(crate) fn faint(self, text: &str) -> String {
        self.put(Style::new().dim(), text)
    }
}

/// Text of others made fit for our terminal: escape sequences, control characters and marks that turn the direction of writing taken out, tabs and line
/// ends kept.
pub(crate) fn tame(text: &str) -> String {
    let plain = console::strip_ansi_codes(text);
    plain.replace("\r\n", "\n").chars().filter(|c| is_harmless(*c)).collect()
}

fn is_harmless(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !turns && (!c.is_control() || matches!(c, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(when: ColorWhen, env: &[(&str, &str)], terminal: bool) -> (bool, bool) {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = Terminal::decide(when, &env, terminal, terminal);
        (found.err.0, found.live)
    }

    #[test]
    fn colour_follows_the_conventions() {
        assert_eq!(decide(ColorWhen::Auto, &[], true), (true, true));
        assert_eq!(decide(ColorWhen::Auto, &[], false), (false, false));
        assert_eq!(decide(ColorWhen::Auto, &[("NO_COLOR", "1")], true), (false, true));
        assert_eq!(decide(ColorWhen::Auto, &[("NO_COLOR", "")], true), (true, true));
        assert_eq!(decide(ColorWhen::Auto, &[("CLICOLOR", "0")], true), (false, true));
        assert_eq!(decide(ColorWhen::Auto, &[("CLICOLOR_FORCE", "1")], false), (true, false));
        assert_eq!(decide(ColorWhen::Auto, &[("TERM", "dumb")], true), (false, false));
        assert_eq!(decide(ColorWhen::Always, &[("NO_COLOR", "1")], false), (true, false));
        assert_eq!(decide(ColorWhen::Never, &[("CLICOLOR_FORCE", "1")], true), (false, true));
    }

    #[test]
    fn what_tests_print_cannot_move_our_cursor() {
        assert_eq!(tame("a\x1b[2J\x1b[31mb\x1b[0m\x07\tc\r\nd\re"), "ab\tc\nde");
    }
}
