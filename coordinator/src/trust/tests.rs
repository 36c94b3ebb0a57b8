//! What a seal promises: what somebody trusted wrote for this place opens, and nothing else does, whichever way it is bent.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::seal::CLOCK_SLACK;
use super::*;
use crate::model::trust::{Partition, TrustedKey};

const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400_000;
const KEY: [u8; 32] = [7; 32];
const LIFE: Life = Life { written_at: NOW, keep: Duration::from_hours(24) };

/// Keys of one team: a job of the default branch, one of pull requests, and somebody else altogether.
struct Team {
    protected: SecretKey,
    pull: SecretKey,
    stranger: SecretKey,
}

static TEAM: LazyLock<Team> = LazyLock::new(|| {
    let key = || SecretKey::generate().expect("random numbers");
    Team { protected: key(), pull: key(), stranger: key() }
});

fn list() -> TrustList {
    let mut list = TrustList::default();
    list.add(TEAM.protected.public().clone(), Space::of(Level::Protected)).expect("added");
    list.add(TEAM.pull.public().clone(), Space::of(Level::Pull)).expect("added");
    list
}

fn seal(key: &SecretKey) -> Seal {
    Seal::new(key.clone(), list(), None)
}

fn at(space: Space) -> Address<'static> {
    Address { layer: "results", key: KEY, space }
}

fn protected() -> Address<'static> {
    at(Space::of(Level::Protected))
}

fn sealed() -> Bytes {
    seal(&TEAM.protected).seal("results", KEY, LIFE, b"all passed")
}

fn opened(bytes: &Bytes) -> Result<Opened, Refusal> {
    seal(&TEAM.protected).open(&protected(), bytes, NOW)
}

#[test]
fn what_a_trusted_key_wrote_for_this_place_opens_for_it_and_those_below() {
    let found = opened(&sealed()).expect("opens");
    assert_eq!((found.payload.as_ref(), found.space, found.writer), (&b"all passed"[..], Space::of(Level::Protected), TEAM.protected.id()));
    for reader in [&TEAM.pull, &TEAM.stranger] {
        assert!(seal(reader).open(&protected(), &sealed(), NOW).is_ok(), "a run of a lower level reads upwards");
    }
}

#[test]
fn every_bit_of_an_envelope_counts() {
    let good = sealed();
    for bit in 0..good.len() * 8 {
        let mut bent = good.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&bent.into()).is_err(), "bit {bit} of {}", good.len() * 8);
    }
}

#[test]
fn an_envelope_that_is_cut_off_or_goes_on_is_refused() {
    let good = sealed();
    for length in 0..good.len() {
        assert_eq!(opened(&good.slice(..length)), Err(Refusal::Truncated), "{length} of {} bytes", good.len());
    }
    assert_eq!(opened(&[&good[..], b"!"].concat().into()), Err(Refusal::Malformed));
}

#[test]
fn what_is_not_sealed_is_not_read() {
    for bytes in [&b"{\"passed\": true}"[..], b"all passed", &[0; 500]] {
        assert_eq!(opened(&Bytes::copy_from_slice(bytes)).map_err(|refusal| refusal.reason()), Err("unsigned"));
    }
}

#[test]
fn another_version_is_left_to_those_who_can_read_it() {
    let mut newer = sealed().to_vec();
    newer[8..10].copy_from_slice(&2_u16.to_le_bytes());
    assert_eq!(opened(&newer.into()), Err(Refusal::OtherVersion { found: 2 }));
}

#[test]
fn a_stranger_is_refused_whatever_level_it_claims() {
    let mut own_list = list();
    own_list.add(TEAM.stranger.public().clone(), Space::of(Level::Protected)).expect("added");
    let forged = Seal::new(TEAM.stranger.clone(), own_list, None).seal("results", KEY, LIFE, b"all passed");
    assert_eq!(opened(&forged), Err(Refusal::Stranger { writer: TEAM.stranger.id() }));
}

