//! What is run: one suite, or several that have a table each; their frameworks, commands and paths. Pure.
//!
//! What the command line and the environment say of "the suite" is for the one that runs; where several do, only paths may be given, and each goes to the suite
//! that it lies in. A suite that no path was given for does not run then.

use super::Candidate;
use std::path::{Path, PathBuf};

use super::fault::{FaultKind, Place};
use super::generic::{self, RecipeKeys};
use super::paths::{Bases, relative};
use super::resolve::{Resolver, value};
use super::schema::{Given, Layer, SuiteSection, SuiteTable};
use super::setting::{Items, Paths};
use crate::model::settings::{EngineKind, SuiteSettings};

/// Which frameworks load all of their suite in each shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wholes {
    pub(super) pytest: Option<bool>,
    pub(super) unittest: Option<bool>,
    pub(super) ruby: Option<bool>,
}

impl Wholes {
    /// The suite, with what is said of its framework.
    pub(super) fn of(self, suite: SuiteSettings) -> SuiteSettings {
        let whole = match suite.framework.as_str() {
            "pytest" => self.pytest,
            "unittest" | "django" => self.unittest,
            _ => self.ruby,
        };
        SuiteSettings { whole: whole.unwrap_or(false), ..suite }
    }
}

/// A suite's directory as seen from the project; nothing if it lies outside.
pub(super) fn directory_of(given: &Given<String>, bases: &Bases) -> Option<String> {
    relative(&bases.absolute(&given.place, &given.value), &bases.root)
}

impl Resolver {
    /// The suites that run.
    pub(super) fn suites(
        &mut self,
        (said, tables): (SuiteSection, Vec<SuiteTable>),
        chosen: Option<Given<Items>>,
        kind: EngineKind,
    ) -> Vec<SuiteSettings> {
        self.check_names(&tables);
        let tables = self.choose(tables, chosen);
        let sections: Vec<SuiteSection> = match &tables[..] {
            [] => vec![said],
            [only] => vec![over(said, only.section.clone())],
            _ => self.deal_out(said, tables),
        };
        sections.into_iter().map(|section| self.suite(section, kind)).collect()
    }

    fn check_names(&mut self, tables: &[SuiteTable]) {
        for (at, table) in tables.iter().enumerate() {
            match &table.section.name {
                None => self.faults.push(table.place.clone(), FaultKind::NamelessSuite),
                Some(name) if tables[..at].iter().any(|other| name_of(&other.section) == name.value.0) => {
                    self.faults.push(name.place.clone(), FaultKind::SuiteTwice(name.value.0.clone()));
                }
                Some(_) => {}
            }
        }
    }

    /// Those that were asked for by name; all, if none was.
    fn choose(&mut self, mut tables: Vec<SuiteTable>, chosen: Option<Given<Items>>) -> Vec<SuiteTable> {
        let Some(chosen) = value(chosen).filter(|items| !items.0.is_empty()) else { return tables };
        let known: Vec<String> = tables.iter().map(|table| name_of(&table.section).to_owned()).collect();
        for item in chosen.0.iter().filter(|item| !known.contains(&item.text)) {
            self.faults.push(item.place.clone(), FaultKind::UnknownSuite { name: item.text.clone(), known: known.clone() });
        }
        tables.retain(|table| chosen.0.iter().any(|item| item.text == name_of(&table.section)));
        tables
    }

