//! Tables: what is found, what is started, what is never cut.

use std::collections::BTreeMap;

use super::*;
use crate::framework;
use crate::model::settings::{ContainerSettings, EngineKind, Flaky, Order, RunSettings, SuiteSettings, Timeouts};
use crate::model::{SessionId, ShardId};

fn facts(files: &[&str], texts: &[(&str, &str)]) -> ProjectFacts {
    ProjectFacts {
        files: files.iter().map(ToString::to_string).collect(),
        texts: texts.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect(),
        place: Place::Image,
    }
}

fn here(files: &[&str], programs: &[&str], activated: bool) -> Vec<String> {
    let place = Place::Here { programs: programs.iter().map(ToString::to_string).collect(), activated };
    Pytest.command(&ProjectFacts { place, ..facts(files, &[]) })
}

fn settings(engine: EngineKind) -> RunSettings {
    RunSettings {
        engine,
        shards: 4,
        suites: vec![SuiteSettings {
            framework: "pytest".into(),
            command: vec!["pytest".into(), "tests".into(), "-k".into(), "fast".into()],
            ..SuiteSettings::default()
        }],
        directory: String::new(),
        seed: (1 << 32) + 9,
        order: Order::Scheduled,
        fail_fast: false,
        allow_empty: false,
        retries: 0,
        flaky: Flaky::Pass,
        reuse: false,
        timeouts: Timeouts { test_ms: 1, boot_ms: 1, run_ms: 1, grace_ms: 1 },
        container: ContainerSettings::default(),
        env: Vec::new(),
        env_names: Vec::new(),
    }
}

fn launched(settings: &RunSettings, given: &[(&str, &str)], inherited: &[(&str, &str)]) -> Launch {
    let given: Vec<_> = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let inherited: BTreeMap<_, _> = inherited.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let session = SessionId { shard: ShardId(3), number: 2 };
    let suite = &settings.suites[0];
    Pytest.launch(&LaunchRequest {
        settings,
        suite,
        session,
        shards: settings.shards,
        cwd: Some("/app"),
        given: &given,
        inherited: &inherited,
    })
}

fn value<'a>(launch: &'a Launch, name: &str) -> Option<&'a str> {
    launch.env.iter().rev().find(|(set, _)| set == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_project_is_recognised_by_what_speaks_loudest() {
    type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], Option<&'static str>);
    let table: &[Row] = &[
        (&["pytest.ini", "tests/test_a.py"], &[], Some("`pytest.ini`")),
        (
            &["pyproject.toml"],
            &[("pyproject.toml", "[project]\n[tool.pytest.ini_options]\n")],
            Some("`[tool.pytest.ini_options]` in `pyproject.toml`"),
        ),
        (&["pyproject.toml"], &[("pyproject.toml", "[project]\nname = \"[tool.pytest]\"\n")], None),
        (&["setup.cfg"], &[("setup.cfg", "[metadata]\n[tool:pytest]\n")], Some("`[tool:pytest]` in `setup.cfg`")),
        (&["tox.ini"], &[("tox.ini", "[tox]\n[pytest]\n")], Some("`[pytest]` in `tox.ini`")),
        (&["a.py", "sub/conftest.py"], &[], Some("`sub/conftest.py`")),
        (&["a.py", "deep/er/test_x.py"], &[], Some("`deep/er/test_x.py`")),
        (&["x_test.py"], &[], Some("`x_test.py`")),
        (&["node_modules/p/test_x.py", ".venv/lib/test_y.py"], &[], None),
        (&["test_x.rb", "testing.py"], &[], None),
    ];
    for (files, texts, expected) in table {
        assert_eq!(Pytest.evidence(&facts(files, texts)).as_deref(), *expected, "{files:?}");
    }
}

#[test]
fn pytest_is_called_as_the_user_would_call_it() {
    assert_eq!(Pytest.command(&facts(&[".venv/bin/pytest"], &[])), ["pytest"], "an image has its own");
    assert_eq!(here(&[".venv/bin/pytest"], &["pytest"], false), [".venv/bin/pytest"]);
    assert_eq!(here(&[".venv/bin/pytest"], &["pytest"], true), ["pytest"], "an activated environment comes first");
    assert_eq!(here(&[], &["pytest", "python3"], false), ["pytest"]);
    assert_eq!(here(&[], &["python3", "python"], false), ["python3", "-m", "pytest"]);
    assert_eq!(here(&[], &["python"], false), ["python", "-m", "pytest"]);
    assert_eq!(here(&[], &[], false), ["pytest"], "the error shall name pytest");
}

