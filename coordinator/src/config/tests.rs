//! What the configuration promises: one meaning per key from every source, all faults at once, nothing left open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::schema::{KEYS, Layer};
use super::*;
use crate::model::settings::{EngineKind, Order};
use crate::model::trust::{KeySource, Level, Partition, TrustedKey};

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = [("HOME".to_owned(), "/home/ann".to_owned())];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).chain(home).collect()
}

fn pytest() -> Candidate {
    Candidate {
        name: "pytest".into(),
        in_image: vec!["pytest".into()],
        here: vec![".venv/bin/pytest".into()],
        evidence: Some("`tests/test_a.py`".into()),
        looked_for: "`test_*.py` (pytest)".into(),
        recipe: None,
    }
}

fn facts() -> Facts {
    Facts {
        bases: Bases { root: "/src/shop".into(), directory: "/src/shop".into() },
        file: None,
        dockerfile: None,
        env_files: Vec::new(),
        frameworks: vec![pytest()],
        elsewhere: BTreeMap::new(),
        env: env(&[]),
        cpus: 4,
        seed: 7,
    }
}

fn flags(options: &[(&str, &str, &str)]) -> (Layer, Faults) {
    let mut flags = Flags::default();
    for (key, option, value) in options {
        flags.set(key, option, value);
    }
    flags.finish()
}

fn with(options: &[(&str, &str, &str)], facts: Facts) -> Result<Project, ConfigError> {
    let (defaults, _) = read::defaults();
    let (layer, faults) = flags(options);
    resolve(layer.over(defaults), facts, faults)
}

fn good(options: &[(&str, &str, &str)], facts: Facts) -> Project {
    with(options, facts).expect("a good configuration")
}

/// Faults as a person reads them.
fn told(error: &ConfigError) -> String {
    let one = |fault: &Fault| {
        let hint = fault.kind.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        format!(
            "{}{}{hint}\n",
            fault.kind,
            if fault.place == Place::Nowhere { String::new() } else { format!("\n  where: {}", fault.place) }
        )
    };
    error.faults.iter().map(one).collect()
}

fn file_faults(text: &str) -> String {
    let (_, faults) = read::file(Path::new("splitci.toml"), text);
    told(&faults.finish(()).expect_err("faults"))
}

// --- the example ---

fn uncommented() -> String {
    let key =
        |line: &str| line.strip_prefix("# ").filter(|rest| rest.split_once(" = ").is_some_and(|(name, _)| is_key(name))).map(str::to_owned);
    let section = |line: &str| line.strip_prefix("# ").filter(|rest| rest.starts_with('[') && rest.ends_with(']')).map(str::to_owned);
    EXAMPLE.lines().map(|line| key(line).or_else(|| section(line)).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn is_key(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn the_example_as_it_stands_gives_the_defaults() {
    let (layer, faults) = read::defaults();
    assert!(faults.is_empty(), "{}", told(&faults.finish(()).expect_err("faults")));
    let from_example = resolve(layer, facts(), Faults::default()).expect("resolves");
    let mut from_nothing = resolve(Layer::default(), facts(), Faults::default()).expect("resolves");
    from_nothing.settings.container.network = Some("bridge".into());
    from_nothing.settings.container.pids_limit = Some(4096);
    assert_eq!(from_example, from_nothing);
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let text = uncommented();
    let (_, faults) = read::file(Path::new("example"), &text);
    assert!(faults.is_empty(), "{}", told(&faults.finish(()).expect_err("faults")));
    let table: toml::Table = text.parse().expect("TOML");
    let mut shown = Vec::new();
    leaves("", &table, &mut shown);
    let mut known: Vec<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    shown.sort();
    known.sort();
    assert_eq!(shown, known);
}

fn leaves(prefix: &str, table: &toml::Table, out: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) if key == "production" => leaves(prefix, inner, out),
            toml::Value::Table(inner) if read::is_section(&path) => leaves(&path, inner, out),
            _ => out.push(path),
        }
    }
}

