//! A program that signs in our place. The private key stays where that program has it, in a token or in somebody's vault, and is never seen here.
//!
//! | its last argument | it reads | it prints |
//! |---|---|---|
//! | `public` | nothing | the public key: SPKI PEM, ECDSA P-256 |
//! | `sign` | the bytes to sign | the signature, ECDSA with SHA-256 in DER, in base64 |
//!
//! It is believed in nothing: a signature is held against the public key at once, and what does not fit is no signature. It signs statements about images and nothing else. What
//! is kept in caches, and what hides values there, is the private key's own business (`seal`, `mac`).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::key::{KeyError, PublicKey};
use crate::model::trust::SignerSettings;
use crate::program::{Ended, Failed, Program};

/// So long it is waited for: somebody may have to touch a token.
const LIMIT: Duration = Duration::from_secs(30);
/// So many lines of what it says are handed on.
const LINES: usize = 5;

/// A program that signs.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    settings: &'a SignerSettings,
    env: &'a BTreeMap<String, String>,
    limit: Duration,
}

/// What it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The public key.
    Public,
    /// A signature.
    Sign,
}

impl Wish {
    /// The argument that says so.
    fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Sign => "sign",
        }
    }
}

/// It did not do it.
#[derive(Debug, thiserror::Error)]
#[error("`{program}`, the program of `trust.signer`, gives no {}{}", if *.wish == Wish::Public { "public key" } else { "signature" }, said(.last))]
pub struct SignerError {
    /// Its name.
    pub program: String,
    /// What it was asked for.
    pub wish: Wish,
    /// What it said, apart from its answer.
    pub last: String,
    /// Why what it did does not count.
    #[source]
    pub why: Unsigned,
}

fn said(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!(" (it says `{}`)", last.escape_debug()) }
}