#[test]
fn a_job_of_a_pull_request_cannot_write_for_the_default_branch() {
    // It believes in its own promotion; the reader's list does not.
    let mut own_list = TrustList::default();
    own_list.add(TEAM.pull.public().clone(), Space::of(Level::Protected)).expect("added");
    let forged = Seal::new(TEAM.pull.clone(), own_list, None).seal("results", KEY, LIFE, b"all passed");
    let refusal = opened(&forged).expect_err("refused");
    assert_eq!(refusal.to_string(), "it says `protected`, and its key is trusted as `pull`");
    // The same, honestly labelled and put into the other's place.
    let honest = seal(&TEAM.pull).seal("results", KEY, LIFE, b"all passed");
    assert_eq!(opened(&honest), Err(Refusal::Misplaced { found: Space::of(Level::Pull) }));
    // And asked for by name: what is below the reader is not read.
    let asked = seal(&TEAM.protected).open(&at(Space::of(Level::Pull)), &honest, NOW);
    assert_eq!(asked, Err(Refusal::TooLow { level: Level::Pull }));
    assert!(seal(&TEAM.pull).open(&at(Space::of(Level::Pull)), &honest, NOW).is_ok());
}

#[test]
fn a_job_of_a_fork_has_no_key_and_writes_for_nobody() {
    let fork = Seal::new(SecretKey::generate().expect("a key"), list(), Partition::new("pr/../protected"));
    assert_eq!(*fork.space(), Space::of(Level::Local));
    let poison = fork.seal("results", KEY, LIFE, b"all passed");
    for reader in [&TEAM.protected, &TEAM.pull, &TEAM.stranger] {
        for space in [Space::of(Level::Local), Space::of(Level::Pull), Space::of(Level::Protected)] {
            let refusal = seal(reader).open(&at(space), &poison, NOW).expect_err("refused");
            assert_eq!(refusal.reason(), "stranger");
        }
    }
    assert!(fork.open(&at(Space::of(Level::Local)), &poison, NOW).is_ok(), "on its own machine it is of use");
}

#[test]
fn an_honest_entry_does_not_answer_another_question() {
    let reader = seal(&TEAM.protected);
    for address in [Address { layer: "image", ..protected() }, Address { key: [8; 32], ..protected() }] {
        assert_eq!(reader.open(&address, &sealed(), NOW), Err(Refusal::Replayed { layer: "results".into() }));
    }
}

#[test]
fn a_key_with_a_partition_writes_there_and_nowhere_else() {
    let partition = Partition::new;
    let mut limited = TrustList::default();
    limited.add(TEAM.pull.public().clone(), Space { level: Level::Branch, partition: partition("2.x") }).expect("added");
    let elsewhere = |name: &str| {
        let mut own_list = TrustList::default();
        own_list.add(TEAM.pull.public().clone(), Space::of(Level::Branch)).expect("added");
        Seal::new(TEAM.pull.clone(), own_list, partition(name)).seal("results", KEY, LIFE, b"x")
    };
    let reader = Seal::new(TEAM.stranger.clone(), limited.clone(), None);
    let place = |name: &str| at(Space { level: Level::Branch, partition: partition(name) });
    assert!(reader.open(&place("2.x"), &elsewhere("2.x"), NOW).is_ok());
    assert_eq!(reader.open(&place("main"), &elsewhere("main"), NOW).map_err(|refusal| refusal.reason()), Err("level"));
    // Asked for another partition, such a key keeps to its own.
    assert_eq!(Seal::new(TEAM.pull.clone(), limited, partition("main")).space().partition, partition("2.x"));
}

#[test]
fn names_of_branches_have_no_authority() {
    for name in ["protected", "pr/../protected", "../../protected", "release"] {
        let run = Seal::new(TEAM.pull.clone(), list(), Partition::new(name));
        let space = run.space().clone();
        assert_eq!(space.level, Level::Pull);
        let poison = run.seal("results", KEY, LIFE, b"all passed");
        assert_eq!(opened(&poison), Err(Refusal::Misplaced { found: space.clone() }));
        assert_eq!(seal(&TEAM.protected).open(&at(space), &poison, NOW), Err(Refusal::TooLow { level: Level::Pull }));
    }
}

#[test]
fn time_is_over_at_its_end_and_clocks_may_differ_a_little() {
    let reader = seal(&TEAM.protected);
    let slack = u64::try_from(CLOCK_SLACK.as_millis()).expect("small");
    let reason = |now| reader.open(&protected(), &sealed(), now).map_err(|refusal| refusal.reason()).map(|_| ());
    assert_eq!(reason(NOW + DAY - 1), Ok(()));
    assert_eq!(reason(NOW + DAY), Err("expired"));
    assert_eq!(reason(NOW - slack), Ok(()));
    assert_eq!(reason(NOW - slack - 1), Err("future"));
    // A day off, both ways: nothing is believed that should not be, and an honest entry costs a miss.
    assert_eq!((reason(NOW - DAY), reason(NOW + 2 * DAY)), (Err("future"), Err("expired")));
}

