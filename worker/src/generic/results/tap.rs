//! TAP 13 and 14: a plan, a line a test, directives, and what is indented is detail. <https://testanything.org/tap-version-14-specification.html>
//!
//! The plan must be there and be kept: numbers from 1 to its end, each once. Lines of subtests are their parent's business: it has a line of its own.

use super::{Case, Report, first_line};
use crate::protocol::driver::Outcome;

pub(super) fn read(text: &str) -> Result<Report, String> {
    let mut stream = Stream::default();
    for line in text.lines() {
        stream.line(line)?;
    }
    stream.finish()
}

#[derive(Debug, Default)]
struct Stream {
    plan: Option<usize>,
    skipped: Option<String>,
    cases: Vec<Case>,
    yaml: bool,
    bailed: Option<String>,
}

impl Stream {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with([' ', '\t']) {
            self.detail(line);
            return Ok(());
        }
        self.yaml = false;
        if let Some(range) = line.strip_prefix("1..") {
            return self.planned(range);
        }
        if let Some(reason) = line.strip_prefix("Bail out!") {
            self.bailed.get_or_insert(reason.trim().to_owned());
        } else if let Some(rest) = after_word(line, "not ok") {
            self.test(rest, false)?;
        } else if let Some(rest) = after_word(line, "ok") {
            self.test(rest, true)?;
        } else if let Some(comment) = line.strip_prefix('#').filter(|_| self.cases.last().is_some_and(|case| case.outcome.is_bad())) {
            self.append(comment.strip_prefix(' ').unwrap_or(comment));
        }
        Ok(())
    }

    /// An indented line: a test's diagnosis, or a subtest's.
    fn detail(&mut self, line: &str) {
        let trimmed = line.trim();
        match trimmed {
            "---" => self.yaml = true,
            "..." if self.yaml => self.yaml = false,
            _ => {
                if let (true, Some(ms)) = (self.yaml, trimmed.strip_prefix("duration_ms:").and_then(|ms| ms.trim().parse::<f64>().ok()))
                    && let Some(case) = self.cases.last_mut()
                {
                    case.micros = super::micros(ms / 1e3);
                }
                self.append(line);
            }
        }
    }

    fn append(&mut self, line: &str) {
        if let Some(case) = self.cases.last_mut() {
            case.details.push_str(line);
            case.details.push('\n');
        }
    }

    fn planned(&mut self, range: &str) -> Result<(), String> {
        let (count, comment) = range.split_once('#').map_or((range, None), |(count, comment)| (count, Some(comment)));
        let count = count.trim().parse().map_err(|_| format!("its report has the plan `1..{range}`, which is none"))?;
        if self.plan.replace(count).is_some() {
            return Err("its report has two plans".to_owned());
        }
        if count == 0 {
            self.skipped = comment.map(|comment| comment.trim().to_owned());
        }
        Ok(())
    }

    fn test(&mut self, rest: &str, ok: bool) -> Result<(), String> {
        let rest = rest.trim_start();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let expected = self.cases.len() + 1;
        if digits > 0 && rest[..digits].parse() != Ok(expected) {
            return Err(format!("its report has the test {} where test {expected} should come", &rest[..digits]));
        }
        let (name, directive) = split_directive(rest[digits..].trim_start().trim_start_matches("- "));
        let word = directive.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let outcome = match (word.as_str(), ok) {
            (word, _) if word.starts_with("skip") => Outcome::Skipped,
            ("todo", false) => Outcome::ExpectedFailure,
            ("todo", true) => Outcome::UnexpectedPass,
            (_, true) => Outcome::Passed,
            (_, false) => Outcome::Failed,
        };
        let name = if name.is_empty() { format!("test {expected}") } else { name };
        self.cases.push(Case { message: directive.to_owned(), ..Case::named(name, outcome) });
        Ok(())
    }

    fn finish(mut self) -> Result<Report, String> {
        if let Some(reason) = self.bailed {
            return Err(format!("it bailed out: {reason}"));
        }
        let Some(plan) = self.plan else { return Err("its report has no plan, so it may have been cut off".to_owned()) };
        if plan != self.cases.len() {
            return Err(format!("its report has a plan for {plan} tests and shows {}", self.cases.len()));
        }
        if let Some(reason) = self.skipped {
            return Ok(Report { cases: vec![Case::of_unit(Outcome::Skipped, reason)], ..Report::default() });
        }
        for case in &mut self.cases {
            if case.outcome.is_bad() && case.message.is_empty() {
                case.message = first_line(&case.details);
            }
        }
        Ok(Report { cases: self.cases, ..Report::default() })
    }
}

fn after_word<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace()))
}

/// The name, and what stands behind the first ` #` that is not escaped.
fn split_directive(text: &str) -> (String, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '#' if !escaped && (at == 0 || text[..at].ends_with(char::is_whitespace)) => {
                let directive = text[at + 1..].trim();
                let known = ["skip", "todo"].iter().any(|word| directive.to_ascii_lowercase().starts_with(word));
                if known {
                    return (unescape(text[..at].trim_end()), directive);
                }
            }
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (unescape(text.trim_end()), "")
}

fn unescape(name: &str) -> String {
    name.replace("\\#", "#").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_directives_are_read() {
        let text = "TAP version 14\n1..6\nok 1 - adds\nnot ok 2 - divides \\# \n  ---\n  message: by zero\n  duration_ms: 1.5\n  ...\n\
                    ok 3 # SKIP no disk\nnot ok 4 later # TODO soon\nok 5 - now # todo\n    ok 1 - inner\n    1..1\nok 6 - costs #5\n# end\n";
        let cases = read(text).expect("a report").cases;
        let all: Vec<_> = cases.iter().map(|case| (case.name.as_str(), case.outcome)).collect();
        let want = [
            ("adds", Outcome::Passed),
            ("divides #", Outcome::Failed),
            ("test 3", Outcome::Skipped),
            ("later", Outcome::ExpectedFailure),
            ("now", Outcome::UnexpectedPass),
            ("costs #5", Outcome::Passed),
        ];
        assert_eq!(all, want);
        assert_eq!((cases[1].message.as_str(), cases[1].micros), ("message: by zero", 1_500));
    }

    #[test]
    fn a_plan_must_be_there_and_be_kept() {
        for broken in [
            "",
            "ok 1\n",
            "1..2\nok 1\n",
            "1..1\nok 1\nok 2\n",
            "1..1\nok 2\n",
            "1..2\nok 1\nok 1\n",
            "1..1\n1..1\nok 1\n",
            "1..1\nok 1\nBail out! x\n",
        ] {
            assert!(read(broken).is_err(), "{broken:?}");
        }
        assert_eq!(read("ok\nok\n1..2\n").expect("a late plan").cases.len(), 2);
        let skipped = read("1..0 # SKIP not here\n").expect("skipped").cases;
        assert_eq!((skipped[0].outcome, skipped[0].message.as_str()), (Outcome::Skipped, "SKIP not here"));
        assert_eq!(read("1..0\n").expect("nothing").cases, []);
    }
}