    /// What was said for this run, where several suites take part.
    fn deal_out(&mut self, said: SuiteSection, tables: Vec<SuiteTable>) -> Vec<SuiteSection> {
        let SuiteSection { name, directory, framework, command, paths, args, prepare, files, list, results, report, batch } = said;
        let places = [
            name.map(|given| given.place),
            directory.map(|given| given.place),
            framework.map(|given| given.place),
            command.map(|given| given.place),
            args.map(|given| given.place),
            prepare.map(|given| given.place),
            files.map(|given| given.place),
            list.map(|given| given.place),
            results.map(|given| given.place),
            report.map(|given| given.place),
            batch.map(|given| given.place),
        ];
        places.into_iter().flatten().for_each(|place| self.faults.push(place, FaultKind::WhichSuite));
        let mut sections: Vec<SuiteSection> = tables.into_iter().map(|table| table.section).collect();
        let Some(Given { value: Paths(paths), place }) = paths.filter(|given| !given.value.0.is_empty()) else { return sections };
        let homes: Vec<Vec<String>> = sections.iter().map(|section| self.homes(section)).collect();
        let mut dealt: Vec<Vec<String>> = vec![Vec::new(); sections.len()];
        for path in paths {
            let Some(seen) = self.facts.bases.of_test(&place, &path) else {
                let root = self.facts.bases.root.clone();
                self.faults.push(place.clone(), FaultKind::Outside { path: path.into(), root });
                continue;
            };
            match owners(&seen, &homes) {
                Owners::Within(owner) => dealt[owner].push(path),
                Owners::Above(owners) => owners.into_iter().for_each(|owner| dealt[owner].push(String::new())),
                Owners::Unclear(owners) => {
                    let suites = owners.into_iter().map(|owner| name_of(&sections[owner]).to_owned()).collect();
                    self.faults.push(place.clone(), FaultKind::PathOfSuites { path: seen, suites });
                }
            }
        }
        for (section, dealt) in sections.iter_mut().zip(&dealt) {
            // A directory above all of a suite stands for what the suite runs anyway.
            if !dealt.is_empty() && dealt.iter().all(|path| !path.is_empty()) {
                section.paths = Some(Given { value: Paths(dealt.clone()), place: place.clone() });
            }
        }
        let asked: Vec<bool> = dealt.iter().map(|dealt| !dealt.is_empty()).collect();
        let mut asked = asked.into_iter();
        sections.retain(|_| asked.next().unwrap_or(false));
        sections
    }

    /// Where a suite's tests are, as seen from the project.
    fn homes(&self, section: &SuiteSection) -> Vec<String> {
        let bases = &self.facts.bases;
        match &section.paths {
            Some(Given { value: Paths(paths), place }) if !paths.is_empty() => paths
                .iter()
                .filter_map(|path| bases.of_test(place, path))
                .map(|path| if path == "." { String::new() } else { path })
                .collect(),
            _ => vec![section.directory.as_ref().and_then(|given| directory_of(given, bases)).unwrap_or_default()],
        }
    }

    /// The framework, its whole command (command, arguments, paths), and how it is driven if it has no driver.
    fn suite(&mut self, suite: SuiteSection, kind: EngineKind) -> SuiteSettings {
        let name = name_of(&suite).to_owned();
        let directory = match &suite.directory {
            None => String::new(),
            Some(given) => directory_of(given, &self.facts.bases).unwrap_or_else(|| {
                let root = self.facts.bases.root.clone();
                self.faults.push(given.place.clone(), FaultKind::Outside { path: given.value.clone().into(), root });
                String::new()
            }),
        };
        let command = value(suite.command).map(|words| words.0).filter(|words| !words.is_empty());
        let framework = self.framework(suite.framework, command.as_deref(), &directory);
        let paths = suite.paths.map(|paths| self.paths(paths, &directory)).unwrap_or_default();
        let Some(framework) = framework else { return SuiteSettings::default() };
        let keys = RecipeKeys {
            prepare: suite.prepare,
            files: suite.files,
            list: suite.list,
            results: suite.results,
            report: suite.report,
            batch: suite.batch,
        };
        let usual = match kind {
            EngineKind::Docker => framework.in_image,
            EngineKind::Process => framework.here,
        };
        // What another command needs beforehand is not known.
        let own = command.is_some();
        let mut command = command.unwrap_or(usual);
        command.extend(value(suite.args).map(|args| args.texts()).unwrap_or_default());
        let recipe = match framework.recipe {
            None => {
                generic::refuse(&framework.name, &keys, &mut self.faults);
                command.extend(paths);
                None
            }
            Some(mut base) => {
                if own {
                    base.prepare.clear();
                }
                Some(generic::resolve(base, &command, keys, paths, &mut self.faults))
            }
        };
        SuiteSettings { name, framework: framework.name, command, directory, whole: false, recipe }
    }

    /// Paths as the suite's framework is given them: from its directory.
    fn paths(&mut self, Given { value: paths, place }: Given<Paths>, directory: &str) -> Vec<String> {
        let bases = self.facts.bases.clone();
        let mut out = Vec::new();
        for path in paths.0 {
            match bases.of_test(&place, &path).and_then(|path| below(&path, directory)) {
                Some(path) => out.push(path),
                None => self.faults.push(place.clone(), FaultKind::Outside { path: path.into(), root: joined(&bases.root, directory) }),
            }
        }
        out
    }