#[test]
fn a_signature_has_one_form() {
    let good = sealed();
    let at = good.len() - b"all passed".len() - key::SIGNATURE;
    let signature = p256::ecdsa::Signature::from_slice(&good[at..at + key::SIGNATURE]).expect("a signature");
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).expect("a signature");
    let mut twin = good.to_vec();
    twin[at..at + key::SIGNATURE].copy_from_slice(&other.to_bytes());
    assert_eq!(opened(&twin.into()), Err(Refusal::Signature));
    assert_eq!(sealed(), good, "and the same words have the same signature");
}

#[test]
fn a_run_reads_its_own_place_and_upwards() {
    let names = |key: &SecretKey, partition: Option<&str>, branches: &[&str]| {
        let branches: Vec<Partition> = branches.iter().filter_map(|name| Partition::new(name)).collect();
        let run = Seal::new(key.clone(), list(), partition.and_then(Partition::new));
        run.reads(&branches).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&TEAM.protected, None, &[]), ["protected"]);
    assert_eq!(names(&TEAM.pull, Some("17"), &[]), ["pull (17)", "pull", "protected"]);
    assert_eq!(names(&TEAM.pull, Some("17"), &["main"]), ["pull (17)", "pull", "protected", "protected (main)"]);
    assert_eq!(names(&TEAM.stranger, None, &[]), ["local", "pull", "protected"]);
}

#[test]
fn a_key_has_one_meaning() {
    let mut twice = list();
    twice.add(TEAM.pull.public().clone(), Space::of(Level::Pull)).expect("the same again");
    let error = twice.add(TEAM.pull.public().clone(), Space::of(Level::Release)).expect_err("refused");
    assert_eq!(error.to_string(), format!("key {} is trusted twice: as `pull` and as `release`", TEAM.pull.id().short()));
    assert_eq!(twice.len(), 2);
}

#[test]
fn the_form_of_an_envelope_stands_still() {
    let head = envelope::Head {
        layer: "results".into(),
        key: [7; 32],
        space: Space { level: Level::Pull, partition: Partition::new("17") },
        written_at: 1,
        expires_at: 2,
        writer: KeyId::from_bytes([8; 32]),
        digest: [9; 32],
        length: 3,
    };
    let hex = envelope::encode(&head).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    insta::assert_snapshot!(hex, @"73637365616c6564010086000700726573756c74730707070707070707070707070707070707070707070707070707070707070707020200313701000000000000000200000000000000080808080808080808080808080808080808080808080808080808080808080809090909090909090909090909090909090909090909090909090909090909090300000000000000");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_sealed_comes_back(layer in "[a-z]{0,20}", key: [u8; 32], payload: Vec<u8>, name in "\\PC{0,60}", at_ms in 0..NOW) {
        let run = Seal::new(TEAM.pull.clone(), list(), Partition::new(&name));
        let sealed = run.seal(&layer, key, Life { written_at: at_ms, keep: Duration::from_mins(1) }, &payload);
        let opened = run.open(&Address { layer: &layer, key, space: run.space().clone() }, &sealed, at_ms);
        prop_assert_eq!(opened.map(|opened| opened.payload.to_vec()), Ok(payload));
    }

    #[test]
    fn bytes_that_nobody_sealed_never_open(mut bytes: Vec<u8>, dressed: bool) {
        if dressed {
            bytes = [&envelope::MAGIC[..], &envelope::VERSION.to_le_bytes(), &bytes].concat();
        }
        prop_assert!(opened(&bytes.into()).is_err());
    }

    #[test]
    fn two_envelopes_cannot_be_made_into_a_third(cut in 0_usize..400, other_payload: Vec<u8>) {
        let (one, two) = (sealed(), seal(&TEAM.protected).seal("results", [9; 32], LIFE, &other_payload));
        let (cut_one, cut_two) = (cut.min(one.len()), cut.min(two.len()));
        for mixed in [[&one[..cut_one], &two[cut_two..]].concat(), [&two[..cut_two], &one[cut_one..]].concat()] {
            if mixed != one {
                prop_assert!(opened(&mixed.into()).is_err());
            }
        }
    }

    #[test]
    fn a_mac_tells_name_and_value_apart_and_needs_the_key(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}", d in ".{0,8}") {
        let mac = |key: &SecretKey, name: &str, value: &str| key.mac_key().mac(name, value.as_bytes());
        prop_assert_eq!(mac(&TEAM.pull, &a, &b) == mac(&TEAM.pull, &c, &d), (&a, &b) == (&c, &d));
        prop_assert_ne!(mac(&TEAM.pull, &a, &b), mac(&TEAM.protected, &a, &b));
        prop_assert_ne!(mac(&TEAM.pull, &a, &b), *blake3::hash(b.as_bytes()).as_bytes());
    }
}

