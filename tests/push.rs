//! A run ends in a signed statement beside its image: with the real program, engine and registry, up to the gate that reads it.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use splitci_coordinator::candidate::Copies;
use splitci_coordinator::gate::statement::{Answer, TestResult};
use splitci_coordinator::gate::{Approval, Denial, Evidence, Mode, Policy, Question, Statement, StoreKind, decide};
use splitci_coordinator::model::policy::PolicySettings;
use splitci_coordinator::model::trust::{Level, Space};
use splitci_coordinator::model::{RunId, Sha256};
use splitci_coordinator::promotion::{gather, identify};
use splitci_coordinator::registry::{Digest, Login, Patience, Repository, Settings};
use splitci_coordinator::trust::{PublicKey, TrustList, dsse, public};
use splitci_tests::attested::now_ms;
use splitci_tests::bucket::Bucket;
use splitci_tests::engine::{docker_says, require};
use splitci_tests::registry::{Registry, credentials};
use splitci_tests::{Done, Sandbox, Splitci};

const GREEN: &str = "def test_total():\n    assert 1 + 1 == 2\n\n\ndef test_tax():\n    pass\n";
const RED: &str = "def test_total():\n    assert 1 + 1 == 3\n\n\ndef test_tax():\n    pass\n";
/// Red at first in each container.
const FLAKY: &str = "from pathlib import Path\n\n\ndef test_total():\n    been = Path(\"/tmp/been\").exists()\n    Path(\"/tmp/been\").touch()\n    assert been\n\n\n\
                     def test_tax():\n    pass\n";
const IGNORED: &str = ".git\nDockerfile\n.dockerignore\nsplitci.toml\n**/__pycache__\n**/.pytest_cache\n";

const USER: &str = "ci";
const PASSWORD: &str = "correct-horse";

/// A repository, asked by who may read it.
fn asked(registry: &Registry, path: &str) -> Repository {
    let name = format!("{}/{path}", registry.host()).parse().expect("a name");
    let login: Login = Box::new(|| Box::pin(async { Ok(Some((USER.to_owned(), PASSWORD.to_owned()))) }));
    let _already = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings { repository: name, plain: true, login, authorities: Vec::new(), patience: Patience::default() };
    Repository::new(settings).expect("a repository")
}

/// A project in a repository, whose runs are of level `protected`.
struct Shop {
    sandbox: Sandbox,
    key: String,
    public: String,
}

impl Shop {
    /// With the repository of its candidates.
    fn new(candidate: &str) -> Self {
        require();
        let sandbox = Sandbox::empty().dockerfile().file(".dockerignore", IGNORED).file("tests/test_cart.py", GREEN);
        let file = sandbox.outside("main.pem");
        let made = sandbox.splitci(&format!("keys new --out {}", file.display())).run();
        made.expect_exit(0);
        let key = fs_err::read_to_string(file).expect("a key");
        let login = sandbox.outside("login");
        fs_err::write(&login, format!("{USER}:{PASSWORD}\n")).expect("written");
        fs_err::set_permissions(&login, std::fs::Permissions::from_mode(0o600)).expect("set");
        let candidate = format!("[registry.candidate]\nrepository = \"{candidate}\"\nauth = \"file:{}\"\n", login.display());
        sandbox.write("splitci.toml", &format!("[trust]\nprotected = [\"\"\"{}\"\"\"]\n{candidate}", made.stdout));
        let shop = Self { sandbox, key, public: made.stdout };
        shop.git("init -q -b main");
        shop.commit();
        shop
    }

