//! `splitci verify` and `promote` as people use them: the real program, real registries, a real repository with a protected ref.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use splitci_coordinator::gate::Identity;
use splitci_coordinator::gate::statement::Answer;
use splitci_coordinator::registry::Repository;
use splitci_coordinator::trust::SecretKey;
use splitci_tests::attested::{Signer, put_config, repository_as};
use splitci_tests::between::{Asked, Between, Trick, only};
use splitci_tests::program::Done;
use splitci_tests::python::Python;
use splitci_tests::registry::Registry;
use splitci_tests::tokens::{certificates, token_server};
use splitci_tests::{Sandbox, Splitci};
use tokio::runtime::Runtime;

/// A project with a protected ref, a candidate repository, and somebody whose word counts.
struct Desk {
    sandbox: Sandbox,
    registry: Registry,
    signer: Signer,
    runtime: Runtime,
    /// Where the project finds its registry: it, or what stands before it.
    host: String,
    /// Who works there, if it asks.
    who: Option<(&'static str, &'static str)>,
}

impl Desk {
    /// With the usual policy at the protected ref.
    fn new() -> Self {
        Self::with("", Registry::start())
    }

    fn with(policy: &str, registry: Registry) -> Self {
        let host = registry.host();
        Self::at(host, policy, registry)
    }

    /// With something before the registry.
    fn behind(tricks: impl Fn(usize, &Asked) -> Trick + Send + Sync + 'static) -> (Self, Between) {
        let registry = Registry::start();
        let between = Between::before(&registry.host(), tricks);
        (Self::at(between.host(), "", registry), between)
    }

    fn at(host: String, policy: &str, registry: Registry) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let desk = Self { sandbox: Sandbox::empty(), registry, signer: Signer::default(), runtime, host, who: None };
        desk.write("keys/main.pem", &desk.signer.public());
        desk.configure(policy);
        desk.git(&["init", "--quiet", "--initial-branch=main"]);
        desk.protect();
        desk
    }

    /// Writes the configuration, with more in the policy.
    fn configure(&self, policy: &str) {
        let Self { host, who, .. } = self;
        let auth = who.map(|(name, password)| format!("auth = \"exec:echo {name}:{password}\"\n")).unwrap_or_default();
        self.write(
            "splitci.toml",
            &format!(
                "[registry.candidate]\nrepository = \"{host}/shop/candidate\"\n{auth}[registry.release]\nrepository = \"{host}/shop/release\"\n{auth}\
                 [trust]\nprotected = [\"keys/main.pem\"]\n[policy.production]\n{policy}\n"
            ),
        );
    }

    /// Has the project ask its registry as somebody.
    fn works_as(&mut self, who: Option<(&'static str, &'static str)>) {
        self.who = who;
        self.configure("");
        self.protect();
    }

    /// Commits everything, and has the protected ref mean that.
    fn protect(&self) {
        self.git(&["add", "--all"]);
        self.git(&["-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--allow-empty", "--message=x"]);
        self.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
        self.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    }

    fn git(&self, line: &[&str]) {
        let done = Command::new("git").arg("-C").arg(self.sandbox.project()).args(line).status().expect("git runs");
        assert!(done.success(), "git {line:?}");
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        self.sandbox.write(path, text);
        self.sandbox.project().join(path)
    }

    fn candidate(&self) -> Repository {
        repository_as(&self.registry.host(), "shop/candidate", self.who)
    }

    /// What a name of the release repository means.
    fn released(&self, tag: &str) -> String {
        fs_err::read_to_string(self.registry.link("shop/release", tag)).expect("a tag")
    }

    /// An image with this much said about it: each answer so many milliseconds ago.
    fn image(&self, config: &str, said: &[(Answer, u64)]) -> Identity {
        let candidate = self.candidate();
        self.runtime.block_on(async {
            let image = put_config(&candidate, config.as_bytes()).await;
            for (answer, ago_ms) in said {
                self.signer.attest(&candidate, &image, *answer, *ago_ms).await;
            }
            image
        })
    }

    fn tag(&self, image: &Identity, tag: &str) {
        let candidate = self.candidate();
        self.runtime.block_on(async {
            let manifest = candidate.manifest(image.manifest.into()).await.expect("there");
            candidate.put_tag(&manifest, &tag.parse().expect("a tag")).await.expect("tagged");
        });
    }

    fn splitci(&self, line: &[&str]) -> Done {
        dressed(&self.sandbox, line).run()
    }

    /// The code with which the gate says no; nothing if it says yes.
    fn code(&self, line: &[&str]) -> Option<String> {
        let done = self.splitci(&[line, &["--json"]].concat());
        let told: Value = serde_json::from_str(done.stdout.trim()).unwrap_or_else(|_| panic!("{} {}", done.stdout, done.stderr));
        assert_eq!(done.code, Some(if told["allowed"] == false { 6 } else { 0 }), "{told}");
        told["code"].as_str().map(str::to_owned)
    }

    fn verify(&self, reference: &str) -> Option<String> {
        self.code(&["verify", reference, "--policy", "production"])
    }
}