#[test]
fn nothing_private_is_shown() {
    let private = TEAM.pull.to_pem(None).expect("PEM");
    let secret: String = private.lines().filter(|line| !line.starts_with("-----")).collect();
    let shown = format!("{:?} {:?} {:?} {:?}", TEAM.pull, TEAM.pull.mac_key(), seal(&TEAM.pull), KeySource::Text(private.to_string()));
    assert!(!secret.is_empty() && secret.as_bytes().windows(12).all(|part| !shown.contains(&String::from_utf8_lossy(part)[..])), "{shown}");
    assert!(shown.contains(&TEAM.pull.id().short()));
}

// --- keys as files ---

#[test]
fn a_key_is_what_its_pem_says_with_and_without_a_passphrase() {
    let key = &TEAM.pull;
    let plain = key.to_pem(None).expect("PEM");
    assert_eq!(SecretKey::from_pem(&plain, None).expect("read").id(), key.id());
    assert_eq!(SecretKey::from_pem(&plain, Some("unneeded")).expect("read").id(), key.id());
    let locked = key.to_pem(Some("correct horse")).expect("PEM");
    assert!(locked.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_eq!(SecretKey::from_pem(&locked, Some("correct horse")).expect("read").id(), key.id());
    assert!(matches!(SecretKey::from_pem(&locked, Some("battery staple")), Err(KeyError::WrongPassphrase)));
    assert!(matches!(SecretKey::from_pem(&locked, None), Err(KeyError::NoPassphrase)));
    let public = key.public().to_pem().expect("PEM");
    assert_eq!(PublicKey::from_pem(&public).expect("read").id(), key.id());
    assert!(matches!(PublicKey::from_pem(&plain), Err(KeyError::NotPublic)));
    assert!(matches!(PublicKey::from_pem(&locked), Err(KeyError::NotPublic)));
    for bent in [plain.replace('\n', "\r\n"), plain.replace('\n', "\\n"), plain.replace('\n', " "), format!("\n  {}", plain.trim())] {
        assert_eq!(SecretKey::from_pem(&bent, None).expect("as CI systems hand it on").id(), key.id());
    }
    for bad in ["", "main.pem", &public, &plain[..plain.len() / 2]] {
        assert!(matches!(SecretKey::from_pem(bad, None), Err(KeyError::Unreadable { expected: "private" })), "{bad:?}");
    }
}

#[test]
fn openssl_reads_our_keys_and_we_read_its() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let openssl = |line: &str| {
        let output = std::process::Command::new("openssl").args(line.split_whitespace()).output().expect("start openssl");
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let key = &TEAM.pull;
    fs_err::write(file("ours.pem"), key.to_pem(Some("horse")).expect("PEM").as_bytes()).expect("written");
    let public = openssl(&format!("pkey -in {} -passin pass:horse -pubout", file("ours.pem")));
    assert_eq!(String::from_utf8_lossy(&public), key.public().to_pem().expect("PEM"));
    let der = openssl(&format!("pkey -in {} -passin pass:horse -pubout -outform DER", file("ours.pem")));
    fs_err::write(file("spki"), &der).expect("written");
    let id = openssl(&format!("dgst -sha256 -r {}", file("spki")));
    assert!(String::from_utf8_lossy(&id).starts_with(&key.id().to_string()), "a key's id is the SHA-256 of its SPKI");

    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {}", file("theirs.pem")));
    let text = |name: &str| fs_err::read_to_string(file(name)).expect("read");
    let theirs = SecretKey::from_pem(&text("theirs.pem"), None).expect("a key");
    for (how, name) in [("-scrypt", "scrypt.pem"), ("-v2 aes-256-cbc -v2prf hmacWithSHA256", "pbkdf2.pem")] {
        openssl(&format!("pkcs8 -topk8 {how} -in {} -out {} -passout pass:x", file("theirs.pem"), file(name)));
        assert_eq!(SecretKey::from_pem(&text(name), Some("x")).expect(how).id(), theirs.id());
    }
    openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out {}", file("p384.pem")));
    openssl(&format!("genpkey -algorithm ed25519 -out {}", file("ed25519.pem")));
    for other in ["p384.pem", "ed25519.pem"] {
        assert!(matches!(SecretKey::from_pem(&text(other), None), Err(KeyError::Unreadable { .. })), "{other}");
    }
}

#[test]
fn a_list_is_read_from_texts_and_files_and_says_which_key_is_bad() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pull.pub");
    fs_err::write(&path, TEAM.pull.public().to_pem().expect("PEM")).expect("written");
    let entry = |level, key| TrustedKey { level, partition: None, key };
    let text = KeySource::Text(TEAM.protected.public().to_pem().expect("PEM"));
    let good = TrustSettings {
        trusted: vec![entry(Level::Protected, text), entry(Level::Pull, KeySource::File(path.clone()))],
        ..TrustSettings::default()
    };
    assert_eq!(trusted(&good).expect("a list").len(), 2);
    fs_err::write(&path, &**TEAM.pull.to_pem(None).expect("PEM")).expect("written");
    let error = trusted(&good).expect_err("a private key in the list");
    assert_eq!(error.to_string(), "cannot use a key of `[trust]`, level `pull`");
    assert!(error.hint().is_some_and(|hint| hint.contains("take it out at once")));
}

