//! Dockerfiles as people write them, and as they should not.

use super::*;
use crate::image::key::{ContextItem, ItemContent};

fn read(text: &str, target: Option<&str>, args: &[(&str, &str)]) -> Outside {
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    outside(text.as_bytes(), &Choices { target, args, platform: "linux/arm64/v8" })
}

fn images(outside: &Outside) -> Vec<&str> {
    outside.images.iter().map(|base| base.reference.as_str()).collect()
}

#[test]
fn only_what_the_target_needs_counts() {
    let text = "FROM a AS one\nFROM b as two\nCOPY --from=ONE /x /x\nFROM c\nRUN --mount=type=bind,from=d,target=/d --mount=type=cache,target=/c x";
    assert_eq!(images(&read(text, None, &[])), ["c", "d"]);
    assert_eq!(images(&read(text, Some("two"), &[])), ["a", "b"]);
    assert_eq!(images(&read(text, Some("0"), &[])), ["a"]);
    assert_eq!(images(&read("FROM a\nFROM b\nCOPY --from=0 / /", None, &[])), ["a", "b"]);
}

#[test]
fn variables_are_filled_in_as_the_builder_does() {
    let text = "ARG TAG=3.11\nARG BASE=python:${TAG}-slim\nFROM --platform=$TARGETPLATFORM ${BASE} AS x\nFROM x";
    let found = read(text, None, &[("TAG", "3.12")]);
    assert_eq!(images(&found), ["python:3.12-slim"]);
    assert_eq!(found.images.first().and_then(|base| base.platform.as_deref()), Some("linux/arm64/v8"));
    assert_eq!(images(&read("FROM ${X:-a}:${TARGETARCH}${TARGETVARIANT:+.v}", None, &[])), ["a:arm64.v"]);
    let unknown = read("FROM $NOPE", None, &[]);
    assert!(unknown.images.is_empty() && unknown.unseen.len() == 1);
}

#[test]
fn directives_and_continuations_are_understood() {
    let text = "# syntax = docker/dockerfile:1\n# escape=`\nFROM `\n# a comment\n  a:1 `\n  AS x\nRUN <<EOF\nFROM not/this\nEOF\nCOPY <<-'E' /f\n\tFROM nor/this\n\tE\nFROM x";
    assert_eq!(images(&read(text, None, &[])), ["a:1", "docker/dockerfile:1"]);
    assert_eq!(images(&read("FROM a\n# syntax=late", None, &[])), ["a"], "a directive comes first");
}

#[test]
fn what_is_fetched_without_checksum_is_said() {
    let text = "FROM scratch\nADD https://x/y /\nADD --checksum=sha256:00 https://x/z /\nADD a /";
    let found = read(text, None, &[]);
    assert!(found.images.is_empty());
    assert_eq!(found.unseen, ["`ADD https://x/y` fetches something that has no checksum"]);
}

#[test]
fn what_is_fetched_may_hide_in_a_list_or_a_variable() {
    let fetches = |line: &str| read(&format!("FROM scratch\nADD {line}"), None, &[]).unseen.len();
    assert_eq!(fetches(r#"["https://x/y", "/z"]"#), 1);
    assert_eq!(fetches("$URL /z"), 1);
    assert_eq!(fetches("github.com/a/b /z"), 1);
    assert_eq!(fetches("a-$VERSION.tar /z"), 0);
    assert_eq!(fetches("https://x/y.git#0123456789012345678901234567890123456789 /z"), 0);
    assert_eq!(fetches("https://x/y.git#main /z"), 1);
}

#[test]
fn images_are_renamed_where_they_stand() {
    let text = "# syntax=docker/dockerfile:1 x=y\nARG B=b\nFROM --platform=linux/arm64 a:1 AS one\r\n# a:1\nFROM $B\nCOPY --from=one /x /x\n\
                COPY --from=\"c\" /x /x\nRUN --mount=type=bind,from=d,target=/d cat /d \\\n  a:1\nFROM \\\n  b AS last\nRUN echo";
    let text = [text.as_bytes(), b" \xff\xfe"].concat();
    let outside = outside(&text, &Choices { target: None, args: BTreeMap::new(), platform: "linux/amd64" });
    let all = self::outside(&text, &Choices { target: Some("1"), args: BTreeMap::new(), platform: "linux/amd64" });
    assert_eq!(outside.images.len(), 2, "the last stage, and the frontend");
    let name = |base: &Base| (base.clone(), format!("{}@sha256:00", base.reference));
    let names = all.images.iter().map(name).collect();
    let out = renamed(&text, &all, &names);
    let expected = "# syntax=docker/dockerfile:1@sha256:00 x=y\nARG B=b\nFROM --platform=linux/arm64 a:1@sha256:00 AS one\r\n# a:1\nFROM b@sha256:00\n\
                    COPY --from=one /x /x\nCOPY --from=\"c@sha256:00\" /x /x\nRUN --mount=type=bind,from=d@sha256:00,target=/d cat /d \\\n  a:1\n\
                    FROM \\\n  b AS last\nRUN echo";
    assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&[expected.as_bytes(), b" \xff\xfe"].concat()));
    let names = outside.images.iter().map(name).collect();
    let out = renamed(&text, &outside, &names);
    assert!(String::from_utf8_lossy(&out).contains("FROM \\\n  b@sha256:00 AS last"));
}