fn dressed(sandbox: &Sandbox, line: &[&str]) -> Splitci {
    sandbox.dress(Splitci::new(line.iter()), Python::with_friends())
}

const SHOP: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
const OTHER: &str = r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

#[test]
fn what_was_tested_is_let_through_and_gets_its_names_once() {
    let desk = Desk::new();
    let image = desk.image(SHOP, &[(Answer::Passed, 5_000)]);
    desk.tag(&image, "main");
    let digest = image.manifest.to_string();
    let done = desk.splitci(&["verify", "main", "--policy", "production"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains(&digest) && done.stdout.contains("ALLOWED") && done.stdout.contains("level protected"), "{}", done.stdout);

    // The tag is moved after the gate was asked: what is promoted is named by digest.
    let other = desk.image(OTHER, &[]);
    desk.tag(&other, "main");
    let promote = ["promote", digest.as_str(), "production", "--tag", "v1.0"];
    let done = desk.splitci(&promote);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains(&format!("PROMOTED {}/shop/release@{digest}", desk.registry.host())), "{}", done.stdout);
    let tags = desk.registry.tags("shop/release");
    assert!(["v1.0", "current-production"].iter().all(|tag| tags.contains(&(*tag).to_owned())), "{tags:?}");
    assert!(desk.splitci(&promote).stdout.contains("nothing: all of it was there already"));
    assert_eq!(desk.verify("main").as_deref(), Some("E_NO_VALID_SIGNATURE"), "what the tag means now");

    // A name that was given stays what it is.
    let signed = desk.image(OTHER, &[(Answer::Passed, 1_000)]);
    let done = desk.splitci(&["promote", &signed.manifest.to_string(), "production", "--tag", "v1.0"]);
    assert_eq!(done.code, Some(3), "{} {}", done.stdout, done.stderr);
    assert!(done.stderr.contains("is given once"), "{}", done.stderr);
}

