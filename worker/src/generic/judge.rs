//! What a command proved of its units. Pure.
//!
//! A unit is proven if the report is whole, names it, and nothing else contradicts: no trouble outside of a test, no case that nobody asked for, no status
//! that its tests do not explain. Everything that is not proven is an error with its reason. `doubt` says that a run of the unit alone may tell
//! more: in a command for several units one may spoil it for the others.

use std::path::{Component, Path, PathBuf};

use super::command::{End, Ran};
use super::results::{Case, Report, read};
use super::template::class;
use crate::protocol::driver::Outcome;
use crate::protocol::recipe::{Naming, Recipe, Results};

/// A unit and what is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) cases: Vec<Case>,
    pub(super) doubt: bool,
}

impl Judged {
    /// Whether one of its tests failed by the report's own word.
    pub(super) fn is_bad(&self) -> bool {
        self.cases.iter().any(|case| case.outcome.is_bad() && !case.name.is_empty())
    }

    fn doubtful(ran: &Ran, reason: &str) -> Self {
        let case = Case::of_unit(Outcome::Errored, format!("the command {}; {reason}", ran.end));
        let details = format!("{}\n\n{}", ran.command, ran.said.trim_end());
        Self { cases: vec![Case { details, ..case }], doubt: true }
    }
}

/// Judges a command. `listed` is every unit of the suite.
pub(super) fn judge(recipe: &Recipe, units: &[&str], listed: &[String], ran: &Ran) -> Vec<Judged> {
    let all = |reason: &str| units.iter().map(|_| Judged::doubtful(ran, reason)).collect();
    if matches!(ran.end, End::NotStarted(_)) {
        return all("nothing ran");
    }
    if recipe.results == Results::Exit {
        return units.iter().map(|_| by_status(ran, units.len())).collect();
    }
    let texts = match &ran.reports {
        Ok(texts) => texts,
        Err(_) if says_none(recipe, units, ran) => return vec![Judged { cases: Vec::new(), doubt: false }],
        Err(reason) => return all(reason),
    };
    let mut report = Report::default();
    for text in texts {
        match read(recipe.results, text) {
            Ok(read) => {
                report.cases.extend(read.cases);
                report.troubles.extend(read.troubles);
                report.empty.extend(read.empty);
            }
            Err(reason) => return all(&reason),
        }
    }
    if report.cases.is_empty() && report.troubles.is_empty() && says_none(recipe, units, ran) {
        return vec![Judged { cases: Vec::new(), doubt: false }];
    }
    by_report(recipe, units, listed, ran, report)
}

/// Whether the tool itself says of this one unit that it has no tests. Silence is something else.
fn says_none(recipe: &Recipe, units: &[&str], ran: &Ran) -> bool {
    let (Some(nothing), [unit]) = (&recipe.nothing, units) else { return false };
    ran.end == End::Status(nothing.status) && ran.said.contains(&nothing.words.replace("{units}", unit))
}

/// Several units with one status: a good one is everybody's, a bad one is nobody's yet.
fn by_status(ran: &Ran, units: usize) -> Judged {
    let micros = u64::try_from(ran.took.as_micros()).unwrap_or(u64::MAX) / units.max(1) as u64;
    let passed = ran.end == End::Status(0);
    let case = if passed {
        Case::of_unit(Outcome::Passed, String::new())
    } else {
        Case::of_unit(Outcome::Failed, format!("the command {}", ran.end))
    };
    let details = if passed { String::new() } else { ran.said.clone() };
    Judged { cases: vec![Case { micros, details, ..case }], doubt: !passed }
}