    fn git(&self, line: &str) -> String {
        let who = ["-c", "user.name=ann", "-c", "user.email=ann@shop.example"];
        let output = Command::new("git").arg("-C").arg(self.sandbox.project()).args(who).args(line.split(' ')).output().expect("git runs");
        assert!(output.status.success(), "git {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self) {
        self.git("add .");
        self.git("commit -q --allow-empty -m change");
    }

    /// Changes the tests, and commits that.
    fn change(&self, tests: &str) {
        self.sandbox.write("tests/test_cart.py", tests);
        self.commit();
    }

    fn splitci(&self, line: &str) -> Splitci {
        self.sandbox.splitci(line).env("SPLITCI_KEY", &self.key)
    }

    fn run(&self, line: &str) -> Done {
        self.splitci(line).run()
    }

    /// A policy that takes the word of this project's key.
    fn policy(&self, change: impl FnOnce(&mut PolicySettings)) -> Policy {
        let mut list = TrustList::default();
        list.add(PublicKey::from_pem(&self.public).expect("a key"), Space::of(Level::Protected)).expect("added");
        let mut settings = PolicySettings::named("production");
        change(&mut settings);
        Policy::new(settings, list, public).expect("a policy")
    }

    /// What the gate says of an image.
    async fn ask(&self, repository: &Repository, manifest: Sha256, change: impl FnOnce(&mut PolicySettings)) -> Result<Approval, Denial> {
        let digest: Digest = manifest.into();
        let identity = identify(repository, &digest.into(), StoreKind::Docker).await.expect("there");
        let evidence = gather(manifest, Vec::new(), &[repository]).await;
        decide(&Question { identity, environment: "production".to_owned(), mode: Mode::Promote }, &self.policy(change), &evidence, now_ms())
    }

    /// What was signed about an image, as the registry has it.
    async fn statements(&self, repository: &Repository, manifest: Sha256) -> Vec<Statement<TestResult>> {
        let Evidence::Asked(found) = gather(manifest, Vec::new(), &[repository]).await else { panic!("not answered") };
        let key = PublicKey::from_pem(&self.public).expect("a key");
        let open = |envelope: &[u8]| dsse::open(envelope, |_| Some(&key)).expect("signed by the project's key").payload;
        found.iter().map(|found| serde_json::from_slice(&open(&found.envelope)).expect("a statement")).collect()
    }
}

/// The object that `--json` ends with.
fn pushed(done: &Done) -> Value {
    let last = done.stdout.lines().last().unwrap_or_default();
    let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("not JSON: {error}: {done}"));
    told["pushed"].clone()
}

fn text(told: &Value, key: &str) -> String {
    told[key].as_str().unwrap_or_else(|| panic!("no {key} in {told}")).to_owned()
}

fn digest(told: &Value, key: &str) -> Sha256 {
    Sha256::parse(&text(told, key)).unwrap_or_else(|| panic!("{key} is no digest in {told}"))
}

#[tokio::test]
async fn a_run_ends_in_a_statement_that_the_gate_goes_by() {
    let registry = Registry::for_user(USER, PASSWORD);
    let to = format!("{}/shop/candidate", registry.host());
    let (shop, candidate) = (Shop::new(&to), asked(&registry, "shop/candidate"));

    let green = shop.run("run --shards 1 --push --tag main --json");
    green.expect_exit(0);
    let told = pushed(&green);
    let (image, run) = (digest(&told, "manifest"), text(&told, "run"));
    assert_eq!((text(&told, "result"), text(&told, "reference")), ("PASSED".to_owned(), format!("{to}@{image}")));
    let approval = shop.ask(&candidate, image, |_| ()).await.expect("approved");
    assert_eq!((approval.statements(), approval.runs()), (&[digest(&told, "statement")][..], &[run.clone()][..]));
    assert!(registry.tags("shop/candidate").contains(&"main".to_owned()));
    let [statement] = &shop.statements(&candidate, image).await[..] else { panic!("one statement") };
    expect_all_that_is_known(statement, &run, &shop.git("rev-parse HEAD"));
    let copies = Copies::in_state(&shop.sandbox.state());
    assert_eq!(copies.of(image).expect("readable").len(), 1, "and a copy here");
    assert_eq!(copies.place_of(&RunId(run.clone())).expect("readable").map(|place| place.manifest), Some(image));

    let failed = red(&shop, &candidate, text(&told, "config"), &registry).await;
    assert_ne!(failed, image);
    flaky(&shop, &candidate).await;
    parts(&shop, &candidate).await;

    // An image that a run is given by its digest is there already.
    let client = shop.sandbox.outside("client");
    fs_err::create_dir_all(&client).expect("made");
    credentials(&client, &registry.host(), "Y2k6Y29ycmVjdC1ob3JzZQ==");
    let given = shop.splitci(&format!("run --shards 1 --image {to}@{image} --push --json")).env("DOCKER_CONFIG", &client).run();
    given.expect_exit(0);
    let given = pushed(&given);
    assert_eq!((digest(&given, "manifest"), shop.statements(&candidate, image).await.len()), (image, 2));
    shop.run(&format!("push {} --to {}/other", text(&given, "run"), registry.host())).expect_exit(2).expect_says("already");

    // Nobody answers any more: what was tested is not lost.
    drop(registry);
    let lost = shop.run(&format!("push {run}"));
    lost.expect_exit(3).expect_says("cannot push").expect_says("cause:").expect_says(&format!("splitci push {run}"));
}

