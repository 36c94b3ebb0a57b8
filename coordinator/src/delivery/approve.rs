//! An image by a name, all that is signed about it, and the gate's answer. A name is looked up once; everything after that is about the digest.

use super::policies::{self, PolicySource};
use super::registries::{self, Role};
use super::{DeliveryError, Outside};
use crate::candidate::Copies;
use crate::config::{Delivery, RegistrySettings};
use crate::gate::{Account, Approval, Denial, Evidence, Found, Identity, Mode, Policy, Question, StoreKind, decide};
use crate::model::chain;
use crate::promotion::{PromotionError, gather, identify};
use crate::registry::{Digest, Name, Repository, Tag, Wanted};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// What is configured.
    pub delivery: &'a Delivery,
    /// The image: `sha256:…`, a tag, `REPOSITORY@sha256:…` or `REPOSITORY:TAG`.
    pub reference: &'a str,
    /// The environment, which is also the name of its policy.
    pub environment: &'a str,
    /// What for.
    pub mode: Mode,
    /// Where its policy comes from.
    pub source: &'a PolicySource,
    /// Envelopes that somebody brought.
    pub brought: &'a [Found],
}

/// A yes, with what it was about.
#[derive(Debug)]
pub struct Approved {
    /// The yes.
    pub approval: Approval,
    /// The image.
    pub identity: Identity,
    /// Where it was found.
    pub repository: Repository,
    /// The policy.
    pub policy: Policy,
    /// Where that is from, for people.
    pub policy_from: String,
    /// What was looked at.
    pub account: Account,
}

/// Asks the gate.
///
/// # Errors
/// There is no policy; the name is none; the gate says no. A registry that cannot be asked is a no, too.
pub async fn approve(asked: &Asked<'_>, outside: &Outside) -> Result<Approved, DeliveryError> {
    let environment = asked.environment;
    let known = policies::known(asked.source, environment, outside).await;
    let known = known.map_err(|cause| DeliveryError::Policy { policy: environment.to_owned(), cause })?;
    let (repository, identity) = find(asked, outside).await?;
    let evidence = all_evidence(asked, &identity, &repository, outside).await?;
    let question = Question { identity, environment: environment.to_owned(), mode: asked.mode };
    let approval = decide(&question, &known.policy, &evidence, outside.now_ms)?;
    let account = Account::of(&question, &known.policy, &evidence);
    Ok(Approved { approval, identity, repository, policy: known.policy, policy_from: known.from, account })
}

/// The image that a name means now, and where it is.
///
/// # Errors
/// The name is none; it leads to no image, or the registry gives no answer, which are no's of the gate's kind.
pub async fn find(asked: &Asked<'_>, outside: &Outside) -> Result<(Repository, Identity), DeliveryError> {
    let (repository, wanted) = place(asked, outside)?;
    let unresolved = |why: String| Denial::unresolved(asked.reference, asked.environment, &why);
    match identify(&repository, &wanted, StoreKind::Docker).await {
        Ok(identity) => Ok((repository, identity)),
        Err(PromotionError::NotReleased { .. }) => Err(unresolved(format!("`{}` does not have it", repository.name())).into()),
        Err(PromotionError::Registry { cause, .. }) if cause.is_no_answer() => {
            let place = repository.name().to_string();
            Err(Denial::unavailable(asked.reference, asked.environment, &place, chain(&*cause)).into())
        }
        Err(error) => Err(unresolved(chain(&error)).into()),
    }
}

/// From every place that may have some: where the image is, and both repositories of the project. The statement that says no may lie in either.
async fn all_evidence(
    asked: &Asked<'_>,
    identity: &Identity,
    repository: &Repository,
    outside: &Outside,
) -> Result<Evidence, DeliveryError> {
    let mut others = Vec::new();
    for role in [Role::Candidate, Role::Release] {
        if let Some(settings) = registries::of(asked.delivery, role) {
            let other = registries::open(settings, outside)?;
            if other.name() != repository.name() {
                others.push(other);
            }
        }
    }
    let places: Vec<&Repository> = std::iter::once(repository).chain(&others).collect();
    let mut brought = asked.brought.to_vec();
    // A copy that is there and cannot be read may be the statement that says no.
    let unread = match Copies::in_state(&asked.delivery.records.state).of(identity.manifest) {
        Ok(copies) => {
            brought.extend(copies);
            None
        }
        Err(error) => Some(chain(&error)),
    };
    match (gather(identity.manifest, brought, &places).await, unread) {
        (Evidence::Asked(given), Some(why)) => Ok(Evidence::Unanswered { place: "this machine's copies".into(), why, given }),
        (evidence, _) => Ok(evidence),
    }
}

/// The repository that a name is of, and what is asked of it.
fn place(asked: &Asked<'_>, outside: &Outside) -> Result<(Repository, Wanted), DeliveryError> {
    let wrong = |why: &str| DeliveryError::Reference { text: asked.reference.to_owned(), why: why.to_owned() };
    let (name, wanted) = taken_apart(asked.reference).ok_or_else(|| wrong("it is neither a digest nor a tag"))?;
    let role = if asked.mode == Mode::Promote { Role::Candidate } else { Role::Release };
    let Some(name) = name else { return Ok((registries::repository(asked.delivery, role, outside)?, wanted)) };
    let name: Name = name.parse()?;
    let is_named = |settings: &&RegistrySettings| settings.repository.parse::<Name>().is_ok_and(|own| own == name);
    let configured = [Role::Candidate, Role::Release].into_iter().filter_map(|role| registries::of(asked.delivery, role));
    let settings = configured.into_iter().find(is_named).cloned();
    let settings = settings.unwrap_or_else(|| RegistrySettings { repository: name.to_string(), auth: None });
    Ok((registries::open(&settings, outside)?, wanted))
}

/// A repository, if one is named, and what of it.
fn taken_apart(text: &str) -> Option<(Option<&str>, Wanted)> {
    if let Ok(digest) = text.parse::<Digest>() {
        return Some((None, digest.into()));
    }
    if let Some((name, digest)) = text.split_once('@') {
        return Some((Some(name), digest.parse::<Digest>().ok()?.into()));
    }
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    match text.get(slash..)?.split_once(':') {
        Some((last, tag)) => Some((Some(text.get(..slash + last.len())?), (&tag.parse::<Tag>().ok()?).into())),
        None if slash == 0 => Some((None, (&text.parse::<Tag>().ok()?).into())),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_digest_a_tag_or_either_of_a_repository() {
        let hex = "a".repeat(64);
        let digest = format!("sha256:{hex}");
        let is_digest = |wanted: &Wanted| matches!(wanted, Wanted::Digest(_));
        let (name, wanted) = taken_apart(&digest).expect("a name");
        assert!(name.is_none() && is_digest(&wanted));
        let full = format!("127.0.0.1:5000/shop/candidate@{digest}");
        let (name, wanted) = taken_apart(&full).expect("a name");
        assert!(name == Some("127.0.0.1:5000/shop/candidate") && is_digest(&wanted));
        let (name, wanted) = taken_apart("127.0.0.1:5000/shop/candidate:v1.2").expect("a name");
        assert!(name == Some("127.0.0.1:5000/shop/candidate") && wanted.to_string().contains("v1.2"));
        let (name, wanted) = taken_apart("v1.2").expect("a name");
        assert!(name.is_none() && !is_digest(&wanted));
        for bad in ["", "registry.example/shop", "shop@sha256:12", "a b", "shop:"] {
            assert!(taken_apart(bad).is_none(), "{bad}");
        }
    }
}
