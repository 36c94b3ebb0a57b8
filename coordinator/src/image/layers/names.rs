//! Tags of layers in a registry: which a run reads, and which it writes. Pure.
//!
//! `<level>-<branch>-<recipe>` is the newest of a branch, `<level>_<commit>-<recipe>` that of one commit of the default branch; the recipe tells apart what
//! several Dockerfiles, targets or platforms make in one repository. Names of branches are anybody's choice: one that does not fit into a tag is cut and gets
//! a hash, and none can look like another level, since the level comes first and has letters alone.

use std::collections::BTreeSet;

use super::{Layers, travels};
use crate::model::trust::Level;

/// A tag has 128 characters at most; level, recipe and hash take 37.
const LONGEST: usize = 80;
/// Digits of a commit.
const DIGITS: usize = 12;

/// Where a checkout stands among its branches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branches {
    /// The branch that is built, if it is known.
    pub own: Option<String>,
    /// The default branch, or what it may be called.
    pub default: Vec<String>,
    /// The commit that is built.
    pub commit: Option<String>,
    /// Commits of the default branch that this one comes from, the nearest first.
    pub ancestors: Vec<String>,
}

/// What is built of a project, in a few letters.
#[derive(Debug, Clone)]
pub(super) struct Recipe(String);

impl Recipe {
    /// Of everything that makes it another image than its neighbours in the repository.
    pub(super) fn of(parts: [&str; 4]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Self(hasher.finalize().to_hex()[..8].to_owned())
    }
}

/// What may be read, in groups: the first one that exists in each is enough.
pub(super) fn read(layers: &Layers, recipe: &Recipe) -> Vec<Vec<String>> {
    let Branches { own, default, ancestors, .. } = &layers.branches;
    // The own level first: it is nearest to what is built.
    let levels: Vec<_> = Level::ALL.into_iter().rev().filter(|level| *level >= layers.level && travels(*level)).collect();
    let of_default: Vec<_> = levels.iter().filter(|level| **level >= Level::Branch.max(layers.level)).collect();
    let of_commits = Level::Protected.max(layers.level);
    let own = own.iter().flat_map(|branch| levels.iter().map(|level| branch_tag(*level, branch)));
    let ancestors = ancestors.iter().map(|commit| (of_commits, commit_tag(of_commits, commit)));
    let default = default.iter().flat_map(|branch| of_default.iter().map(|level| branch_tag(**level, branch)));
    let mut seen = BTreeSet::new();
    let mut group = |tags: Vec<(Level, String)>| -> Vec<String> {
        let references = tags.into_iter().map(|(level, tag)| reference(layers, level, &tag, recipe));
        references.filter(|reference| seen.insert(reference.clone())).collect()
    };
    [group(own.collect()), group(ancestors.collect()), group(default.collect())].into()
}

/// What is written: the branch's tag, and on the default branch the commit's.
pub(super) fn written(layers: &Layers, recipe: &Recipe) -> Vec<String> {
    let Branches { own, default, commit, .. } = &layers.branches;
    let Some(branch) = own else { return Vec::new() };
    let of_commit = commit.iter().filter(|_| default.contains(branch)).map(|commit| (layers.level, commit_tag(layers.level, commit)));
    let tags = std::iter::once(branch_tag(layers.level, branch)).chain(of_commit);
    tags.map(|(level, tag)| reference(layers, level, &tag, recipe)).collect()
}

fn reference(layers: &Layers, level: Level, tag: &str, Recipe(recipe): &Recipe) -> String {
    format!("{}:{tag}-{recipe}", super::repository_of(&layers.repository, level))
}

fn branch_tag(level: Level, branch: &str) -> (Level, String) {
    (level, format!("{level}-{}", slug(branch)))
}

fn commit_tag(level: Level, commit: &str) -> String {
    format!("{level}_{}", &commit[..commit.floor_char_boundary(DIGITS)])
}