#[test]
fn a_name_over_the_end_of_a_line_is_not_relied_on() {
    let found = read("FROM deb\\\nian", None, &[]);
    assert_eq!((images(&found), found.unseen.len()), (vec!["debian"], 1));
    assert!(read("FROM debian@sha256:\\\n00", None, &[]).unseen.is_empty());
}

/// What can be reached of these files.
fn reached(text: &str) -> Vec<&'static str> {
    let item = |path: &str, content| ContextItem { path: path.as_bytes().to_vec(), mode: 0o644, content, attributes: None };
    let items = [
        item("docs/a", ItemContent::File([0; 32])),
        item("lib/x.c", ItemContent::File([0; 32])),
        item("link", ItemContent::Link(b"docs".to_vec())),
        item("src/deep/y", ItemContent::File([0; 32])),
        item("src/z", ItemContent::File([0; 32])),
        item("srcs", ItemContent::File([0; 32])),
        item("tools/l", ItemContent::Link(b"../docs".to_vec())),
    ];
    let reach = read(text, None, &[]).reach.within(&items);
    let names = ["docs/a", "lib/x.c", "link", "src/deep/y", "src/z", "srcs", "tools/l"];
    names.into_iter().filter(|name| reach.covers(name.as_bytes())).collect()
}

#[test]
fn what_no_stage_takes_cannot_be_reached() {
    assert_eq!(reached("FROM a\nRUN x\nENV A=b\nWORKDIR /x\nCMD y"), [""; 0]);
    assert_eq!(reached("FROM a\nCOPY src /x"), ["src/deep/y", "src/z"]);
    assert_eq!(reached("FROM a\nCOPY --chown=1:1 ./src/deep/ ../lib/x.c /y/"), ["lib/x.c", "src/deep/y"]);
    assert_eq!(reached("FROM a\nADD [\"src/z\", \"/z\"]\nCOPY <<E /f\nCOPY . .\nE\nRUN y"), ["src/z"]);
    assert_eq!(reached("FROM a\nCOPY lib/*.c /x"), ["lib/x.c"]);
    assert_eq!(reached("FROM a AS one\nCOPY src /x\nFROM b\nCOPY lib /y"), ["lib/x.c"], "the first stage is not needed");
    assert_eq!(reached("FROM a AS one\nCOPY src /x\nFROM b\nCOPY --from=one /x /y"), ["src/deep/y", "src/z"]);
    assert_eq!(reached("FROM a\nRUN --mount=type=bind,source=srcs,target=/x --mount=type=cache,target=/c y"), ["srcs"]);
    assert_eq!(reached("# syntax=docker/dockerfile:1.7\nFROM a\nCOPY --link --parents srcs /x"), ["srcs"]);
    assert_eq!(reached("FROM a\nCOPY tools /x"), ["tools/l"], "a link that is copied as one");
}

#[test]
fn in_doubt_everything_counts() {
    for lines in [
        "COPY . /x",
        "COPY ./ /x",
        "COPY src/.. /x",
        "COPY * /x",
        "COPY *.c /x",
        "COPY $WHAT /x",
        "COPY \"src\" /x",
        "COPY sr\\c /x",
        "COPY --new=x src /x",
        "COPY link/a /x",
        "COPY link /x",
        "COPY tools/* /x",
        "COPY src/*/.. /x",
        "NEWS src",
        "ONBUILD COPY src /x",
        "RUN --mount=type=bind,target=/x y",
        "RUN --mount=target=/x y",
        "RUN --mount=type=bind,source=$X,target=/x y",
        "RUN --mount=type=new,target=/x y",
    ] {
        assert_eq!(reached(&format!("FROM a\n{lines}")).len(), 7, "{lines}");
    }
    assert_eq!(reached("# syntax=somebody/else\nFROM a").len(), 7);
    assert_eq!(reached("COPY src /x").len(), 7, "no stage");
}

#[test]
fn nonsense_is_left_to_the_builder() {
    assert_eq!(read("", None, &[]), Outside::default());
    assert_eq!(read("FROM\nRUN\n\\", Some("none"), &[]), Outside::default());
}