fn expect_all_that_is_known(statement: &Statement<TestResult>, run: &str, commit: &str) {
    let details = &statement.predicate.splitci;
    assert_eq!((details.run.as_str(), details.level, details.dirty, details.counts.passed), (run, Level::Protected, false, 2));
    assert_eq!(statement.subject[1].digest.git_commit.as_deref(), Some(commit));
    let configured: Vec<_> = statement.predicate.configuration.iter().map(|subject| subject.name.as_str()).collect();
    for name in ["config", "dockerfile", "environment", "plan", "suites"] {
        assert!(configured.contains(&name), "{name} in {configured:?}");
    }
    assert!(configured.iter().any(|name| name.starts_with("base debian:bookworm-slim")), "{configured:?}");
}

/// A run that fails is attested as failed, and its image is pushed by what it is: all its names mean another one by the time.
async fn red(shop: &Shop, candidate: &Repository, other: String, registry: &Registry) -> Sha256 {
    shop.change(RED);
    let red = shop.run("run --shards 1 --push --tag main --json");
    red.expect_exit(1);
    let red = pushed(&red);
    assert_eq!(text(&red, "result"), "FAILED");
    let failed = digest(&red, "manifest");
    assert_eq!(shop.ask(candidate, failed, |_| ()).await.expect_err("denied").code(), "E_RESULT");
    let ours = docker_says(&format!("images --format {{{{.Repository}}}}:{{{{.Tag}}}} --filter reference={}/*/*", registry.host()));
    assert_eq!(ours, "", "no name of ours is left in the engine");
    let names = docker_says(&format!("inspect --format {{{{.RepoTags}}}} {}", text(&red, "config")));
    for name in names.trim_matches(['[', ']']).split(' ') {
        docker_says(&format!("tag {other} {name}"));
    }
    for _ in 0..2 {
        let again = pushed(&shop.run(&format!("push {} --json", text(&red, "run"))));
        assert_eq!((digest(&again, "manifest"), text(&again, "artifact")), (failed, text(&red, "artifact")), "the same once more");
    }
    assert_eq!(shop.statements(candidate, failed).await.len(), 1);
    failed
}

async fn flaky(shop: &Shop, candidate: &Repository) {
    shop.change(FLAKY);
    let flaky = pushed(&shop.run("run --shards 1 --retries 1 --push --json"));
    let image = digest(&flaky, "manifest");
    let [statement] = &shop.statements(candidate, image).await[..] else { panic!("one statement") };
    assert_eq!((statement.predicate.result, statement.predicate.warned_tests.len()), (Answer::Warned, 1));
    assert_eq!(shop.ask(candidate, image, |_| ()).await.expect_err("denied").code(), "E_RESULT");
    shop.ask(candidate, image, |settings| settings.max_warned = 1).await.expect("approved with one warning");
}

/// What was not about the whole suite, or not about what a commit has.
async fn parts(shop: &Shop, candidate: &Repository) {
    shop.sandbox.write("tests/test_cart.py", &format!("{GREEN}\n\ndef test_more():\n    pass\n"));
    shop.run("run --shards 1 tests/test_cart.py").expect_exit(0);
    shop.run("push last --allow-dirty").expect_exit(2).expect_says("tests were left out: tests/test_cart.py");
    shop.run("run --shards 1").expect_exit(0);
    shop.run("push last").expect_exit(2).expect_says("--allow-dirty");
    let dirty = pushed(&shop.run("push last --allow-dirty --json"));
    let image = digest(&dirty, "manifest");
    let [statement] = &shop.statements(candidate, image).await[..] else { panic!("one statement") };
    assert!(statement.predicate.splitci.dirty && statement.subject.len() == 1, "of no commit");
    assert_eq!(shop.ask(candidate, image, |_| ()).await.expect_err("denied").code(), "E_DIRTY");
    shop.ask(candidate, image, |settings| settings.dirty = true).await.expect("approved where the policy says so");
    shop.commit();
}

