//! A list of checks: what was looked at, how it is, and what to do about it.

use std::fmt::Write as _;

use super::error::Failure;
use super::exit::Exit;
use super::terminal::{Paint, tame};

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub text: String,
    /// Worth a look.
    pub odd: bool,
    /// It is in the way of a run, which would end with this.
    pub exit: Option<Exit>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    /// As it should be.
    pub(crate) fn good(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, text: text.into(), odd: false, exit: None, hint: None }
    }

    /// Worth a look.
    pub(crate) fn odd(what: &'static str, text: impl Into<String>) -> Self {
        Self { odd: true, ..Self::good(what, text) }
    }

    /// In the way.
    pub(crate) fn bad(what: &'static str, text: impl Into<String>, exit: Exit) -> Self {
        Self { exit: Some(exit), ..Self::good(what, text) }
    }

    /// In the way, with causes.
    pub(crate) fn failed(what: &'static str, failure: &Failure, exit: Exit) -> Self {
        let told = failure.told.first();
        let text = told.map(|told| [std::slice::from_ref(&told.what), &told.causes].concat().join(": ")).unwrap_or_default();
        Self { hint: told.and_then(|told| told.hint.clone()), ..Self::bad(what, text, exit) }
    }

    /// With advice.
    pub(crate) fn with(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A line each, advice below.
pub(crate) fn list(checks: &[Check], paint: Paint) -> String {
    let mut out = String::new();
    for check in checks {
        let mark = match (check.exit, check.odd) {
            (Some(_), _) => paint.bad(" bad"),
            (None, true) => paint.odd("look"),
            (None, false) => paint.good("  ok"),
        };
        // Writing into a string cannot fail.
        let _written = writeln!(out, "{mark}  {:<8} {}", check.what, tame(&check.text));
        if let Some(hint) = &check.hint {
            let _written = writeln!(out, "      {:<8} {}", "", paint.faint(&format!("hint: {}", tame(hint))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_out_and_says_what_to_do() {
        let checks = [
            Check::good("splitci", "0.1.0, with workers for amd64"),
            Check::odd("context", "/src: 9 files, 2.1 GiB").with("exclude `data` in .dockerignore"),
            Check::bad("engine", "cannot connect", Exit::NO_VERDICT).with("use `--engine process`"),
        ];
        insta::assert_snapshot!(list(&checks, Paint(false)), @r"
          ok  splitci  0.1.0, with workers for amd64
        look  context  /src: 9 files, 2.1 GiB
                       hint: exclude `data` in .dockerignore
         bad  engine   cannot connect
                       hint: use `--engine process`
        ");
    }
}
