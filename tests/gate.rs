//! The gate's envelopes beside others that make and check them: OpenSSL by hand, and securesystemslib. And the gate before what was bent.
//!
//! What is signed is put together here a second time, from the standard and not from our code.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use splitci_coordinator::trust::{PublicKey, SecretKey, dsse};
use splitci_tests::flips::{Golden, soak};
use splitci_tests::python::Python;

const TYPE: &str = "application/vnd.in-toto+json";

/// A directory for OpenSSL's files.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs_err::write(self.file(name), bytes).expect("written");
    }

    /// What OpenSSL says, in this directory.
    fn openssl(&self, line: &str) -> Vec<u8> {
        let output = self.ask(line);
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn ask(&self, line: &str) -> std::process::Output {
        Command::new("openssl").args(line.split(' ')).current_dir(self.0.path()).output().expect("start openssl")
    }

    fn text(&self, line: &str) -> String {
        String::from_utf8(self.openssl(line)).expect("text").trim().to_owned()
    }

    /// The bytes of a base64 text.
    fn decoded(&self, text: &str) -> Vec<u8> {
        self.put("base64", text);
        self.openssl("base64 -d -A -in base64")
    }

    fn encoded(&self, bytes: &[u8]) -> String {
        self.put("bytes", bytes);
        self.text("base64 -A -in bytes")
    }
}

/// What a signature is over, by the standard.
fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    [b"DSSEv1 28 application/vnd.in-toto+json ", payload.len().to_string().as_bytes(), b" ", payload].concat()
}

/// The key, its id and the signature of an envelope.
fn signature(envelope: &Value) -> (&str, &str) {
    let text = |name: &str| envelope["signatures"][0][name].as_str().expect("text");
    (text("keyid"), text("sig"))
}

#[test]
fn openssl_checks_what_we_signed() {
    let (golden, desk) = (Golden::read(), Desk::new());
    let envelope: Value = serde_json::from_slice(&golden.envelope).expect("JSON");
    assert_eq!(envelope["payloadType"], TYPE);
    let (keyid, sig) = signature(&envelope);
    desk.put("public.pem", golden.key.public().to_pem().expect("PEM"));
    desk.put("spki", desk.openssl("pkey -pubin -in public.pem -outform DER"));
    assert!(desk.text("dgst -sha256 -r spki").starts_with(keyid), "a key is named by the SHA-256 of its public half");
    let payload = desk.decoded(envelope["payload"].as_str().expect("text"));
    assert_eq!(payload, golden.statement);
    desk.put("signature", desk.decoded(sig));
    desk.put("signed", pre_authentication_encoding(&payload));
    desk.openssl("dgst -sha256 -verify public.pem -signature signature signed");
    desk.put("signed", pre_authentication_encoding(&[&payload[..], b" "].concat()));
    assert!(!desk.ask("dgst -sha256 -verify public.pem -signature signature signed").status.success(), "of another payload it is not");
}

#[test]
fn we_take_what_openssl_signed() {
    let (golden, desk) = (Golden::read(), Desk::new());
    desk.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    desk.put("spki", desk.openssl("pkey -in key.pem -pubout -outform DER"));
    let keyid = desk.text("dgst -sha256 -r spki").split(' ').next().expect("a digest").to_owned();
    let key = SecretKey::from_pem(&fs_err::read_to_string(desk.file("key.pem")).expect("read"), None).expect("a key");
    desk.put("signed", pre_authentication_encoding(&golden.statement));
    // OpenSSL's signatures are another each time, and of both forms: with twelve of them it would be a wonder if one form was missing.
    for _ in 0..12 {
        let sig = desk.encoded(&desk.openssl("dgst -sha256 -sign key.pem signed"));
        let payload = desk.encoded(&golden.statement);
        let envelope = json!({ "payloadType": TYPE, "payload": payload, "signatures": [{ "keyid": keyid, "sig": sig }] });
        assert_eq!(golden.code(&key, envelope.to_string().into_bytes()), None);
        assert_eq!(golden.code(&golden.key, envelope.to_string().into_bytes()).as_deref(), Some("E_NO_VALID_SIGNATURE"));
    }
}

/// Checks an envelope on its input with the key that is given, and says so; then signs the payload with a key of its own.
const OTHER: &str = r#"
import hashlib, json, sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

def key(keyid, pem):
    return SSlibKey(keyid, "ecdsa", "ecdsa-sha2-nistp256", {"public": pem})

given = json.load(sys.stdin)
public = open(sys.argv[1]).read()
keyid = given["signatures"][0]["keyid"]
envelope = Envelope.from_dict(given)
accepted = envelope.verify([key(keyid, public)], 1)
assert list(accepted) == [keyid], accepted
envelope.payload += b" "
try:
    envelope.verify([key(keyid, public)], 1)
    sys.exit("another payload was taken")
except VerificationError:
    envelope.payload = envelope.payload[:-1]

private = ec.generate_private_key(ec.SECP256R1())
spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
own = Envelope(envelope.payload, envelope.payload_type, {})
own.sign(CryptoSigner(private, key(hashlib.sha256(spki).hexdigest(), pem)))
print(json.dumps({"public": pem, "envelope": own.to_dict()}))
"#;

#[test]
fn securesystemslib_checks_what_we_signed_and_we_take_what_it_signed() {
    let (golden, desk) = (Golden::read(), Desk::new());
    desk.put("public.pem", golden.key.public().to_pem().expect("PEM"));
    let said = python(OTHER, &desk.file("public.pem"), &golden.envelope);
    let theirs = PublicKey::from_pem(said["public"].as_str().expect("PEM")).expect("a key");
    let opened = dsse::open(said["envelope"].to_string().as_bytes(), |_| Some(&theirs)).expect("opens");
    assert_eq!((opened.payload, opened.writer), (golden.statement, theirs.id()));
}

fn python(script: &str, argument: &Path, input: &[u8]) -> Value {
    let mut command = Python::named("dsse").command("python");
    let started = command.args(["-c", script]).arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut started = started.expect("start python");
    started.stdin.take().expect("its input").write_all(input).expect("written");
    let output = started.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// T25: whatever is done to a signature or an envelope, it does not get through.
#[test]
fn nothing_that_was_bent_gets_through() {
    let tried = soak(2_000, 1).expect("the same ones each time");
    // What is rare in them is not in every thousand, so that only these, which are always the same, have to show all kinds of answers.
    assert!(tried.len() >= 6, "{tried:?}");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    soak(1_000, seed).expect("others each time");
}