/// Whether a tag is one of these.
pub(super) fn is_ours(tag: &str) -> bool {
    let level = tag.split(['-', '_']).next().unwrap_or_default();
    let recipe = tag.rsplit_once('-').map(|(_, recipe)| recipe);
    Level::of_word(level).is_some() && recipe.is_some_and(|recipe| recipe.len() == 8 && recipe.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A branch's name as a part of a tag. Two branches never have the same.
fn slug(branch: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let looks_cut = branch.rsplit_once('-').is_some_and(|(_, end)| end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if branch.len() <= LONGEST && branch.chars().all(fits) && !looks_cut {
        return branch.to_owned();
    }
    let tame: String = branch.chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST - 9).collect();
    format!("{tame}-{}", &blake3::hash(branch.as_bytes()).to_hex()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layers::PAYS_FROM;
    use proptest::prelude::*;

    fn layers(level: Level, own: &str) -> Layers {
        let branches = Branches {
            own: Some(own.into()),
            default: vec!["main".into()],
            commit: Some("0123456789abcdef".into()),
            ancestors: vec!["fedcba9876543210".into()],
        };
        Layers { repository: "registry.example/shop/cache".into(), level, sends: true, pays_from: PAYS_FROM, branches }
    }

    fn recipe() -> Recipe {
        Recipe("feedbeef".into())
    }

    #[test]
    fn own_branch_then_where_it_comes_from_then_the_default_branch() {
        let tag = |tag: &str| format!("registry.example/shop/cache:{tag}-feedbeef");
        let groups = read(&layers(Level::Branch, "topic"), &recipe());
        assert_eq!(groups[0], ["branch-topic", "protected-topic", "release-topic"].map(tag));
        assert_eq!(groups[1], ["protected_fedcba987654"].map(tag));
        assert_eq!(groups[2], ["branch-main", "protected-main", "release-main"].map(tag));
        assert_eq!(written(&layers(Level::Branch, "topic"), &recipe()), ["branch-topic"].map(tag));
        assert_eq!(written(&layers(Level::Protected, "main"), &recipe()), ["protected-main", "protected_0123456789ab"].map(tag));
        let alone = Layers { branches: Branches { default: vec!["main".into()], ..Branches::default() }, ..layers(Level::Pull, "") };
        let flat: Vec<_> = read(&alone, &recipe()).concat();
        assert_eq!(flat, ["branch-main", "protected-main", "release-main"].map(tag));
        assert_eq!(written(&alone, &recipe()), [""; 0]);
    }

    #[test]
    fn a_level_may_have_a_repository_of_its_own() {
        let apart = Layers { repository: "registry.example/cache-{level}".into(), ..layers(Level::Pull, "main") };
        assert_eq!(written(&apart, &recipe())[0], "registry.example/cache-pull:pull-main-feedbeef");
        assert!(read(&apart, &recipe()).concat().contains(&"registry.example/cache-protected:protected-main-feedbeef".to_owned()));
    }

    #[test]
    fn what_is_built_of_a_project_tells_recipes_apart() {
        let (one, other) = (Recipe::of(["ab", "c", "", ""]), Recipe::of(["a", "bc", "", ""]));
        assert_ne!(one.0, other.0);
    }

    proptest! {
        /// Whatever a branch is called, nobody reads what a less trusted run writes, and a tag is one.
        #[test]
        fn nothing_less_trusted_is_read(writer in 0_usize..6, reader in 0_usize..6, a in "\\PC{1,200}", b in "\\PC{1,200}") {
            let (writer, reader) = (layers(Level::ALL[writer], &a), layers(Level::ALL[reader], &b));
            let (written, read) = (written(&writer, &recipe()), read(&reader, &recipe()).concat());
            prop_assert!(writer.level >= reader.level || written.iter().all(|tag| !read.contains(tag)));
            for reference in written.iter().chain(&read) {
                let tag = reference.rsplit_once(':').expect("a tag").1;
                prop_assert!(is_ours(tag));
                prop_assert!(tag.len() <= 128 && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{}", tag);
            }
        }

        #[test]
        fn two_branches_have_two_tags(a in "[a-c/-]{1,6}", b in "[a-c/-]{1,6}") {
            prop_assert_eq!(a == b, slug(&a) == slug(&b));
            prop_assert_ne!(slug(&slug(&format!("{a}/"))), slug(&format!("{a}/")));
        }
    }
}