/// Why what a signer did does not count.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    /// It did not get to its end, or to no good one.
    #[error(transparent)]
    Program(#[from] Failed),
    /// What it printed is no public key.
    #[error("what it printed is no public key")]
    Key(#[source] KeyError),
    /// What it printed is no signature.
    #[error("what it printed is not base64")]
    Letters,
    /// What it printed is the signature of something else, or of somebody else.
    #[error("what it printed is not a signature of what it was given, by its own key {key}")]
    OtherSignature {
        /// The key that it calls its own.
        key: String,
    },
}

impl SignerError {
    /// Whether it is a matter of configuration: there is no such program, or what it prints is not what it should print.
    pub fn is_configuration(&self) -> bool {
        !matches!(self.why, Unsigned::Program(Failed::Status(_) | Failed::Overdue(_) | Failed::Lost(_)))
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match (&self.why, self.wish) {
            (Unsigned::Program(Failed::NotStarted(_)), _) => {
                "`trust.signer` is a program and its arguments; a path is relative to the project".to_owned()
            }
            (Unsigned::Program(Failed::Overdue(_)), _) => {
                "it has no terminal and asks nobody: give it what it needs by its environment".to_owned()
            }
            (Unsigned::Key(KeyError::NotPublic), _) => {
                "it printed a private key: have it print the public half, and make another key".to_owned()
            }
            (_, Wish::Public) => {
                format!("try `{} … public`: it has to print an ECDSA P-256 public key in PEM, and nothing else", self.program)
            }
            (_, Wish::Sign) => format!(
                "try `{} … sign`: it has to sign its standard input with ECDSA P-256 and SHA-256, and print the signature (DER) in base64, and nothing else",
                self.program
            ),
        }
    }
}

impl<'a> Signer<'a> {
    /// The program of a configuration, for a caller with these variables.
    pub fn new(settings: &'a SignerSettings, env: &'a BTreeMap<String, String>) -> Self {
        Self { settings, env, limit: LIMIT }
    }

    /// The same with less patience.
    #[cfg(test)]
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Its public key.
    ///
    /// # Errors
    /// It prints none.
    pub async fn public(&self) -> Result<PublicKey, SignerError> {
        let (answer, last) = self.ask(Wish::Public, Vec::new()).await?;
        PublicKey::from_pem(&String::from_utf8_lossy(&answer)).map_err(|cause| self.failed(Wish::Public, last, Unsigned::Key(cause)))
    }

    /// Has it sign a message, and holds the signature against its public key: in ASN.1 DER.
    ///
    /// # Errors
    /// It prints none, or another one.
    pub async fn sign(&self, public: &PublicKey, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let (answer, last) = self.ask(Wish::Sign, message.to_vec()).await?;
        let letters: Vec<u8> = answer.into_iter().filter(|letter| !letter.is_ascii_whitespace()).collect();
        match BASE64_STANDARD.decode(letters) {
            Ok(signature) if public.verifies_der(message, &signature) => Ok(signature),
            Ok(_) => Err(self.failed(Wish::Sign, last, Unsigned::OtherSignature { key: public.id().short() })),
            Err(_) => Err(self.failed(Wish::Sign, last, Unsigned::Letters)),
        }
    }

    async fn ask(&self, wish: Wish, input: Vec<u8>) -> Result<(Vec<u8>, String), SignerError> {
        let mut words = self.settings.words.iter().cloned();
        let name = words.next().unwrap_or_default();
        let arguments: Vec<String> = words.chain([wish.word().to_owned()]).collect();
        let directory = &self.settings.directory;
        let program = Program { name: &name, arguments: &arguments, directory, env: self.env, limit: self.limit, lines: LINES };
        let Ended { result, last } = program.ask(input).await;
        match result {
            Ok(answer) => Ok((answer, last)),
            Err(cause) => Err(self.failed(wish, last, cause.into())),
        }
    }

    fn failed(&self, wish: Wish, last: String, why: Unsigned) -> SignerError {
        SignerError { program: self.settings.words.first().cloned().unwrap_or_default(), wish, last, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::chain;
    use crate::trust::SecretKey;

    /// Signs with the key in `own.pem`; without `-A` OpenSSL breaks its lines.
    const GOOD: &str =
        "case $1 in public) openssl pkey -in own.pem -pubout;; sign) openssl dgst -sha256 -sign own.pem | openssl base64;; esac";

    /// A directory with two keys, and what a program there signs.
    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            let desk = Self(tempfile::tempdir().expect("a directory"));
            for name in ["own.pem", "other.pem"] {
                let key = SecretKey::generate().expect("random numbers").to_pem(None).expect("PEM");
                fs_err::write(desk.0.path().join(name), key.as_bytes()).expect("written");
            }
            desk
        }

        /// Its public key, and its signature of a message.
        async fn ask(&self, words: &[&str], limit_ms: u64) -> Result<(PublicKey, Vec<u8>), SignerError> {
            let settings =
                SignerSettings { words: words.iter().map(|word| (*word).to_owned()).collect(), directory: self.0.path().to_owned() };
            let env = [("PATH", "/usr/bin:/bin"), ("SPLITCI_KEY_PASSPHRASE", "horse"), ("TOKEN", "t")];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let signer = Signer::new(&settings, &env).within(Duration::from_millis(limit_ms));
            let public = signer.public().await?;
            Ok((public.clone(), signer.sign(&public, b"message").await?))
        }

        async fn script(&self, text: &str) -> Result<(PublicKey, Vec<u8>), SignerError> {
            self.ask(&["sh", "-c", text, "signer"], 30_000).await
        }

        async fn refusal(&self, text: &str) -> SignerError {
            self.script(text).await.expect_err(text)
        }
    }

    #[tokio::test]
    async fn a_program_signs_with_a_key_that_nobody_sees() {
        let desk = Desk::new();
        let (public, signature) = desk.script(GOOD).await.expect("signed");
        let text = fs_err::read_to_string(desk.0.path().join("own.pem")).expect("read");
        assert_eq!(public.id(), SecretKey::from_pem(&text, None).expect("a key").id());
        assert!(public.verifies_der(b"message", &signature) && !public.verifies_der(b"massage", &signature));
        // A path is one from its directory, and what goes before the word for what is wanted stays before it.
        fs_err::create_dir(desk.0.path().join("bin")).expect("made");
        fs_err::write(desk.0.path().join("bin/sign"), format!("[ $1 = release ] || exit 1; shift\n{GOOD}")).expect("written");
        desk.ask(&["sh", "bin/sign", "release"], 30_000).await.expect("signed");
        desk.script(&format!("env >got; {GOOD}")).await.expect("signed");
        let got = fs_err::read_to_string(desk.0.path().join("got")).expect("written");
        assert!(got.contains("TOKEN=t") && !got.contains("SPLITCI_"), "{got}");
    }

    #[tokio::test]
    async fn whatever_is_not_its_signature_of_this_message_is_none() {
        let desk = Desk::new();
        let public = "[ $1 = sign ] || exec openssl pkey -in own.pem -pubout";
        for (script, why) in [
            (
                "cat >/dev/null; echo other | openssl dgst -sha256 -sign own.pem | openssl base64 -A",
                "is not a signature of what it was given",
            ),
            ("openssl dgst -sha256 -sign other.pem | openssl base64 -A", "is not a signature of what it was given"),
            ("openssl dgst -sha384 -sign own.pem | openssl base64 -A", "is not a signature of what it was given"),
            ("openssl dgst -sha256 -sign own.pem", "is not base64"),
            ("echo hunter2", "is not base64"),
            ("true", "is not a signature of what it was given"),
            ("openssl dgst -sha256 -sign own.pem | openssl base64 -A; exit 1", "it ended with status 1"),
            ("yes", "it printed more than 16384 bytes"),
        ] {
            let refused = desk.refusal(&format!("{public}; {script}")).await;
            let told = chain(&refused);
            assert!(refused.wish == Wish::Sign && told.starts_with("`sh`, the program of `trust.signer`, gives no signature"), "{told}");
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
            assert!(refused.hint().contains("sign"), "{}", refused.hint());
        }
        let locked = desk.refusal(&format!("{public}; echo the token is locked >&2; exit 7")).await;
        assert_eq!(
            chain(&locked),
            "`sh`, the program of `trust.signer`, gives no signature (it says `the token is locked`): it ended with status 7"
        );
        assert!(!locked.is_configuration());
    }

    #[tokio::test]
    async fn what_has_no_public_key_is_not_asked_to_sign() {
        let desk = Desk::new();
        for (script, configuration) in [("true", true), ("echo key", true), ("exit 3", false), ("openssl pkey -in own.pem", true)] {
            let refused = desk.refusal(&format!("[ $1 = public ] || touch signed; {script}")).await;
            assert_eq!((refused.wish, refused.is_configuration()), (Wish::Public, configuration), "{script}: {refused:?}");
        }
        assert!(!desk.0.path().join("signed").exists());
        let private = desk.refusal("openssl pkey -in own.pem").await;
        let text = fs_err::read_to_string(desk.0.path().join("own.pem")).expect("read");
        let body = text.lines().nth(1).expect("a line");
        assert!(private.hint().contains("make another key") && !format!("{private:?} {}", chain(&private)).contains(body), "{private:?}");
        for name in ["no-such-signer", "./none"] {
            let missing = desk.ask(&[name], 30_000).await.expect_err("not there");
            assert!(matches!(missing.why, Unsigned::Program(Failed::NotStarted(_))) && missing.is_configuration(), "{missing:?}");
        }
        let late = desk.ask(&["sh", "-c", "sleep 300"], 300).await.expect_err("too late");
        assert!(matches!(late.why, Unsigned::Program(Failed::Overdue(_))) && !late.is_configuration(), "{late:?}");
    }
}
