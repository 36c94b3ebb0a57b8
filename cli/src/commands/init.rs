//! `splitci init`: writes a `splitci.toml` that says what was found, or prints the reference.

use std::io::Write as _;
use std::path::Path;

use splitci_coordinator::config::{Candidate, EXAMPLE, FILE_NAME, Sought, Where, locate};

use crate::Context;
use crate::args::InitArgs;
use crate::project::candidates;
use crate::ui::error::{Failure, Told};
use crate::ui::exit::Exit;
use crate::ui::printer;

/// Does it.
pub(crate) fn init(args: &InitArgs, context: &Context) -> Result<Exit, Failure> {
    if args.reference {
        printer::answer(EXAMPLE)?;
        return Ok(Exit::DONE);
    }
    let located = locate(&context.directory, &context.env)?;
    let directory = located.bases.directory.clone();
    let found = candidates(&directory, &context.env, &Sought::Frameworks);
    let path = directory.join(FILE_NAME);
    // Made only if it is new: nobody's file is ever overwritten, not even one that appears just now.
    let written = fs_err::OpenOptions::new().write(true).create_new(true).open(&path);
    match written.and_then(|mut file| file.write_all(text(&located, &found).as_bytes())) {
        Ok(()) => {
            printer::answer(&format!("{}\n", path.display()))?;
            Ok(Exit::DONE)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(&path)),
        Err(error) => Err(Failure::new(Exit::USAGE, &error, None)),
    }
}

fn exists(path: &Path) -> Failure {
    let hint = "`splitci init --reference` prints every key, to copy from".to_owned();
    let told = Told { what: format!("`{}` exists, and is left alone", path.display()), causes: Vec::new(), place: None, hint: Some(hint) };
    Failure { exit: Exit::USAGE, told: vec![told] }
}

/// The file's text.
fn text(located: &Where, candidates: &[Candidate]) -> String {
    let dockerfile = located.dockerfile.as_ref().and_then(|dockerfile| from_here(&located.bases.directory, dockerfile));
    let image = match dockerfile {
        Some(dockerfile) => format!("# Found: {dockerfile}.\n# dockerfile = \"{dockerfile}\"\n"),
        None => "# No Dockerfile was found: tests run as processes on this machine.\n# dockerfile = \"docker/test.Dockerfile\"\n".into(),
    };
    format!(
        "# What splitci was told about this project. Lines that are commented out say what holds anyway, or what could be said.\n\
         # Every key there is: splitci init --reference\n\n\
         [image]\n{image}\n\
         # The stage to build, if it is not the last one.\n# target = \"test\"\n\n\
         {}\
         [run]\n# How many shards. By default one for each CPU.\n# shards = 8\n\n\
         # Variables for the tests: NAME=value, or NAME to hand on the caller's.\n# env = [\"APP_ENV=test\"]\n\n\
         [run.timeout]\n# One test.\n# test = \"10m\"\n",
        suites(candidates)
    )
}

/// The suite, or a table for each if there are several with a driver.
fn suites(candidates: &[Candidate]) -> String {
    let args = "# More arguments for it, always.\n# args = [\"-m\", \"not slow\"]\n\n";
    let all: Vec<_> = candidates.iter().filter_map(|candidate| Some((candidate, candidate.evidence.as_ref()?))).collect();
    let driven: Vec<_> = all.iter().filter(|(candidate, _)| candidate.recipe.is_none()).collect();
    // Tools without a driver stand back where there is one with it; among themselves nobody does.
    let several = if driven.is_empty() { all.iter().collect() } else { driven };
    match &several[..] {
        [] => format!("[suite]\n# None was found. Name it here:\n# framework = \"pytest\"\n\n{args}"),
        [(candidate, evidence)] => format!("[suite]\n# Found: {evidence}.\nframework = \"{}\"\n\n{args}", candidate.name),
        several => {
            let table = |(candidate, evidence): &&(&Candidate, &String)| {
                format!("[[suite]]\n# Found: {evidence}.\nname = \"{0}\"\nframework = \"{0}\"\n\n", candidate.name)
            };
            "# Several were found: they are one run, and share the shards.\n\n".to_owned() + &several.iter().map(table).collect::<String>()
        }
    }
}