/// T11: a run that was told to leave tests out is not attested.
#[test]
fn what_could_not_be_attested_is_not_even_begun() {
    let shop = Shop::new("127.0.0.1:1/shop/candidate");
    for (line, words) in [
        ("run --push --engine process", "as local processes"),
        ("run --push tests/test_cart.py", "tests were left out: tests/test_cart.py"),
        ("run --push -- -k total", "tests were left out: -k total"),
        ("run --push --env PYTEST_ADDOPTS=-ktotal", "tests were left out: --env PYTEST_ADDOPTS=-ktotal"),
        ("run --push --volume .:/app", "is no part of the image"),
        ("run --push --tag .", "`.` is not a tag"),
        ("run --push --to shop@sha256:00", "is not the name of a repository"),
        ("run --push --failed", "cannot be used with"),
        ("run --tag main", "`--tag` is for runs that push"),
    ] {
        shop.run(line).expect_exit(2).expect_says(words);
    }
    let said = shop.splitci("run --push").env("SPLITCI_SUITE_ARGS", "-ktotal").run();
    said.expect_exit(2).expect_says("tests were left out: SPLITCI_SUITE_ARGS=-ktotal");
    shop.sandbox.write("new.py", "");
    shop.run("run --push").expect_exit(2).expect_says("changes that no commit has").expect_says("--allow-dirty");
    shop.commit();
    shop.sandbox.write("splitci.toml", "");
    shop.run("run --push --allow-dirty").expect_exit(2).expect_says("registry.candidate.repository");
    assert_eq!(shop.run("runs --json").stdout, "", "nothing ran");
    shop.run("push last").expect_exit(2).expect_says("no record of any run");
    shop.run("run --engine process --shards 1").expect_exit(0);
    shop.run("push last --to 127.0.0.1:1/shop").expect_exit(2).expect_says("as local processes");
}

/// A registry over S3: nothing of it is on this machine's disk.
#[test]
fn a_registry_that_keeps_all_in_a_bucket_serves_from_the_push_to_the_release() {
    let bucket = Bucket::start();
    let registry = Registry::in_bucket(&bucket);
    let host = registry.host();
    let shop = Shop::new(&format!("{host}/shop/candidate"));
    let told = pushed(shop.run("run --shards 1 --push --tag main --json").expect_exit(0));
    let image = digest(&told, "manifest").to_string();
    assert!(bucket.holds("docker/registry/v2/repositories/shop/candidate/_manifests/tags/main/"));
    let policies = format!("[trust]\nprotected = [\"\"\"{}\"\"\"]\n[policy.production]\n", shop.public);
    shop.sandbox.write("policies.toml", &policies);
    let written = fs_err::read_to_string(shop.sandbox.project().join("splitci.toml")).expect("read");
    shop.sandbox.write("splitci.toml", &format!("{written}[registry.release]\nrepository = \"{host}/shop/release\"\n"));
    shop.run("verify main --policy policies.toml --environment production").expect_exit(0).expect_says(&image).expect_says("ALLOWED");
    let promote = format!("promote {image} production --policy policies.toml --tag v1");
    shop.run(&promote).expect_exit(0).expect_says(&format!("PROMOTED {host}/shop/release@{image}"));
    assert!(bucket.holds("docker/registry/v2/repositories/shop/release/_manifests/tags/v1/"));
    shop.run(&promote).expect_exit(0).expect_says("nothing: all of it was there already");
    // Without its bucket it is a registry that does not answer.
    drop(bucket);
    let gone = shop.run("verify main --policy policies.toml --environment production");
    gone.expect_exit(6).expect_says("E_EVIDENCE_UNAVAILABLE");
}

/// What has a key that nobody else sees: a program, by the name of the key and what is wanted of it. `sly` signs with another key than it says.
const VAULT: &str = r#"
cd "$(dirname "$0")"
case "$1 $2" in
  "locked sign") echo the token is locked >&2; exit 7 ;;
  *" public") exec openssl pkey -in release.pem -pubout ;;
  "sly sign") openssl dgst -sha256 -sign other.pem | openssl base64 ;;
  *" sign") env >seen; openssl dgst -sha256 -sign release.pem | openssl base64 ;;
esac
"#;