#[test]
fn a_session_is_the_users_command_with_the_driver_in_its_environment() {
    let launch = launched(&settings(EngineKind::Process), &[("A", "1")], &[]);
    assert_eq!(launch.argv, ["pytest", "tests", "-k", "fast"]);
    assert_eq!(launch.cwd.as_deref(), Some("/app"));
    assert_eq!(value(&launch, "A"), Some("1"));
    assert_eq!(value(&launch, "SPLITCI_SHARD"), Some("3"));
    assert_eq!(value(&launch, "SPLITCI_SHARDS"), Some("4"));
    assert_eq!(value(&launch, "SPLITCI_DRIVER_SEED"), Some("4294967305"));
    assert_eq!(value(&launch, "PYTHONHASHSEED"), Some("9"), "Python takes 32 bits");
    assert_eq!(value(&launch, "TEST_ENV_NUMBER"), Some("3"));
    assert_eq!(value(&launch, "COVERAGE_FILE"), Some(".coverage.3.2"));
    assert_eq!(value(&launch, "SPLITCI_PYTHON_SHARED"), Some("1"));
    assert_eq!(value(&launch, "SPLITCI_PYTHON_WHOLE"), None);
    assert_eq!(launch.env_prepend[0], ("PYTHONPATH".into(), "{run}".into(), ":".into()));
    assert_eq!(launch.env_prepend[1], ("PYTEST_PLUGINS".into(), MODULE.into(), ",".into()));
    let files: Vec<_> = launch.files.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["splitci_wire.py", "splitci_pytest_driver.py"]);
}

#[test]
fn what_the_user_set_stays() {
    let mut one = RunSettings { shards: 1, ..settings(EngineKind::Docker) };
    one.suites[0].whole = true;
    let launch = launched(&one, &[("TEST_ENV_NUMBER", "x")], &[("PYTHONHASHSEED", "random")]);
    assert_eq!(value(&launch, "TEST_ENV_NUMBER"), Some("x"));
    assert_eq!(value(&launch, "PYTHONHASHSEED"), None);
    assert_eq!(value(&launch, "COVERAGE_FILE"), None, "one shard's data is the whole");
    assert_eq!(value(&launch, "SPLITCI_PYTHON_SHARED"), None);
    assert_eq!(value(&launch, "SPLITCI_PYTHON_WHOLE"), Some("1"));
    let launch = launched(&settings(EngineKind::Docker), &[], &[("COVERAGE_FILE", "/data/cov")]);
    assert_eq!(value(&launch, "COVERAGE_FILE"), Some("/data/cov.3.2"));
}

#[test]
fn a_class_is_never_cut_and_variants_may_be() {
    let table = [
        ("a.py::one", "a.py::one"),
        ("a.py::two[1]", "a.py::two[1]"),
        ("a.py::A::one", "a.py::A"),
        ("a.py::A::B::two[p]", "a.py::A"),
        ("a.py::A::one[1]", "a.py::A"),
        ("a.py::x[a::b]", "a.py::x[a::b]"),
        ("a.py", "a.py"),
        ("", ""),
    ];
    for (id, together) in table {
        assert_eq!(group(id), together, "two colons in a parameter are no class");
    }
}

#[test]
fn the_driver_and_this_side_agree() {
    assert!(python::WIRE.contains(&format!("DUMP_SIGNAL = {}\n", python::DUMP_SIGNAL)));
    assert!(DRIVER.contains("PYTEST_DONT_REWRITE"));
    let version = splitci_worker::protocol::VERSION;
    // An older minor says less, and is understood.
    let speaks = |minor| python::WIRE.contains(&format!("MAJOR, MINOR = {}, {minor}\n", version.major));
    assert!((0..=version.minor).any(speaks));
}

#[test]
fn a_framework_is_found_by_its_name() {
    assert!(framework::by_name("pytest").is_some());
    assert!(framework::by_name("nose").is_none());
    assert!(framework::texts_wanted().any(|file| file == "pyproject.toml"));
}
