//! Which files count as edited, and what a builder is told of the two parts.

use proptest::prelude::*;

use super::*;
use crate::image::dockerfile::{Choices, outside};

fn item(path: &str, content: u8) -> ContextItem {
    ContextItem { path: path.into(), mode: 0o644, attributes: None, content: ItemContent::File([content; 32]) }
}

fn tree(changed: &[(&str, u8)]) -> Vec<ContextItem> {
    let mut items: Vec<_> = (0..100).map(|number| item(&format!("f{number:02}"), 0)).collect();
    for (path, content) in changed {
        items.retain(|item| item.path != path.as_bytes());
        items.push(item(path, *content));
    }
    items
}

fn files(edited: &Edited) -> Vec<&str> {
    edited.files.keys().map(String::as_str).collect()
}

#[test]
fn what_changed_since_the_last_build_was_edited() {
    let first = Edited::default().next(&tree(&[]), &tree(&[("f01", 1)]));
    assert_eq!(files(&first), ["f01"]);
    let again = first.next(&tree(&[("f01", 1)]), &tree(&[("f01", 2), ("new", 1)]));
    assert_eq!(files(&again), ["f01", "new"]);
    let gone = again.next(&tree(&[("f01", 2), ("new", 1)]), &tree(&[("f01", 2)]));
    assert_eq!(files(&gone), ["f01"], "what is not there is nobody's");
}

#[test]
fn who_was_edited_long_ago_goes_back_when_the_others_are_copied_anyway() {
    let mut edited = Edited::default().next(&tree(&[]), &tree(&[("f01", 1)]));
    for build in 0..60 {
        edited = edited.next(&tree(&[("f02", build)]), &tree(&[("f02", build + 1)]));
    }
    assert_eq!(files(&edited), ["f01", "f02"], "the others need not be copied");
    let edited = edited.next(&tree(&[]), &tree(&[("f03", 1)]));
    assert_eq!(files(&edited), ["f02", "f03"]);
}