// --- faults ---

#[test]
fn all_faults_of_a_file_come_at_once_with_line_and_near_miss() {
    let text = "[run]\nshard = 8\nengine = \"dokcer\"\nretries = -1\ntimeout = \"5m\"\n\n[shard]\nmemory = \"lots\"\nvolumes = [\"a:/b\", 3]\n\n[imgae]\ntarget = \"x\"\n\n[suite]\nshards = 3\n";
    insta::assert_snapshot!(file_faults(text), @r"
    there is no key `run.shard`
      where: splitci.toml:2, key `run.shard`
      hint: did you mean `run.shards`?
    expected `auto`, `docker` or `process`, found `dokcer`
      where: splitci.toml:3, key `run.engine`
      hint: did you mean `docker`?
    expected a whole number from 0 on, found `-1`
      where: splitci.toml:4, key `run.retries`
    `run.timeout` is a table of keys, not a value
      where: splitci.toml:5, key `run.timeout`
      hint: write its keys below a line `[run.timeout]`
    expected a size above zero, such as `512m` or `1GiB`, found `lots`
      where: splitci.toml:8, key `shard.memory`
    expected a list of texts, found a list with something else in it
      where: splitci.toml:9, key `shard.volumes`
    there is no key `imgae`
      where: splitci.toml:11, key `imgae`
      hint: did you mean `image`?
    there is no key `suite.shards`
      where: splitci.toml:15, key `suite.shards`
      hint: did you mean `run.shards`?
    ");
}

#[test]
fn a_broken_file_says_where_it_breaks() {
    insta::assert_snapshot!(file_faults("[run]\nshards = \n[image\n"), @r"
    cannot read this as TOML: string values must be quoted, expected literal string
      where: splitci.toml:2
      hint: `splitci init --reference` prints a complete example
    cannot read this as TOML: unclosed table, expected `]`
      where: splitci.toml:3
      hint: `splitci init --reference` prints a complete example
    ");
}

#[test]
fn options_and_variables_are_judged_by_the_same_rules() {
    let (layer, mut faults) =
        flags(&[("run.shards", "--shards", "0"), ("run.timeout.test", "--timeout", "soon"), ("run.env", "--env", "=x")]);
    let (_, more) = read::environment(&env(&[
        ("SPLITCI_RUN_ENGINE", "podman"),
        ("SPLITCI_RUN_SHARD", "8"),
        ("SPLITCI_SHARDS", "9"),
        ("SPLITCI_RUN_SEED", ""),
    ]));
    faults.extend(more);
    let error = resolve(layer, facts(), faults).expect_err("faults");
    insta::assert_snapshot!(told(&error), @r"
    expected a whole number from 1 to 1000, found `0`
      where: command line, `--shards`
    expected a duration above zero, such as `90s`, `10m` or `1h 30m`, found `soon`
      where: command line, `--timeout`
    expected a list of `NAME=value` and `NAME`, found `=x`
      where: command line, `--env`
    expected `auto`, `docker` or `process`, found `podman`
      where: environment variable `SPLITCI_RUN_ENGINE`
    the variable `SPLITCI_RUN_SHARD` sets no key
      where: environment variable `SPLITCI_RUN_SHARD`
      hint: did you mean `SPLITCI_RUN_SHARDS`?
    ");
}

#[test]
fn no_framework_teaches_what_was_looked_for() {
    let facts = Facts { frameworks: vec![Candidate { evidence: None, ..pytest() }], ..facts() };
    insta::assert_snapshot!(told(&with(&[], facts).expect_err("faults")), @r"
    no test framework was found in `/src/shop`
      hint: looked for `test_*.py` (pytest); name it with `--framework` (key `suite.framework`)
    ");
}

#[test]
fn faults_of_different_sources_and_passes_come_together() {
    let facts = Facts { env: BTreeMap::new(), ..facts() };
    let options =
        [("run.engine", "--engine", "docker"), ("suite.framework", "--framework", "pytets"), ("suite.paths", "PATH", "../elsewhere")];
    insta::assert_snapshot!(told(&with(&options, facts).expect_err("faults")), @r"
    engine `docker` needs an image, and no Dockerfile was found in `/src/shop` or above it
      hint: name one with `--file` (key `image.dockerfile`), an existing image with `--image`, or use `--engine process`
    there is no framework `pytets`
      where: command line, `--framework`
      hint: did you mean `pytest`?
    `../elsewhere` is not in the project `/src/shop`
      where: command line, `PATH`
      hint: name tests by paths below the project, or choose another project with `-C DIR`
    there is no place for records: neither `--state`, `SPLITCI_STATE`, `XDG_STATE_HOME` nor `HOME` is set
      hint: set `SPLITCI_STATE` to a directory outside of the project
    ");
}

// --- layers ---

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let (file, _) = read::file(Path::new("splitci.toml"), "[run]\nshards = 2\nseed = 2\nretries = 2\nenv = [\"A=file\", \"B=file\"]");
    let (variables, _) =
        read::environment(&env(&[("SPLITCI_RUN_SHARDS", "3"), ("SPLITCI_RUN_SEED", "3"), ("SPLITCI_RUN_ENV", "B=var C=var")]));
    let (options, _) = flags(&[("run.shards", "--shards", "4"), ("run.env", "--env", "C=1"), ("run.env", "--env", "D=2")]);
    let settings = resolve(options.over(variables).over(file), facts(), Faults::default()).expect("resolves").settings;
    assert_eq!((settings.shards, settings.seed, settings.retries), (4, 3, 2));
    let env: Vec<String> = settings.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=file", "B=var", "C=1", "D=2"]);
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let names: BTreeSet<String> = KEYS.iter().filter(|key| !key.is_of_a_name()).map(Key::variable).collect();
    assert_eq!(names.len(), KEYS.iter().filter(|key| !key.is_of_a_name()).count());
    assert!(names.contains("SPLITCI_STATE") && names.contains("SPLITCI_RUN_TIMEOUT_TEST"));
}

#[test]
fn sizes_and_spans_are_read_as_people_write_them() {
    let sizes = [("512", 512), ("512b", 512), ("1k", 1024), ("64M", 64 << 20), ("1.5g", 3 << 29), ("2 GiB", 2 << 30), ("1tb", 1 << 40)];
    for (text, want) in sizes {
        assert_eq!(good(&[("shard.memory", "--memory", text)], facts()).settings.container.memory, Some(want), "{text}");
    }
    for (text, want) in [("90", 90_000), ("90s", 90_000), ("1h 30m", 5_400_000), ("250ms", 250)] {
        assert_eq!(good(&[("run.timeout.test", "--timeout", text)], facts()).settings.timeouts.test_ms, want, "{text}");
    }
    for text in ["", "0", "-1", "5ib", "1.2.3m", "m", "9999999t"] {
        assert!(with(&[("shard.memory", "--memory", text)], facts()).is_err(), "{text}");
    }
}

// --- decisions ---

fn built(project: Project) -> BuildSettings {
    match project.image {
        Some(ImageSettings::Build(build)) => build,
        other => panic!("expected a build, got {other:?}"),
    }
}

fn with_dockerfile(path: &str) -> Facts {
    Facts { dockerfile: Some(path.into()), ..facts() }
}

#[test]
fn the_engine_is_docker_exactly_when_there_is_something_to_run_in_it() {
    let kind = |options: &[(&str, &str, &str)], facts| good(options, facts).settings.engine;
    assert_eq!(kind(&[], facts()), EngineKind::Process);
    assert_eq!(kind(&[], with_dockerfile("/src/shop/Dockerfile")), EngineKind::Docker);
    assert_eq!(kind(&[("image.ref", "--image", "app:1")], facts()), EngineKind::Docker);
    assert_eq!(kind(&[("run.engine", "--engine", "process")], with_dockerfile("/src/shop/Dockerfile")), EngineKind::Process);
}

#[test]
fn a_project_below_its_dockerfile_is_built_from_above() {
    let project = good(&[], with_dockerfile("/src/Dockerfile"));
    assert_eq!(project.settings.directory, "shop");
    let build = built(project);
    assert_eq!((build.context, build.dockerfile), (PathBuf::from("/src"), PathBuf::from("/src/Dockerfile")));
}

#[test]
fn a_dockerfile_inside_the_project_is_built_with_the_project_as_context() {
    let project = good(&[("image.dockerfile", "--file", "docker/test.Dockerfile")], with_dockerfile("/src/Dockerfile"));
    assert_eq!(project.settings.directory, "");
    let build = built(project);
    assert_eq!((build.context, build.dockerfile), (PathBuf::from("/src/shop"), PathBuf::from("/src/shop/docker/test.Dockerfile")));
}

#[test]
fn a_named_image_replaces_the_build_of_the_file_but_not_of_the_same_source() {
    let (file, _) = read::file(Path::new("splitci.toml"), "[image]\ntarget = \"test\"\n");
    let (options, _) = flags(&[("image.ref", "--image", "app:1")]);
    let project = resolve(options.over(file), with_dockerfile("/src/Dockerfile"), Faults::default()).expect("resolves");
    assert_eq!(project.image, Some(ImageSettings::Given { reference: "app:1".into(), platform: None }));
    assert_eq!(project.settings.directory, "shop");
    let both = with(&[("image.ref", "--image", "app:1"), ("image.target", "--target", "test")], facts());
    insta::assert_snapshot!(told(&both.expect_err("faults")), @r"
    an image is both named and to be built
      where: command line, `--target`
      hint: keep either `image.ref` or the keys that build one
    ");
}

#[test]
fn the_command_is_the_frameworks_with_arguments_and_then_paths() {
    let options = [
        ("suite.args", "--", "-k"),
        ("suite.args", "--", "not slow"),
        ("suite.paths", "PATH", "./tests/unit"),
        ("suite.paths", "PATH", "tests/b c"),
    ];
    let settings = good(&options, facts()).settings;
    assert_eq!(settings.suites[0].command, [".venv/bin/pytest", "-k", "not slow", "tests/unit", "tests/b c"]);
    assert_eq!((settings.suites[0].framework.as_str(), settings.order), ("pytest", Order::Scheduled));
}

#[test]
fn a_command_that_names_a_framework_needs_no_evidence_of_it() {
    let facts = Facts { frameworks: vec![Candidate { evidence: None, ..pytest() }], ..facts() };
    let settings = good(&[("suite.command", "--command", ".venv/bin/pytest -q")], facts).settings;
    let suite = &settings.suites[0];
    assert_eq!((suite.framework.as_str(), &suite.command[..]), ("pytest", &[".venv/bin/pytest".to_owned(), "-q".to_owned()][..]));
}

#[test]
fn a_build_argument_without_value_is_the_callers() {
    let facts = Facts { env: env(&[("VERSION", "3.12")]), ..with_dockerfile("/src/shop/Dockerfile") };
    let project = good(
        &[("image.args", "--build-arg", "VERSION"), ("image.args", "--build-arg", "GONE"), ("image.args", "--build-arg", "A=b=c")],
        facts,
    );
    assert_eq!(project.notices.len(), 1);
    assert_eq!(built(project).args, BTreeMap::from([("A".into(), "b=c".into()), ("VERSION".into(), "3.12".into())]));
}

#[test]
fn records_are_kept_outside_of_the_project() {
    assert_eq!(good(&[], facts()).records.state, Path::new("/home/ann/.local/state/splitci/d72281910868"));
    let elsewhere = Facts { env: env(&[("XDG_STATE_HOME", "/state")]), ..facts() };
    assert_eq!(good(&[], elsewhere).records.state, Path::new("/state/splitci/d72281910868"));
    let inside = good(&[("record.state", "--state", ".state")], facts());
    assert_eq!((inside.records.state.as_path(), inside.notices.len()), (Path::new("/src/shop/.state"), 1));
}

#[test]
fn a_project_name_is_made_fit_for_an_image_name() {
    for (directory, want) in [("Shop", "shop"), ("my shop (2)", "my-shop-2"), ("__x__", "x"), ("läden", "l-den"), ("???", "project")] {
        let facts = Facts { bases: Bases { root: Path::new("/src").join(directory), directory: "/src".into() }, ..facts() };
        assert_eq!(good(&[], facts).name, want);
    }
    assert!(with(&[("project.name", "SPLITCI_PROJECT_NAME", "My Shop")], facts()).is_err());
}

// --- the directory ---

fn tree(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for file in files {
        let path = dir.path().join(file);
        fs_err::create_dir_all(path.parent().expect("below")).expect("made");
        fs_err::write(path, "").expect("written");
    }
    dir
}

#[test]
fn the_nearest_file_above_makes_the_project_and_the_repository_ends_the_search() {
    let dir = tree(&["splitci.toml", "Dockerfile", "repo/.git/HEAD", "repo/Dockerfile", "repo/a/b/c/x", "repo/a/splitci.toml"]);
    let root = dir.path().canonicalize().expect("exists");
    let inside = locate(&root.join("repo/a/b/c"), &BTreeMap::new()).expect("located");
    assert_eq!(inside.file, Some(root.join("repo/a/splitci.toml")));
    assert_eq!(inside.bases.root, root.join("repo/a"));
    assert_eq!(inside.dockerfile, Some(root.join("repo/Dockerfile")));
    let repo = locate(&root.join("repo"), &BTreeMap::new()).expect("located");
    assert_eq!((repo.file, repo.bases.root), (None, root.join("repo")));
}

#[test]
fn without_a_repository_the_search_ends_below_home() {
    let dir = tree(&["Dockerfile", "work/shop/x", "other/Dockerfile", "other/shop/x"]);
    let root = dir.path().canonicalize().expect("exists");
    let env = BTreeMap::from([("HOME".to_owned(), root.display().to_string())]);
    assert_eq!(locate(&root.join("work/shop"), &env).expect("located").dockerfile, None);
    assert_eq!(locate(&root.join("other/shop"), &env).expect("located").dockerfile, Some(root.join("other/Dockerfile")));
    assert_eq!(locate(&root, &env).expect("located").dockerfile, Some(root.join("Dockerfile")));
}

#[test]
fn a_whole_project_is_loaded_from_a_subdirectory() {
    let dir = tree(&["Dockerfile", "shop/tests/test_a.py"]);
    let root = dir.path().canonicalize().expect("exists");
    fs_err::write(root.join("shop/splitci.toml"), "[run]\nenv_file = [\"test.env\"]\n[image]\nargs = { V = 3 }\n").expect("written");
    fs_err::write(root.join("shop/test.env"), "TOKEN=secret\n").expect("written");
    let mut flags = Flags::default();
    flags.set("suite.paths", "PATH", "test_a.py");
    let request = Request { directory: root.join("shop/tests"), flags, env: env(&[]), cpus: 2, seed: 1 };
    let project = load(request, &|_, _| vec![pytest()]).expect("loads");
    assert_eq!(project.settings.suites[0].command, ["pytest", "tests/test_a.py"]);
    assert_eq!((project.settings.directory.as_str(), project.name.as_str()), ("shop", "shop"));
    assert_eq!(project.settings.env_names, ["TOKEN"]);
    assert_eq!(project.environment.iter().collect::<Vec<_>>(), [("TOKEN", "secret")]);
    assert_eq!(built(project).args, BTreeMap::from([("V".into(), "3".into())]));
}

#[test]
fn what_a_project_says_of_its_frameworks_is_not_sought() {
    let cases = [
        ("", vec![Sought::Frameworks]),
        ("[suite]\nframework = \"pytest\"\n", vec![Sought::Commands(["pytest".to_owned()].into())]),
        ("[suite]\nframework = \"pytest\"\ncommand = \"pytest -x\"\n", vec![Sought::Commands(BTreeSet::new())]),
        ("[suite]\ncommand = \"pytest -x\"\n", vec![Sought::Frameworks]),
        (
            "[[suite]]\nname = \"a\"\nframework = \"pytest\"\ndirectory = \"a\"\n[[suite]]\nname = \"b\"\ndirectory = \"b\"\n",
            vec![Sought::Commands(["pytest".to_owned()].into()), Sought::Frameworks, Sought::Commands(BTreeSet::new())],
        ),
    ];
    for (text, expected) in cases {
        let dir = tree(&["Dockerfile", "a/x", "b/x"]);
        fs_err::write(dir.path().join("splitci.toml"), text).expect("written");
        let request = Request { directory: dir.path().into(), flags: Flags::default(), env: env(&[]), cpus: 2, seed: 1 };
        let asked = std::cell::RefCell::new(Vec::new());
        load(request, &|_, sought| {
            asked.borrow_mut().push(sought.clone());
            vec![pytest()]
        })
        .expect("loads");
        assert_eq!(asked.into_inner(), expected, "{text}");
    }
}

#[test]
fn what_is_named_must_be_there() {
    let dir = tree(&["x"]);
    fs_err::write(dir.path().join("splitci.toml"), "[image]\ndockerfile = \"gone\"\ncontext = \"nowhere\"\n").expect("written");
    let mut flags = Flags::default();
    flags.set("run.env_file", "--env-file", "gone.env");
    let request = Request { directory: dir.path().into(), flags, env: env(&[]), cpus: 2, seed: 1 };
    insta::assert_snapshot!(told(&load(request, &|_, _| vec![pytest()]).expect_err("faults")), @r"
    there is no file `gone`
      where: splitci.toml:2, key `image.dockerfile`
    there is no directory `nowhere`
      where: splitci.toml:3, key `image.context`
    cannot read `gone.env`
      where: command line, `--env-file`
    ");
}

// --- trust and cache ---

const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMIGHSECRET\n-----END PRIVATE KEY-----\n";

fn from_file_and_environment(text: &str, variables: &[(&str, &str)], facts: Facts) -> Result<Project, ConfigError> {
    let (file, mut faults) = read::file(Path::new("splitci.toml"), text);
    let (environment, more) = read::environment(&env(variables));
    faults.extend(more);
    resolve(environment.over(file), facts, faults)
}

#[test]
fn keys_are_files_or_texts_and_each_has_its_level() {
    let text = "[trust]\nkey = \"own.pem\"\nprotected = [\"keys/main.pem\", \"-----BEGIN PUBLIC KEY-----\"]\nbranch = [{ key = \"b.pem\", partition = \"2.x\" }]\n";
    let trust = from_file_and_environment(text, &[("SPLITCI_TRUST_PULL", "a.pem b.pem")], facts()).expect("good").trust;
    assert_eq!(trust.key, Some(KeySource::File("/src/shop/own.pem".into())));
    let entry = |level, partition, key| TrustedKey { level, partition: Partition::new(partition), key };
    let file = |path: &str| KeySource::File(Path::new("/src/shop").join(path));
    let expected = [
        entry(Level::Protected, "", file("keys/main.pem")),
        entry(Level::Protected, "", KeySource::Text("-----BEGIN PUBLIC KEY-----".into())),
        entry(Level::Branch, "2.x", file("b.pem")),
        entry(Level::Pull, "", file("a.pem")),
        entry(Level::Pull, "", file("b.pem")),
    ];
    assert_eq!(trust.trusted, expected);
}

#[test]
fn a_signer_is_a_program_that_starts_where_it_is_named() {
    let below = || Facts { bases: Bases { root: "/src/shop".into(), directory: "/src/shop/web".into() }, ..facts() };
    let signer =
        |text: &str, variables: &[(&str, &str)]| from_file_and_environment(text, variables, below()).map(|found| found.trust.signer);
    let named = signer("[trust]\nsigner = [\"bin/sign\", \"a key\"]\n", &[]).expect("good").expect("named");
    assert_eq!((named.words, named.directory), (vec!["bin/sign".to_owned(), "a key".to_owned()], "/src/shop".into()));
    let named = signer("[trust]\nsigner = \"bin/sign\"\n", &[("SPLITCI_TRUST_SIGNER", "other key")]).expect("good").expect("named");
    assert_eq!((named.words, named.directory), (vec!["other".to_owned(), "key".to_owned()], "/src/shop/web".into()));
    assert_eq!(signer("", &[]).expect("good"), None);
    for none in ["signer = []", "signer = \"\"", "signer = [\"\"]", "signer = 3"] {
        signer(&format!("[trust]\n{none}\n"), &[]).expect_err(none);
    }
}

#[test]
fn the_environment_can_take_trust_away() {
    let text = "[trust]\nprotected = [\"a.pem\", \"b.pem\"]\n";
    let trust = from_file_and_environment(text, &[("SPLITCI_TRUST_PROTECTED", "a.pem")], facts()).expect("good").trust;
    assert_eq!(trust.trusted.len(), 1);
}

#[test]
fn a_private_key_comes_in_a_variable_or_a_file_and_is_never_shown() {
    let project = from_file_and_environment("", &[("SPLITCI_KEY", PRIVATE)], facts()).expect("good");
    assert_eq!(project.trust.key, Some(KeySource::Text(PRIVATE.into())));
    assert!(!format!("{project:?}").contains("SECRET"));
    assert!(!format!("{:?}", read::environment(&env(&[("SPLITCI_KEY", PRIVATE)])).0).contains("SECRET"));
    assert_eq!(from_file_and_environment("", &[("SPLITCI_KEY", "")], facts()).expect("good").trust.key, None);
    let open = from_file_and_environment(&format!("[trust]\nkey = \"\"\"{PRIVATE}\"\"\"\n"), &[], facts()).expect_err("faults");
    insta::assert_snapshot!(told(&open), @r"
    a private key does not belong there
      where: splitci.toml:2, key `trust.key`
      hint: put it into a file that only you can read, and name that file; or hand it on in `SPLITCI_KEY`
    ");
}

#[test]
fn a_machines_key_is_not_kept_where_projects_are_saved() {
    let machine = |state: &str| good(&[("record.state", "--state", state)], facts()).records.machine;
    assert_eq!(good(&[], facts()).records.machine, Path::new("/home/ann/.local/state/splitci"));
    assert_eq!(machine(".state"), Path::new("/home/ann/.local/state/splitci"));
    assert_eq!(machine("/ci/state"), Path::new("/ci/state"));
    let homeless = Facts { env: BTreeMap::new(), ..facts() };
    assert_eq!(good(&[("record.state", "--state", ".state")], homeless).records.machine, Path::new("/src/shop/.state"));
}

#[test]
fn the_cache_has_a_place_if_anything_says_where() {
    let dir = |options: &[(&str, &str, &str)], facts| good(options, facts).cache.dir;
    assert_eq!(dir(&[], facts()), Some("/home/ann/.cache/splitci".into()));
    let elsewhere = Facts { env: env(&[("XDG_CACHE_HOME", "/cache")]), ..facts() };
    assert_eq!(dir(&[], elsewhere), Some("/cache/splitci".into()));
    let homeless = Facts { env: BTreeMap::new(), ..facts() };
    assert_eq!(dir(&[("record.state", "--state", "/s")], homeless), None);
    let inside = good(&[("cache.dir", "--cache-dir", ".cache"), ("cache.size", "--size", "5g")], facts());
    assert_eq!((inside.cache.dir, inside.cache.size, inside.notices.len()), (Some("/src/shop/.cache".into()), Some(5 << 30), 1));
}