    fn framework(&mut self, named: Option<Given<String>>, command: Option<&[String]>, directory: &str) -> Option<Candidate> {
        let all = self.facts.elsewhere.get(directory).unwrap_or(&self.facts.frameworks);
        if let Some(Given { value: name, place }) = named {
            let found = all.iter().find(|framework| framework.name == name).cloned();
            if found.is_none() {
                let known = all.iter().map(|framework| framework.name.clone()).collect();
                self.faults.push(place, FaultKind::UnknownFramework { name, known });
            }
            return found;
        }
        let word = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
        let said = command.unwrap_or_default().iter().map(word).find_map(|word| all.iter().find(|framework| framework.name == word));
        if let Some(said) = said {
            return Some(said.clone());
        }
        let mut found: Vec<Candidate> = all.iter().filter(|framework| framework.evidence.is_some()).cloned().collect();
        self.notices.extend(stand_back(&mut found));
        let kind = match found.len() {
            1 => return found.into_iter().next(),
            0 => FaultKind::NoFramework {
                root: joined(&self.facts.bases.root, directory),
                looked_for: all.iter().map(|framework| framework.looked_for.clone()).filter(|text| !text.is_empty()).collect(),
            },
            _ => FaultKind::SeveralFrameworks(found.into_iter().map(|framework| framework.name).collect()),
        };
        self.faults.push(Place::Nowhere, kind);
        None
    }
}

fn joined(root: &Path, directory: &str) -> PathBuf {
    if directory.is_empty() { root.to_owned() } else { root.join(directory) }
}

/// Whose a path is.
#[derive(Debug, PartialEq, Eq)]
enum Owners {
    /// It lies in one suite's place.
    Within(usize),
    /// These suites lie in it.
    Above(Vec<usize>),
    /// It may be of these, or of none.
    Unclear(Vec<usize>),
}

/// The suites that a path of the project is of, by where they are: the nearest place around it, or else all that are below it.
fn owners(path: &str, homes: &[Vec<String>]) -> Owners {
    let path = if path == "." { "" } else { path };
    let file = path.split("::").next().unwrap_or(path);
    let nearest = |homes: &Vec<String>| homes.iter().filter(|home| below(file, home).is_some()).map(String::len).max();
    let around: Vec<(usize, usize)> = homes.iter().enumerate().filter_map(|(suite, homes)| Some((nearest(homes)?, suite))).collect();
    let above: Vec<usize> = (0..homes.len()).filter(|suite| homes[*suite].iter().any(|home| below(home, file).is_some())).collect();
    let longest = around.iter().map(|(len, _)| *len).max();
    let within: Vec<usize> = around.iter().filter(|(len, _)| Some(*len) == longest).map(|(_, suite)| *suite).collect();
    match (&within[..], above.is_empty()) {
        (_, false) => Owners::Above(above),
        ([owner], _) => Owners::Within(*owner),
        _ => Owners::Unclear(within),
    }
}

/// A path of the project as seen from one of its directories; nothing if it lies outside.
fn below(path: &str, directory: &str) -> Option<String> {
    if directory.is_empty() {
        return Some(path.to_owned());
    }
    match path.strip_prefix(directory)? {
        "" => Some(".".to_owned()),
        rest => rest.strip_prefix('/').map(str::to_owned),
    }
}

fn name_of(section: &SuiteSection) -> &str {
    section.name.as_ref().map_or("", |given| &given.value.0)
}

fn over(stronger: SuiteSection, weaker: SuiteSection) -> SuiteSection {
    let layer = |suite| Layer { suite, ..Layer::default() };
    layer(stronger).over(layer(weaker)).suite
}

/// Tools without a driver stand back where a framework with one was found. That they are not run is said.
fn stand_back(found: &mut Vec<Candidate>) -> Option<String> {
    if found.iter().all(|framework| framework.recipe.is_some()) {
        return None;
    }
    let left: Vec<String> = found.extract_if(.., |framework| framework.recipe.is_some()).map(|framework| framework.name).collect();
    (!left.is_empty()).then(|| format!("found as well, and not run: {}", left.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_of_the_suite_that_it_lies_in() {
        let homes = [vec!["api".to_owned()], vec!["web".to_owned(), "shared/web".to_owned()], vec![String::new()]];
        let cases = [
            ("api/test_a.py::test_x", Owners::Within(0)),
            ("api2/test_a.py", Owners::Within(2)),
            ("shared/web/a.test.js", Owners::Within(1)),
            ("web", Owners::Above(vec![1])),
            (".", Owners::Above(vec![0, 1, 2])),
        ];
        for (path, expected) in cases {
            assert_eq!(owners(path, &homes), expected, "{path}");
        }
        let same = [vec![String::new()], vec![String::new()]];
        assert_eq!(owners("tests/test_a.py", &same), Owners::Unclear(vec![0, 1]));
        assert_eq!(owners("tests/test_a.py", &[vec!["api".to_owned()]]), Owners::Unclear(vec![]));
    }
}