/// A path as seen from a directory.
fn from_here(directory: &Path, path: &Path) -> Option<String> {
    let common = directory.ancestors().find(|ancestor| path.starts_with(ancestor))?;
    let up = directory.strip_prefix(common).ok()?.components().count();
    Some("../".repeat(up) + path.strip_prefix(common).ok()?.to_str()?)
}

#[cfg(test)]
mod tests {
    use splitci_coordinator::config::{Bases, Flags, Request, load};

    use super::*;
    use crate::ui::terminal::Paint;
    use crate::variables::Env;

    fn located(dockerfile: Option<&str>) -> Where {
        let bases = Bases { root: "/src/shop".into(), directory: "/src/shop".into() };
        Where { bases, file: None, dockerfile: dockerfile.map(Into::into) }
    }

    fn pytest(evidence: Option<&str>) -> [Candidate; 1] {
        let evidence = evidence.map(str::to_owned);
        [Candidate { name: "pytest".into(), in_image: Vec::new(), here: Vec::new(), evidence, looked_for: String::new(), recipe: None }]
    }

    #[test]
    fn the_file_says_what_was_found() {
        insta::assert_snapshot!(text(&located(Some("/src/Dockerfile")), &pytest(Some("`pytest.ini`"))), @r#"
        # What splitci was told about this project. Lines that are commented out say what holds anyway, or what could be said.
        # Every key there is: splitci init --reference

        [image]
        # Found: ../Dockerfile.
        # dockerfile = "../Dockerfile"

        # The stage to build, if it is not the last one.
        # target = "test"

        [suite]
        # Found: `pytest.ini`.
        framework = "pytest"

        # More arguments for it, always.
        # args = ["-m", "not slow"]

        [run]
        # How many shards. By default one for each CPU.
        # shards = 8

        # Variables for the tests: NAME=value, or NAME to hand on the caller's.
        # env = ["APP_ENV=test"]

        [run.timeout]
        # One test.
        # test = "10m"
        "#);
    }

    #[test]
    fn several_frameworks_are_suites_and_tools_stand_back() {
        let found = |name: &str, recipe| Candidate { name: name.into(), recipe, ..pytest(Some("`x`"))[0].clone() };
        let recipe = splitci_coordinator::framework::by_name("cargo").and_then(splitci_coordinator::framework::Framework::recipe);
        assert!(recipe.is_some());
        let text = suites(&[found("pytest", None), found("rspec", None), found("cargo", recipe.clone())]);
        assert_eq!(text.matches("[[suite]]").count(), 2, "{text}");
        let tools = suites(&[found("bats", recipe.clone()), found("cargo", recipe)]);
        assert!(tools.contains("name = \"bats\"\nframework = \"bats\"") && tools.contains("name = \"cargo\""), "{tools}");
    }

    #[test]
    fn what_is_written_is_a_good_configuration_with_and_without_its_comments() {
        for (dockerfile, evidence) in [(None, None), (Some("/src/shop/Dockerfile"), Some("`conftest.py`"))] {
            let text = text(&located(dockerfile), &pytest(evidence));
            let uncommented: String = text.lines().map(|line| uncommented(line) + "\n").collect();
            for text in [text, uncommented] {
                assert_eq!(faults(&text), "");
            }
        }
    }

    fn uncommented(line: &str) -> String {
        line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line).to_owned()
    }

    fn faults(text: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::create_dir_all(directory.path().join("docker")).expect("made");
        for (file, text) in [("Dockerfile", "FROM scratch\n"), ("docker/test.Dockerfile", "FROM scratch\n"), (FILE_NAME, text)] {
            fs_err::write(directory.path().join(file), text).expect("written");
        }
        let env = Env::from([("HOME".to_owned(), "/home/ann".to_owned())]);
        let request = Request { directory: directory.path().into(), flags: Flags::default(), env, cpus: 1, seed: 1 };
        let project = load(request, &|_, _| pytest(Some("x")).to_vec());
        project.map_err(|error| Failure::from(error).render(Paint(false))).err().unwrap_or_default()
    }
}
