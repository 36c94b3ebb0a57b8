//! Errors as people read them, in four parts: what failed, the chain of causes, where, and a hint that names the exact command or key.

use std::error::Error;
use std::fmt::Write as _;

use splitci_coordinator::config::{ConfigError, Fault, Place};

use super::exit::Exit;
use super::terminal::Paint;

/// Why a command did not do what it was asked: one or more things to tell, and how the program ends.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The status to end with.
    pub exit: Exit,
    /// What to tell.
    pub told: Vec<Told>,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// What failed.
    pub what: String,
    /// Why, from the nearest cause to the farthest.
    pub causes: Vec<String>,
    /// File, line and key.
    pub place: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// An error with its chain.
    pub(crate) fn new(exit: Exit, error: &dyn Error, hint: Option<String>) -> Self {
        Self { exit, told: vec![Told { hint, ..Told::chain(error) }] }
    }
}

impl Failure {
    /// An error of our own words.
    pub(crate) fn plain(exit: Exit, what: &str, hint: &str) -> Self {
        Self { exit, told: vec![Told { what: what.into(), causes: Vec::new(), place: None, hint: Some(hint.into()) }] }
    }
}

impl Told {
    /// An error's message and those of its causes; a cause that only repeats is left out.
    fn chain(error: &dyn Error) -> Self {
        let mut causes: Vec<String> = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if causes.last().is_none_or(|last| !last.ends_with(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        Self { what: error.to_string(), causes, place: None, hint: None }
    }

    fn fault(fault: &Fault) -> Self {
        let place = (fault.place != Place::Nowhere).then(|| fault.place.to_string());
        Self { place, hint: fault.kind.hint(), ..Self::chain(&fault.kind) }
    }

    /// The four parts, a line each.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut out = format!("{} {}\n", paint.bad("error:"), self.what);
        let mut line = |label: &str, text: &str| {
            let text = text.trim_end().replace('\n', "\n         ");
            // Writing into a string cannot fail.
            let _written = writeln!(out, "{} {text}", paint.faint(&format!("{label:>7}:")));
        };
        for cause in &self.causes {
            line("cause", cause);
        }
        if let Some(place) = &self.place {
            line("where", place);
        }
        if let Some(hint) = &self.hint {
            line("hint", hint);
        }
        out
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: Exit::USAGE, told: error.faults.iter().map(Told::fault).collect() }
    }
}

impl Failure {
    /// Everything, with the number of errors when there are several.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut out: String = self.told.iter().map(|told| told.render(paint)).collect::<Vec<_>>().join("\n");
        if self.told.len() > 1 {
            let _written = writeln!(out, "\n{} errors", self.told.len());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot build the test image")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("step 4 of 9 failed: `pip install -r requirements.txt` exited with 1\nERROR: no matching distribution")]
    struct Inner;

    #[test]
    fn an_error_has_four_parts() {
        let mut failure = Failure::new(Exit(5), &Outer(Inner), Some("show the whole log with `splitci report last`".into()));
        failure.told[0].place = Some("splitci.toml:12, key `image.dockerfile`".into());
        insta::assert_snapshot!(failure.render(Paint(false)), @r"
        error: cannot build the test image
          cause: step 4 of 9 failed: `pip install -r requirements.txt` exited with 1
                 ERROR: no matching distribution
          where: splitci.toml:12, key `image.dockerfile`
           hint: show the whole log with `splitci report last`
        ");
    }

    #[test]
    fn several_errors_are_counted() {
        let mut flags = splitci_coordinator::config::Flags::default();
        flags.set("run.shards", "--shards", "none");
        flags.set("run.engine", "--engine", "dokcer");
        let (_, faults) = flags.finish();
        let failure = Failure::from(faults.finish(()).expect_err("faults"));
        insta::assert_snapshot!(failure.render(Paint(false)), @r"
        error: expected a whole number from 1 to 1000, found `none`
          where: command line, `--shards`

        error: expected `auto`, `docker` or `process`, found `dokcer`
          where: command line, `--engine`
           hint: did you mean `docker`?

        2 errors
        ");
    }
}