#[test]
fn much_at_once_is_no_edit_and_little_by_little_the_oldest_goes() {
    let all: Vec<String> = (0..50).map(|number| format!("f{number:02}")).collect();
    let changed: Vec<_> = all.iter().map(|name| (name.as_str(), 1)).collect();
    assert!(Edited::default().next(&tree(&[]), &tree(&changed)).files.is_empty());
    let mut edited = Edited::default();
    for name in &all[..20] {
        edited = edited.next(&tree(&[]), &tree(&[(name, 1)]));
    }
    assert_eq!(files(&edited), all[8..20].iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_table_that_is_lost_or_foreign_is_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edited/table");
    assert_eq!(Edited::load(&path), Edited::default());
    let edited = Edited::default().next(&tree(&[]), &tree(&[("f01", 1)]));
    edited.store(&path).expect("stored");
    assert_eq!(Edited::load(&path), edited);
    for text in ["", "{}", "nothing", r#"{"splitci-edited":2,"builds":1,"files":{"f01":1}}"#] {
        fs_err::write(&path, text).expect("written");
        assert_eq!(Edited::load(&path), Edited::default(), "{text}");
    }
}

fn sent(path: &str, kind: SentKind) -> SentEntry {
    SentEntry { path: path.into(), origin: None, mode: 0o644, modified: 7, dated: false, attributes: BTreeMap::new(), kind }
}

/// So many files in a directory, which comes first.
fn directory(name: &str, files: usize) -> Vec<SentEntry> {
    let file = |number| sent(&format!("{name}/f{number:05}"), SentKind::File { length: 1, hash: [1; 32] });
    std::iter::once(sent(name, SentKind::Directory)).chain((0..files).map(file)).collect()
}

fn items(context: &[SentEntry]) -> Vec<ContextItem> {
    let what = |entry: &SentEntry| match &entry.kind {
        SentKind::File { hash, .. } => ItemContent::File(*hash),
        SentKind::Link(target) => ItemContent::Link(target.clone()),
        _ => ItemContent::Directory,
    };
    context.iter().map(|entry| ContextItem { path: entry.path.clone(), mode: entry.mode, attributes: None, content: what(entry) }).collect()
}

fn told(dockerfile: &str, context: &[SentEntry], edited: &[&str]) -> Option<Parted> {
    let files = edited.iter().map(|file| ((*file).to_owned(), 1)).collect();
    let edited = Edited { version: VERSION, builds: 1, files };
    parted(dockerfile.as_bytes(), &outside(dockerfile.as_bytes(), &Choices::default()), (&items(context), context), &edited)
}

fn paths(parted: &Parted) -> Vec<String> {
    parted.context.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn each_file_is_in_one_part_and_what_else_is_copied_stays_where_it_is() {
    let mut context = vec![sent("requirements", SentKind::File { length: 1, hash: [1; 32] })];
    context.extend(directory("src", 1_001));
    context.push(sent("src/new", SentKind::Directory));
    context.push(sent("src/new/file", SentKind::File { length: 1, hash: [1; 32] }));
    let parted =
        told("FROM a\nCOPY requirements /r\nCOPY src /src\n", &context, &["src/f00001", "src/new/file", "requirements"]).expect("parts");
    let text = String::from_utf8(parted.dockerfile.clone()).expect("a text");
    assert_eq!(text, "FROM a\nCOPY requirements /r\nCOPY .splitci-steady/src /src\nCOPY .splitci-edited/src /src\n");
    let paths = paths(&parted);
    let edited: Vec<_> = paths.iter().filter(|path| path.starts_with(".splitci-edited")).map(String::as_str).collect();
    let of_edited =
        [".splitci-edited", ".splitci-edited/src", ".splitci-edited/src/f00001", ".splitci-edited/src/new", ".splitci-edited/src/new/file"];
    assert_eq!(edited, of_edited);
    assert_eq!(paths.len(), 5 + 2 + 1_000 + 1, "{paths:?}");
    assert_eq!(paths.last().map(String::as_str), Some("requirements"));
    let origins = parted.context.iter().filter(|entry| entry.origin.is_some());
    assert!(origins.into_iter().all(|entry| entry.path.ends_with(entry.origin.as_deref().expect("one"))));
}

#[test]
fn where_it_does_not_pay_or_can_be_seen_nothing_is_split() {
    let many = directory("src", 2_000);
    let copy = "FROM a\nCOPY . .\n";
    assert!(told(copy, &many, &["src/f00001"]).is_some());
    for edited in [vec![], vec!["elsewhere"]] {
        let parted = told(copy, &many, &edited).expect("one part");
        assert_eq!(parted.dockerfile, b"FROM a\nCOPY .splitci-steady/ .\n", "nothing that is here was edited");
        assert!(parted.context.iter().all(|entry| below(&entry.path, STEADY)));
    }
    assert_eq!(told(copy, &directory("src", 900), &["src/f00001"]), None, "few files");
    assert_eq!(told("FROM a\nCOPY . .\nRUN --mount=type=bind,target=/s x\n", &many, &["src/f00001"]), None, "a mount shows everything");
    assert_eq!(
        told("FROM a\nCOPY src/* .\nCOPY . .\n", &many, &["src/f00001"]).map(|_| ()),
        Some(()),
        "a pattern below a name is that name"
    );
    let mut taken = directory(".splitci-edited", 1);
    taken.extend(many.clone());
    assert_eq!(told(copy, &taken, &["src/f00001"]), None, "the name is taken");
    let mut linked = vec![sent("link", SentKind::Link(b"src".to_vec()))];
    linked.extend(many);
    assert_eq!(told("FROM a\nCOPY link /x\nCOPY src /y\n", &linked, &["src/f00001"]), None, "a link may lead anywhere");
    assert!(told("FROM a\nCOPY src /y\n", &linked, &["src/f00001"]).is_some());
    assert!(told("FROM a\nCOPY link /y\n", &linked, &["src/f00001"]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Names that sort unlike their bytes, folders without files, links: both parts together are what there was, in the order of a walk.
    #[test]
    fn both_parts_together_are_the_whole(
        names in proptest::collection::btree_set("[a-c!.-]{1,2}(/[a-c!.-]{1,2}){0,2}", 1..40),
        empty in proptest::collection::btree_set("d[a-c!.-]{1,2}", 0..3),
        which in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let mut context = directory("many", 2 * WORTH_IT);
        let mut seen: BTreeSet<Vec<u8>> = context.iter().map(|entry| entry.path.clone()).collect();
        let plain = |name: &&String| name.split('/').all(|part| !["", ".", ".."].contains(&part));
        let mut edited = vec!["many/f00001".to_owned()];
        for (name, edit) in names.iter().filter(plain).zip(which) {
            let folders: Vec<_> = name.match_indices('/').map(|(at, _)| name[..at].to_owned()).collect();
            let is_file = |path: &[u8]| context.iter().any(|entry| entry.path == path && entry.kind != SentKind::Directory);
            if seen.contains(name.as_bytes()) || folders.iter().any(|folder| is_file(folder.as_bytes())) {
                continue;
            }
            for folder in folders {
                if seen.insert(folder.clone().into_bytes()) {
                    context.push(sent(&folder, SentKind::Directory));
                }
            }
            seen.insert(name.clone().into_bytes());
            context.push(sent(name, SentKind::File { length: 1, hash: [1; 32] }));
            if edit {
                edited.push(name.clone());
            }
        }
        for name in empty.iter().filter(plain) {
            if seen.insert(name.clone().into_bytes()) {
                context.push(sent(name, SentKind::Directory));
            }
        }
        let edited: Vec<_> = edited.iter().map(String::as_str).collect();
        let parted = told("FROM a\nCOPY . .\n", &context, &edited).expect("parts");
        let mut together: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for entry in parted.context.iter().filter_map(|entry| Some((entry, entry.origin.clone()?))) {
            *together.entry(entry.1).or_default() += usize::from(entry.0.kind != SentKind::Directory);
        }
        for entry in &context {
            prop_assert_eq!(together.remove(&entry.path), Some(usize::from(entry.kind != SentKind::Directory)));
        }
        prop_assert!(together.is_empty());
        let parts = |entry: &SentEntry| entry.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        prop_assert!(parted.context.windows(2).all(|pair| parts(&pair[0]) < parts(&pair[1])), "the order of a walk");
        let there: BTreeSet<&[u8]> = parted.context.iter().filter(|entry| entry.kind == SentKind::Directory).map(|entry| entry.path.as_slice()).collect();
        for entry in &parted.context {
            let above = entry.path.iter().rposition(|byte| *byte == b'/').map(|end| &entry.path[..end]);
            prop_assert!(above.is_none_or(|above| there.contains(above)), "a folder comes before what is in it");
        }
    }
}