#[test]
fn who_a_run_is_depends_on_its_key_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let settings = |key: Option<&SecretKey>| TrustSettings {
        key: key.map(|key| KeySource::Text(key.to_pem(Some("horse")).expect("PEM").to_string())),
        partition: Partition::new("protected"),
        trusted: vec![TrustedKey { level: Level::Pull, partition: None, key: KeySource::Text(TEAM.pull.public().to_pem().expect("PEM")) }],
        signer: None,
    };
    let who = |key: Option<&SecretKey>| {
        let settings = settings(key);
        let passphrase = Some(Zeroizing::new("horse".to_owned()));
        identify(&Keys { settings: &settings, passphrase, home: home.path() }).expect("an identity")
    };
    let (pull, unlisted, none) = (who(Some(&TEAM.pull)), who(Some(&TEAM.stranger)), who(None));
    assert_eq!(pull.seal.space().to_string(), "pull (protected)");
    assert_eq!((unlisted.seal.space().level, none.seal.space().level), (Level::Local, Level::Local));
    assert!(pull.notice().is_none() && none.notice().is_none());
    assert!(unlisted.notice().is_some_and(|notice| notice.contains("not in `[trust]`")));
    assert!(machine::found(home.path()).expect("read").is_some(), "made at first use");
}

// --- the machine's own key ---

#[test]
fn processes_that_start_at_once_agree_on_one_key() {
    let home = tempfile::tempdir().expect("a directory");
    let ids: std::collections::BTreeSet<KeyId> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| machine::own(&home.path().join("deep")).expect("a key").id())).collect();
        all.into_iter().map(|one| one.join().expect("done")).collect()
    });
    assert_eq!(ids.len(), 1);
    let left: Vec<_> = fs_err::read_dir(home.path().join("deep")).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    assert_eq!(left.len(), 2, "the key and its lock: {left:?}");
}

#[test]
fn a_machines_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().expect("a directory");
    let first = machine::own(home.path()).expect("a key").id();
    let path = machine::place(home.path());
    assert_eq!(fs_err::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let error = machine::own(home.path()).expect_err("refused");
    assert!(matches!(error, KeyError::Exposed { mode: 0o644, .. }), "{error}");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("changed");
    assert_eq!(machine::own(home.path()).expect("a key").id(), first);
}