#[test]
fn every_no_has_its_code_and_writes_nothing() {
    let desk = Desk::new();
    let none = desk.image(SHOP, &[]);
    assert_eq!(desk.verify(&none.manifest.to_string()).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    let failed = desk.image(OTHER, &[(Answer::Passed, 60_000), (Answer::Failed, 5_000)]).manifest.to_string();
    assert_eq!(desk.verify(&failed).as_deref(), Some("E_SUPERSEDED_BY_FAILURE"));
    assert_eq!(desk.code(&["promote", &failed, "production"]).as_deref(), Some("E_SUPERSEDED_BY_FAILURE"));
    let stale = desk.image(r#"{"architecture":"mips"}"#, &[(Answer::Passed, 8 * 86_400_000)]);
    assert_eq!(desk.verify(&stale.manifest.to_string()).as_deref(), Some("E_STALE"));
    assert_eq!(desk.verify(&format!("sha256:{}", "0".repeat(64))).as_deref(), Some("E_RESOLVE"));
    assert!(desk.registry.tags("shop/release").is_empty());
    let done = desk.splitci(&["verify", &failed, "--policy", "production"]);
    assert_eq!(done.code, Some(6));
    assert!(
        done.stderr.contains("E_SUPERSEDED_BY_FAILURE") && done.stderr.contains("looked at") && done.stderr.contains("hint"),
        "{}",
        done.stderr
    );
}

/// T11: the policy is that of the protected ref.
#[test]
fn a_policy_in_the_work_tree_does_not_count_nor_does_a_key() {
    let desk = Desk::new();
    let stranger = Signer::default();
    let candidate = desk.candidate();
    let image = desk.image(SHOP, &[]);
    desk.runtime.block_on(stranger.attest(&candidate, &image, Answer::Passed, 5_000));
    let digest = image.manifest.to_string();
    // The stranger's key, under the name of the one that counts; and a policy that asks for nothing.
    desk.write("keys/main.pem", &stranger.public());
    desk.configure("level = \"fork\"\n[policy.staging]\n");
    assert_eq!(desk.verify(&digest).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    let done = desk.splitci(&["verify", &digest, "--policy", "staging"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("work tree does not count"), "{}", done.stderr);
    // Replaced objects are git's way to show something else.
    desk.git(&["add", "--all"]);
    desk.git(&["-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--message=y"]);
    desk.git(&["replace", "refs/remotes/origin/main", "HEAD"]);
    assert_eq!(desk.verify(&digest).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    desk.git(&["replace", "--delete", "refs/remotes/origin/main"]);
    // Git itself would take a tag or a branch of the protected ref's name before the ref.
    desk.git(&["tag", "origin/HEAD"]);
    desk.git(&["branch", "origin/HEAD"]);
    assert_eq!(desk.verify(&digest).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    // Once it is protected, it counts.
    desk.protect();
    assert_eq!(desk.verify(&digest), None);
    desk.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    let done = desk.splitci(&["verify", &digest, "--policy", "production"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("origin/HEAD") && done.stderr.contains("--policy FILE"), "{}", done.stderr);
}

#[test]
fn what_is_revoked_at_the_protected_ref_is_stopped_and_a_file_can_be_named_instead() {
    let desk = Desk::new();
    let digest = desk.image(SHOP, &[(Answer::Passed, 5_000)]).manifest.to_string();
    assert_eq!(desk.verify(&digest), None);
    let entry = desk.splitci(&["revoke", &digest, "--reason", "loses \"orders\""]);
    assert_eq!((entry.code, desk.splitci(&["revoke", "main", "--reason", "x"]).code), (Some(0), Some(2)), "{}", entry.stderr);
    desk.configure(&format!("revoked = [{}]", entry.stdout.trim()));
    assert_eq!(desk.verify(&digest), None, "not protected yet");
    desk.protect();
    assert_eq!(desk.verify(&digest).as_deref(), Some("E_REVOKED"));
    let text = "[trust]\nprotected = [\"keys/main.pem\"]\n[policy.staging]\n";
    desk.write("policies.toml", text);
    assert_eq!(desk.code(&["verify", &digest, "--policy", "./policies.toml", "--environment", "staging"]), None);
    assert_eq!(desk.splitci(&["verify", &digest, "--policy", "./policies.toml"]).code, Some(2));
}

#[test]
fn a_registry_that_does_not_answer_is_a_no_whatever_is_brought() {
    let desk = Desk::new();
    let image = desk.image(SHOP, &[(Answer::Passed, 5_000)]);
    let digest = image.manifest.to_string();
    let bundle = desk.sandbox.project().join("bundle.json");
    fs_err::write(&bundle, desk.signer.envelope(&image, Answer::Passed, 5_000)).expect("written");
    let Desk { sandbox, registry, .. } = desk;
    drop(registry);
    let line = ["verify", digest.as_str(), "--policy", "production", "--bundle", bundle.to_str().expect("a path"), "--json"];
    let done = dressed(&sandbox, &line).run();
    assert_eq!(done.code, Some(6), "{}", done.stderr);
    assert!(done.stdout.contains("E_EVIDENCE_UNAVAILABLE"), "{}", done.stdout);
}

/// A registry that takes us in and says nothing more: about the image, or about what is signed beside it. That ends, and in a no.
#[test]
fn a_registry_that_is_slow_is_not_waited_for_and_is_a_no() {
    let ways: [fn(&Asked) -> bool; 2] =
        [|asked| asked.path.contains("/manifests/main"), |asked| asked.path.contains("/referrers/") || asked.path.contains("/tags/")];
    let told = std::thread::scope(|scope| {
        let ways: Vec<_> = ways
            .map(|hangs| {
                scope.spawn(move || {
                    let (desk, _between) = Desk::behind(only(hangs, || Trick::Hang));
                    let image = desk.image(SHOP, &[(Answer::Passed, 5_000)]);
                    desk.tag(&image, "main");
                    desk.verify("main")
                })
            })
            .into_iter()
            .collect();
        ways.into_iter().map(|way| way.join().expect("it ends")).collect::<Vec<_>>()
    });
    assert_eq!(told, [Some("E_EVIDENCE_UNAVAILABLE".to_owned()), Some("E_EVIDENCE_UNAVAILABLE".to_owned())]);
}

/// A registry that has lost something, or says so, and one that gives something else.
#[test]
fn what_a_registry_denies_or_swaps_is_not_let_through() {
    let lies = Arc::new(Mutex::new(None));
    let told = Arc::clone(&lies);
    let (desk, _between) = Desk::behind(move |_, asked| {
        let lie: Option<(String, Option<String>)> = told.lock().expect("nobody panics here").clone();
        match lie {
            Some((part, Some(instead))) if asked.path.contains(&part) => Trick::Elsewhere(asked.path.replace(&part, &instead)),
            Some((part, None)) if asked.path.contains(&part) => Trick::Say("404 Not Found", String::new(), Vec::new()),
            _ => Trick::Pass,
        }
    });
    let (image, other) = (desk.image(SHOP, &[(Answer::Passed, 5_000)]), desk.image(OTHER, &[(Answer::Passed, 5_000)]));
    desk.tag(&image, "main");
    let lie = |part: &str, instead: Option<&str>| {
        *lies.lock().expect("nobody panics here") = Some((part.to_owned(), instead.map(str::to_owned)));
    };
    let (digest, swapped) = (image.manifest.to_string(), other.manifest.to_string());
    assert_eq!((desk.verify("main"), desk.verify(&digest)), (None, None), "both are well");
    assert_eq!(desk.verify("nightly").as_deref(), Some("E_RESOLVE"), "no such tag");
    lie("/manifests/main", None);
    assert_eq!(desk.verify("main").as_deref(), Some("E_RESOLVE"), "a tag that is there, and is denied");
    // Another image, which passed too, is no answer.
    lie(&digest, Some(&swapped));
    let done = desk.splitci(&["verify", &digest, "--policy", "production"]);
    assert_eq!(done.code, Some(6), "{done}");
    assert!(done.stderr.contains("E_RESOLVE") && done.stderr.contains("is not what it is called"), "{done}");
    assert_eq!(desk.code(&["promote", &digest, "production"]).as_deref(), Some("E_RESOLVE"));
    // It denies all that is signed: an index of statements, under whatever name.
    let index = digest.replace(':', "-");
    *lies.lock().expect("nobody panics here") = Some((index, None));
    assert_eq!(desk.verify(&digest).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    assert!(desk.registry.tags("shop/release").is_empty());
}

/// T1: a tag that moves between the gate's question and the copy moves nothing, in one command: both images would be let through.
#[test]
fn a_tag_that_moves_while_it_is_promoted_does_not_change_what_is_promoted() {
    let other = Arc::new(OnceLock::<String>::new());
    let (instead, looked) = (Arc::clone(&other), AtomicUsize::new(0));
    let (desk, between) = Desk::behind(move |_, asked| match instead.get() {
        Some(other) if asked.path.ends_with("/manifests/main") && looked.fetch_add(1, Ordering::SeqCst) > 0 => {
            Trick::Elsewhere(asked.path.replace("/manifests/main", &format!("/manifests/{other}")))
        }
        _ => Trick::Pass,
    });
    let approved = desk.image(SHOP, &[(Answer::Passed, 5_000)]);
    let moved = desk.image(OTHER, &[(Answer::Passed, 1_000)]);
    desk.tag(&approved, "main");
    other.set(moved.manifest.to_string()).expect("not set yet");
    let done = desk.splitci(&["promote", "main", "production"]);
    done.expect_exit(0).expect_says(&approved.manifest.to_string());
    assert_eq!(desk.released("current-production"), approved.manifest.to_string());
    let asked = between.heard().iter().filter(|asked| asked.path.ends_with("/manifests/main")).count();
    assert_eq!(asked, 1, "it is looked up once");
    let later = desk.splitci(&["verify", "main", "--policy", "production"]);
    later.expect_exit(0).expect_says(&moved.manifest.to_string());
}

/// Tokens by the rights that are needed: a server of ours gives them out, and the registry takes its word.
#[test]
fn a_registry_with_tokens_is_asked_by_who_is_configured() {
    let keys = tempfile::tempdir().expect("a folder");
    certificates(keys.path());
    let run = ("run", "1", vec![("shop/candidate", "pull,push")]);
    let gate = ("gate", "2", vec![("shop/candidate", "pull"), ("shop/release", "pull,push")]);
    let reader = ("reader", "3", vec![("shop/candidate", "pull"), ("shop/release", "pull")]);
    let tokens = token_server(keys.path(), vec![run, gate, reader]);
    let registry = Registry::for_tokens(&format!("http://{}/token", tokens.host()), &keys.path().join("ca.pem"));
    let mut desk = Desk::with("", registry);
    desk.who = Some(("run", "1"));
    let digest = desk.image(SHOP, &[(Answer::Passed, 5_000)]).manifest.to_string();
    tokens.forget();
    for (who, code) in [
        (None, Some("E_EVIDENCE_UNAVAILABLE")),
        (Some(("gate", "wrong")), Some("E_EVIDENCE_UNAVAILABLE")),
        // Who tests has no business in the other repository, where the statement may be that says no.
        (Some(("run", "1")), Some("E_EVIDENCE_UNAVAILABLE")),
        (Some(("reader", "3")), None),
        (Some(("gate", "2")), None),
    ] {
        desk.works_as(who);
        assert_eq!(desk.verify(&digest).as_deref(), code, "{who:?}");
    }
    assert!(tokens.heard().iter().any(|asked| asked.authorization.is_some()), "it was asked for tokens");
    desk.splitci(&["promote", &digest, "production", "--tag", "v1"]).expect_exit(0).expect_says("PROMOTED");
    assert_eq!(desk.released("v1"), digest);
    desk.works_as(Some(("reader", "3")));
    desk.splitci(&["promote", &digest, "production", "--tag", "v2"]).expect_exit(3).expect_says("refuses it");
    assert!(!desk.registry.tags("shop/release").contains(&"v2".to_owned()));
}

/// T23: nobody else gets past, and it is said loudly.
#[test]
fn a_person_whom_the_policy_names_gets_past_with_a_reason_and_nobody_else() {
    let desk = Desk::with("[policy.production.break_glass]\nkeys = [\"keys/anna.pem\"]\n", Registry::start());
    let anna = SecretKey::generate().expect("random numbers");
    desk.write("keys/anna.pem", &anna.public().to_pem().expect("PEM"));
    desk.protect();
    let own = desk.write("anna-private.pem", &anna.to_pem(None).expect("PEM"));
    let other = desk.write("bob-private.pem", &SecretKey::generate().expect("random numbers").to_pem(None).expect("PEM"));
    let image = desk.image(SHOP, &[(Answer::Failed, 5_000)]).manifest.to_string();
    let reason = "the checkout is down and fix 4711 is in this image";
    let glass = |key: &Path, reason: &str| {
        desk.splitci(&["promote", &image, "production", "--break-glass", reason, "--key", key.to_str().expect("a path")])
    };
    assert_eq!(glass(&other, reason).code, Some(6), "not named");
    assert_eq!(glass(&own, "because").code, Some(6), "no reason");
    assert!(desk.registry.tags("shop/release").is_empty());
    let done = glass(&own, reason);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("GLASS") && done.stdout.contains(reason) && done.stdout.contains("E_RESULT"), "{}", done.stdout);
}

#[test]
fn logins_come_from_a_file_a_program_a_variable_or_the_docker_client() {
    let desk = Desk::with("", Registry::for_user("ann", "s3cret"));
    let host = desk.registry.host();
    let line = ["verify", "main", "--policy", "production", "--json"];
    let with = |auth: &str| {
        let text = format!("[registry.candidate]\nrepository = \"{host}/shop/candidate\"\n{auth}\n");
        desk.write("splitci.toml", &text);
        desk.splitci(&line).stdout
    };
    // Whoever gets in is told that there is no such tag; who does not, that he did not.
    let gets_in = |told: &str| told.contains("does not have it");
    assert!(!gets_in(&with("")));
    assert!(!gets_in(&with("auth = \"exec:echo ann:wrong\"")));
    assert!(gets_in(&with("auth = \"exec:echo ann:s3cret\"")));
    let file = desk.write("login", "ann:s3cret\n");
    assert!(!gets_in(&with("auth = \"file:login\"")), "everybody can read it");
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    assert!(gets_in(&with("auth = \"file:login\"")));
    let variable = dressed(&desk.sandbox, &line).env("SPLITCI_REGISTRY_CANDIDATE_AUTH", "ann:s3cret").run();
    assert!(gets_in(&variable.stdout), "{}", variable.stderr);
    // ann:s3cret
    desk.write("docker/config.json", &format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"YW5uOnMzY3JldA==\"}}}}}}"));
    with("");
    let docker = dressed(&desk.sandbox, &line).env("DOCKER_CONFIG", desk.sandbox.project().join("docker")).run();
    assert!(gets_in(&docker.stdout), "{}", docker.stderr);
}