#[test]
fn a_cache_mount_is_seen_where_the_target_needs_it() {
    let text = "FROM a AS one\nRUN --mount=target=/c,Type=Cache x\nFROM a AS two\nRUN --mount=type=bind,target=/c x\nFROM one AS three\nRUN --mount=type=$T,target=/t x";
    assert!(read(text, Some("one"), &[]).cache_mounts && read(text, Some("three"), &[]).cache_mounts);
    assert!(!read(text, Some("two"), &[]).cache_mounts);
    assert!(read("FROM a\nRUN --mount=type=$T,target=/t x", None, &[]).cache_mounts);
}

#[test]
fn cache_mounts_that_are_reached_are_known_with_what_they_are_built_upon() {
    let text = "FROM a AS one\nRUN --mount=type=cache,target=/c --mount=type=bind,target=/b true\nFROM unused\nRUN --mount=type=cache,target=/no x\n\
                FROM one\nRUN --mount=type=cache,id=pip,target=/root/.cache/pip,gid=2,uid=1,sharing=locked \\\n  pip   install x\n\
                FROM scratch\nCOPY --from=2 / /\nRUN --mount=type=cache,target=/s y";
    let found: Vec<_> = read(text, None, &[]).mounts.into_iter().map(|mount| mount.expect("it travels")).collect();
    let row = |mount: &CacheMount| (mount.identity(), mount.base.as_ref().map(|base| base.reference.clone()));
    let rows: Vec<_> = found.iter().map(row).collect();
    let named = |identity: &str, base: Option<&str>| (identity.to_owned(), base.map(str::to_owned));
    assert_eq!(rows, [named("/s ", None), named("pip gid=2,uid=1", Some("a")), named("/c ", Some("a"))]);
    assert_eq!(found[1].step, "--mount=type=cache,id=pip,target=/root/.cache/pip,gid=2,uid=1,sharing=locked pip install x");
}

#[test]
fn a_mount_in_doubt_stays() {
    for options in ["target=/c,from=x", "target=/c,source=y", "target=/$HOME", "target=/a;b", "target=/c,new=1", "id=x"] {
        let found = read(&format!("FROM a\nRUN --mount=type=cache,{options} x"), None, &[]).mounts;
        assert!(matches!(found.as_slice(), [Err(_)]), "{options}: {found:?}");
    }
    assert!(read("FROM a\nRUN --mount=type=tmpfs,target=/c --mount=target=/d,type=bind x", None, &[]).mounts.is_empty());
}

#[test]
fn a_copy_of_a_whole_directory_can_be_made_in_two_steps() {
    let text = "FROM a\nCOPY requirements.txt .\nCOPY  --chown=1:2   ./src/.  /app/\r\nRUN x\n  copy . .\nCOPY --from=b . /b\n";
    let found = read(text, None, &[]);
    let directories: Vec<_> = found.copies.iter().map(|copy| copy.directory.as_slice()).collect();
    assert_eq!(directories, [b"requirements.txt".as_slice(), b"src", b""]);
    assert_eq!((found.reach, found.beside.covers(b"x")), (Reach::Everything, false));
    let two = |directory: &[u8]| vec![[b"one/", directory].concat(), [b"two/", directory].concat()];
    let copies: Vec<_> = found.copies[1..].iter().map(|copy| (copy.clone(), two(&copy.directory))).collect();
    let told = String::from_utf8(copied_from(text.as_bytes(), &copies)).expect("a text");
    let lines = "COPY  --chown=1:2   one/src  /app/\nCOPY  --chown=1:2   two/src  /app/\r\nRUN x\n  copy one/ .\n  copy two/ .\n";
    assert_eq!(told, format!("FROM a\nCOPY requirements.txt .\n{lines}COPY --from=b . /b\n"));
}

#[test]
fn a_copy_of_which_anything_is_in_doubt_is_left_alone() {
    for line in [
        "COPY --from=b . .",
        "COPY --link . .",
        "COPY --exclude=x . .",
        "COPY $DIR .",
        "COPY src* .",
        "COPY ../src .",
        "COPY a b .",
        "COPY [\".\", \".\"]",
        "COPY \"a\" \".\"",
        "COPY <<EOF /f\nEOF",
        "COPY \\\n . .",
        "ADD . .",
    ] {
        assert_eq!(read(&format!("FROM a\n{line}\n"), None, &[]).copies, [], "{line}");
    }
    let elsewhere = read("FROM a\nCOPY . .\nFROM b\nCOPY x .\n", None, &[]);
    assert_eq!(elsewhere.copies.len(), 1, "another stage's");
    for also in ["COPY *.txt .", "RUN --mount=type=bind,target=/src x", "ONBUILD COPY . .", "NEW . ."] {
        let found = read(&format!("FROM a\nCOPY . .\n{also}\n"), None, &[]);
        assert_eq!((found.copies.len(), found.beside), (1, Reach::Everything), "{also} sees where everything is");
    }
}
