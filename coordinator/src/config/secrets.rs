//! Secrets and SSH agents of a build, written as docker writes them: `id=npm,src=.npmrc`, `id=token,env=NPM_TOKEN`; `default`, `git=/run/git.sock`.
//!
//! A fault never repeats what was written: somebody may have put the secret itself there.

use std::collections::BTreeMap;

use super::fault::{FaultKind, Faults};
use super::paths::Bases;
use super::setting::Item;
use crate::model::{BuildSecret, SecretSource, SecretText, SshAgent};

/// Where values come from, and what is said on the way.
pub(super) struct Reader<'a> {
    pub(super) bases: &'a Bases,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) faults: &'a mut Faults,
    pub(super) notices: &'a mut Vec<String>,
}

impl Reader<'_> {
    /// Secrets; a later one of the same id replaces an earlier one. One whose variable is not set does not exist.
    pub(super) fn secrets(&mut self, items: &[Item]) -> Vec<BuildSecret> {
        let mut by_id = BTreeMap::new();
        for item in items {
            let Some((id, place)) = secret(&item.text) else {
                self.faults.push(item.place.clone(), FaultKind::Secret);
                continue;
            };
            let source = match place {
                Kept::File(path) => Some(SecretSource::File(self.bases.absolute(&item.place, path))),
                Kept::Variable(name) => {
                    let value = self.env.get(name).map(|value| SecretSource::Text(SecretText(value.clone())));
                    if value.is_none() {
                        self.notices
                            .push(format!("build secret `{id}` has no value: variable `{name}` is not set here, and it is left out"));
                    }
                    value
                }
            };
            by_id.insert(id.to_owned(), source);
        }
        by_id.into_iter().filter_map(|(id, source)| Some(BuildSecret { id, source: source? })).collect()
    }

    /// SSH agents; a later one of the same id replaces an earlier one.
    pub(super) fn agents(&mut self, items: &[Item]) -> Vec<SshAgent> {
        let mut by_id = BTreeMap::new();
        for item in items {
            let (id, socket) = item.text.split_once('=').map_or((item.text.as_str(), None), |(id, socket)| (id, Some(socket)));
            let socket = match (socket, self.env.get("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty())) {
                (Some(socket), _) => self.bases.absolute(&item.place, socket),
                (None, Some(own)) => own.into(),
                (None, None) => {
                    self.faults.push(item.place.clone(), FaultKind::NoAgent);
                    continue;
                }
            };
            if is_id(id) {
                by_id.insert(id.to_owned(), socket);
            } else {
                self.faults.push(item.place.clone(), FaultKind::Agent);
            }
        }
        by_id.into_iter().map(|(id, socket)| SshAgent { id, socket }).collect()
    }
}

enum Kept<'a> {
    File(&'a str),
    Variable(&'a str),
}

fn secret(text: &str) -> Option<(&str, Kept<'_>)> {
    let mut id = None;
    let mut kept = None;
    for part in text.split(',') {
        match part.split_once('=')? {
            ("id", value) if is_id(value) => id = Some(value),
            ("src" | "source", value) if kept.is_none() && !value.is_empty() => kept = Some(Kept::File(value)),
            ("env", value) if kept.is_none() && !value.is_empty() => kept = Some(Kept::Variable(value)),
            ("type", "file" | "env") => {}
            _ => return None,
        }
    }
    Some((id?, kept?))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !",=".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Place;

    #[derive(Default)]
    struct Said {
        secrets: Vec<BuildSecret>,
        agents: Vec<SshAgent>,
        faults: Faults,
        notices: Vec<String>,
    }

    fn read(secrets: &[&str], agents: &[&str], env: &[(&str, &str)]) -> Said {
        let items = |texts: &[&str], option: &str| -> Vec<Item> {
            texts.iter().map(|text| Item { text: (*text).to_owned(), place: Place::Flag(option.to_owned()) }).collect()
        };
        let bases = Bases { root: "/shop".into(), directory: "/shop/web".into() };
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut said = Said::default();
        let mut reader = Reader { bases: &bases, env: &env, faults: &mut said.faults, notices: &mut said.notices };
        said.secrets = reader.secrets(&items(secrets, "--secret"));
        said.agents = reader.agents(&items(agents, "--ssh"));
        said
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let said = read(&["id=npm,src=.npmrc", "type=env,id=token,env=TOKEN", "id=gone,env=GONE"], &[], &[("TOKEN", "hunter2")]);
        assert!(said.faults.is_empty());
        let token = SecretSource::Text(SecretText("hunter2".into()));
        let npm = SecretSource::File("/shop/web/.npmrc".into());
        let want = [BuildSecret { id: "npm".into(), source: npm }, BuildSecret { id: "token".into(), source: token }];
        assert_eq!(said.secrets, want);
        assert!(said.notices.len() == 1 && said.notices[0].contains("`GONE` is not set"), "{:?}", said.notices);
    }

    #[test]
    fn the_later_of_two_counts() {
        let said = read(&["id=a,src=one", "id=a,src=/two"], &["default=/one", "default"], &[("SSH_AUTH_SOCK", "/agent")]);
        assert_eq!(said.secrets, [BuildSecret { id: "a".into(), source: SecretSource::File("/two".into()) }]);
        assert_eq!(said.agents, [SshAgent { id: "default".into(), socket: "/agent".into() }]);
    }

    #[test]
    fn what_is_neither_is_a_fault_that_does_not_repeat_it() {
        for text in ["", "npm", "id=,src=x", "id=x", "id=x,src=", "id=x,value=hunter2", "id=x,src=a,env=B", "src=hunter2"] {
            let said = read(&[text], &[], &[]);
            let error = said.faults.finish(()).expect_err("a fault");
            assert!(said.secrets.is_empty() && !format!("{error:?}").contains("hunter2"), "{text}");
        }
        for agent in ["default", "=/x", "a b=/x"] {
            assert!(!read(&[], &[agent], &[]).faults.is_empty(), "{agent}");
        }
    }
}