#[test]
fn a_damaged_key_is_told_and_left_where_it_is() {
    let home = tempfile::tempdir().expect("a directory");
    let path = machine::place(home.path());
    for text in ["", "-----BEGIN PRIVATE KEY-----\nMIG"] {
        machine::write_new(&path, text).expect("written");
        let error = machine::own(home.path()).expect_err("refused");
        assert!(matches!(error, KeyError::In { .. }), "{error}");
        assert_eq!(fs_err::read_to_string(&path).expect("there"), text);
        fs_err::remove_file(&path).expect("removed");
    }
    machine::write_new(&path, "first").expect("written");
    assert!(machine::write_new(&path, "second").is_err(), "what is there is never replaced");
    assert_eq!(fs_err::read_to_string(&path).expect("there"), "first");
}

#[test]
fn where_no_key_can_be_kept_there_is_an_error_and_no_panic() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("file");
    fs_err::write(&file, "").expect("written");
    assert!(matches!(machine::own(&file), Err(KeyError::File(_))));
}

// --- envelopes that others read ---

#[test]
fn an_envelope_of_a_known_key_opens_and_says_whose_it_is() {
    let known = |id: &KeyId| [&TEAM.pull, &TEAM.protected].into_iter().map(SecretKey::public).find(|key| key.id() == *id);
    let envelope = dsse::sign(&TEAM.pull, b"{}");
    assert_eq!(envelope, dsse::sign(&TEAM.pull, b"{}"), "the same words have the same envelope");
    assert_eq!(dsse::open(&envelope, known), Ok(dsse::Opened { payload: b"{}".to_vec(), writer: TEAM.pull.id() }));
    let writer = TEAM.stranger.id();
    assert_eq!(dsse::open(&dsse::sign(&TEAM.stranger, b"{}"), known), Err(dsse::Refusal::Stranger { writer }));
    // A reader who is careless about which key is whose is not believed.
    assert_eq!(dsse::open(&dsse::sign(&TEAM.stranger, b"{}"), |_| Some(TEAM.pull.public())), Err(dsse::Refusal::Stranger { writer }));
    assert_eq!(dsse::open(b"{}", known), Err(dsse::Refusal::Malformed));
    let bytes = dsse::MOST_BYTES + 1;
    assert_eq!(dsse::open(&vec![b' '; bytes], known), Err(dsse::Refusal::TooLarge { bytes }));
}

#[test]
fn both_forms_of_a_signature_are_taken_from_others_and_one_is_made() {
    let der = TEAM.pull.sign_der(b"message");
    let signature = p256::ecdsa::Signature::from_der(&der).expect("DER");
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).expect("a signature");
    assert_eq!(signature.to_bytes()[..], TEAM.pull.sign(b"message"));
    for form in [signature, other] {
        assert!(TEAM.pull.public().verifies_der(b"message", form.to_der().as_bytes()));
        assert!(!TEAM.pull.public().verifies_der(b"another", form.to_der().as_bytes()));
        assert!(!TEAM.stranger.public().verifies_der(b"message", form.to_der().as_bytes()));
    }
    for bad in [&der[1..], &[&der[..], b"\0"].concat(), &signature.to_bytes()[..], b""] {
        assert!(!TEAM.pull.public().verifies_der(b"message", bad));
    }
}

#[test]
fn a_bundle_has_one_envelope_in_it() {
    let envelope = dsse::sign(&TEAM.pull, b"{\"a\":1}");
    let bundle = dsse::bundle(&envelope).expect("a bundle");
    assert_eq!(dsse::unbundle(&bundle), Some(envelope.clone()));
    let text = String::from_utf8(bundle).expect("text");
    let more = text.replace("\"publicKey\":", "\"tlogEntries\":[],\"publicKey\":");
    assert_ne!(more, text);
    assert_eq!(dsse::unbundle(more.as_bytes()), Some(envelope.clone()), "others have more in it");
    assert_eq!(dsse::unbundle(text.replace("v0.3", "v0.9").as_bytes()), None);
    assert_eq!(dsse::unbundle(&envelope), None);
    assert_eq!(dsse::bundle(b"{}"), None);
}

#[test]
fn a_key_is_known_by_one_text() {
    let id = TEAM.pull.id();
    assert_eq!(KeyId::of_text(&id.to_string()), Some(id));
    assert_eq!(KeyId::of_text(&id.to_string().to_uppercase()), None);
    assert_eq!(KeyId::of_text(&id.short()), None);
}