fn by_report(recipe: &Recipe, units: &[&str], listed: &[String], ran: &Ran, report: Report) -> Vec<Judged> {
    let mut cases: Vec<Vec<Case>> = units.iter().map(|_| Vec::new()).collect();
    let mut stray = Vec::new();
    for case in report.cases {
        match owner(recipe.naming, units, listed, &case) {
            Some(unit) => cases[unit].push(case),
            None => stray.push(case),
        }
    }
    let mut troubles: Vec<Vec<Case>> = units.iter().map(|_| Vec::new()).collect();
    let mut general = Vec::new();
    for trouble in report.troubles {
        match owner(recipe.naming, units, listed, &trouble) {
            Some(unit) => troubles[unit].push(trouble),
            None => general.push(trouble),
        }
    }
    let failed = cases.iter().flatten().chain(troubles.iter().flatten()).any(|case| case.outcome.is_bad());
    let unexplained = ran.end != End::Status(0) && !failed;
    let share = share(recipe, ran, cases.iter().flatten());
    let good = ran.end == End::Status(0) && stray.is_empty() && general.is_empty();
    let judged = units.iter().zip(cases.into_iter().zip(troubles)).map(|(unit, (cases, troubles))| {
        let said_empty = || report.empty.iter().any(|group| group == unit || (group.is_empty() && units.len() == 1));
        if good && cases.is_empty() && troubles.is_empty() && said_empty() {
            return Judged { cases, doubt: false };
        }
        if cases.is_empty() && troubles.is_empty() && general.is_empty() {
            return Judged::doubtful(ran, "its report says nothing of this unit");
        }
        let mut judged = Judged { cases, doubt: !troubles.is_empty() || !general.is_empty() };
        for case in judged.cases.iter_mut().filter(|_| share > 0) {
            case.micros = share;
        }
        judged.cases.extend(troubles.into_iter().chain(general.iter().cloned()).map(|trouble| Case {
            name: String::new(),
            class: String::new(),
            ..trouble
        }));
        if let Some(case) = stray.first() {
            let what = case.file.as_deref().filter(|file| !file.is_empty()).unwrap_or(&case.name);
            judged.cases.extend(Judged::doubtful(ran, &format!("its report tells of `{what}`, which was not asked for")).cases);
            judged.doubt = true;
        }
        if unexplained {
            judged.cases.extend(Judged::doubtful(ran, "no test of its report failed").cases);
            judged.doubt = true;
        }
        judged
    });
    judged.collect()
}

/// Most of the time of a command for several units is its start, which is no test's: more than this is not charged to one that has no time of its own.
const MOST_SHARE: u64 = 1_000;

/// A test's share of the command's time, where the tool gives no times: without any, nothing could be planned.
fn share<'a>(recipe: &Recipe, ran: &Ran, cases: impl Iterator<Item = &'a Case> + Clone) -> u64 {
    let told = cases.clone().any(|case| case.micros > 0);
    let tests = cases.count() as u64;
    let most = if recipe.batch > 1 { MOST_SHARE } else { u64::MAX };
    if told || tests == 0 { 0 } else { (u64::try_from(ran.took.as_micros()).unwrap_or(u64::MAX) / tests).min(most) }
}

/// Which of the units a case is of; none if it is of none of them.
fn owner(naming: Naming, units: &[&str], listed: &[String], case: &Case) -> Option<usize> {
    let alone = (units.len() == 1).then_some(0);
    let place = |is_it: &dyn Fn(&str) -> bool| units.iter().position(|unit| is_it(unit));
    match naming {
        Naming::Alone => alone,
        Naming::Test => place(&|unit| unit == case.name).or_else(|| alone.filter(|_| case.name.is_empty())),
        Naming::Group => place(&|unit| unit == case.class).or_else(|| alone.filter(|_| case.class.is_empty())),
        Naming::Class => {
            let outer = case.class.split('$').next().unwrap_or_default().split('(').next().unwrap_or_default();
            place(&|unit| class(unit) == outer).or_else(|| alone.filter(|_| !listed.iter().any(|unit| class(unit) == outer)))
        }
        Naming::File => match &case.file {
            Some(file) => {
                let plain = plain(file);
                place(&|unit| is_file(unit, &plain)).or_else(|| alone.filter(|_| !listed.iter().any(|unit| is_file(unit, &plain))))
            }
            None => alone,
        },
    }
}

/// A path relative to the working directory, where it is below it.
fn plain(file: &str) -> PathBuf {
    let file = file.strip_prefix("file://").unwrap_or(file);
    let below = std::env::current_dir().ok().and_then(|here| Path::new(file).strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| PathBuf::from(file)).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

fn is_file(unit: &str, plain: &Path) -> bool {
    Path::new(unit).components().filter(|part| !matches!(part, Component::CurDir)).eq(plain.components())
}

#[cfg(test)]
mod tests;