/// The keys of a vault, and the words that start it.
fn vault(shop: &Shop) -> String {
    let place = shop.sandbox.outside("vault");
    fs_err::create_dir_all(&place).expect("made");
    for name in ["release.pem", "other.pem"] {
        let words = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out".split(' ');
        let made = Command::new("openssl").args(words).arg(place.join(name)).output().expect("openssl runs");
        assert!(made.status.success());
    }
    fs_err::write(place.join("sign"), VAULT).expect("written");
    format!("sh {}", place.join("sign").display())
}

/// A key in no job's hands: a program signs instead of the run's own, and is believed in nothing.
#[test]
fn a_program_signs_what_a_run_showed() {
    let registry = Registry::for_user(USER, PASSWORD);
    let shop = Shop::new(&format!("{}/shop/candidate", registry.host()));
    let signer = vault(&shop);
    shop.run("keys show --signer").expect_exit(2).expect_says("trust.signer");
    let written = fs_err::read_to_string(shop.sandbox.project().join("splitci.toml")).expect("read");
    let configure = |more: &str| {
        let trust = format!("[trust]\nsigner = \"{signer} release\"\n{more}");
        shop.sandbox.write("splitci.toml", &written.replacen("[trust]\n", &trust, 1));
    };
    let answer = |line: &str| serde_json::from_str::<Value>(&shop.run(line).expect_exit(0).stdout).expect("JSON");
    configure("");
    let public = answer("keys show --signer --json");
    assert_eq!(public["level"], "local", "nobody trusts it yet");
    shop.sandbox.write("keys/vault.pem", &text(&public, "public"));
    configure("release = [\"keys/vault.pem\"]\n");
    assert_eq!(answer("keys show --signer --json")["level"], "release");
    assert_ne!(answer("keys show --json")["id"], public["id"], "the run has its own key");
    shop.commit();

    let green = shop.run("run --shards 1 --push --json");
    let told = pushed(green.expect_exit(0));
    assert_eq!(told["key"], public["id"]);
    let seen = fs_err::read_to_string(shop.sandbox.outside("vault/seen")).expect("written");
    assert!(!seen.contains("SPLITCI_") && !seen.contains(PASSWORD), "{seen}");
    let policy = |told: &Value, keys: &str| {
        let policies =
            format!("[trust]\nprotected = [\"\"\"{}\"\"\"]\nrelease = [\"keys/vault.pem\"]\n[policy.production]\n{keys}\n", shop.public);
        shop.sandbox.write("policies.toml", &policies);
        shop.run(&format!("verify {} --policy policies.toml --environment production", text(told, "reference")))
    };
    policy(&told, "keys = [\"keys/vault.pem\"]").expect_exit(0).expect_says("ALLOWED");
    policy(&told, &format!("keys = [\"\"\"{}\"\"\"]", shop.public)).expect_exit(6).expect_says("E_LEVEL");

    // ECDSA may sign the same in any number of ways; what is signed already is not signed anew.
    let run = text(&told, "run");
    assert_eq!(pushed(&shop.run(&format!("push {run} --json")))["artifact"], told["artifact"]);
    refused(&shop, &signer, &run);

    // A run without a key is worth what nobody's word is, whoever signs for it.
    let keyless = shop.sandbox.splitci("run --shards 1 --push --json --allow-dirty").run();
    keyless.expect_exit(0).expect_says("the run had no key that others trust");
    policy(&pushed(&keyless), "dirty = true").expect_exit(6).expect_says("E_LEVEL");
}

/// Programs that sign nothing of use: nothing is written down, here or there.
fn refused(shop: &Shop, signer: &str, run: &str) {
    let copies = shop.sandbox.state().join("statements");
    fs_err::remove_dir_all(&copies).expect("removed");
    for (signer, code, words) in [
        (format!("{signer} sly"), 2, "is not a signature of what it was given"),
        (format!("{signer} locked"), 3, "it says `the token is locked`"),
        ("echo rubbish".to_owned(), 2, "what it printed is no public key"),
        ("no-such-signer".to_owned(), 2, "cannot be started"),
    ] {
        let done = shop.splitci(&format!("push {run}")).env("SPLITCI_TRUST_SIGNER", &signer).run();
        done.expect_exit(code).expect_says(words).expect_says("trust.signer").expect_says("hint:");
        assert!(!copies.exists(), "{signer}");
    }
}
